"""What the console of a tool shows, and what MMEngine, mmdet and pycocotools print that it hides."""

import logging
import sys
import types
import warnings
from collections import OrderedDict

import pytest

from tinynet_mm.mmlab import console, running, versions
from tinynet_mm.mmlab.console import NOISE


def test_dumps_are_not_in_the_console():
    texts = ('Config:\na = 1', 'Epoch(train) [1]', NOISE[0])
    records = [logging.makeLogRecord(dict(msg=text)) for text in texts]
    assert [console.WithoutDumps().filter(record) for record in records] == [False, True, False]


@pytest.mark.parametrize('text, module', [('pkg_resources is deprecated as an API. See ...', 'mmengine.utils.package_utils')])
def test_warnings_of_mmlab_are_hidden_by_origin_and_text(text, module):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        versions.silence()
        warnings.warn_explicit(text, UserWarning, 'x.py', 1, module=module)
        assert not caught
        warnings.warn_explicit(text, UserWarning, 'x.py', 1, module='somewhere.else')
        warnings.warn_explicit('another text', UserWarning, 'x.py', 2, module=module)
        assert len(caught) == 2


def test_prints_of_mmlab_are_hidden_only_without_logger(capsys):
    from mmengine import logging as mm_logging

    for text in versions.PRINTED:
        mm_logging.print_log(f'{text} x')
    mm_logging.print_log('another line')
    assert capsys.readouterr().out == 'another line\n'


def test_progress_of_pycocotools_is_hidden_and_its_table_is_logged(capsys, tmp_path, monkeypatch):
    module = types.ModuleType('coco')
    running.hide_progress(module)
    monkeypatch.setattr(running.MMLogger, '_instance_dict', OrderedDict())
    lines = (*running.PROGRESS, ' Average Precision', 'Please run evaluate() first')
    for text in lines:
        module.print(text)
    assert capsys.readouterr().out == ' Average Precision\nPlease run evaluate() first\n'  # no logger
    logger = running.MMLogger.get_instance('table', log_file=str(tmp_path / 'log'))
    logger.handlers[0].addFilter(console.WithoutDumps())
    for text in lines:
        module.print(text)
    logged = (tmp_path / 'log').read_text()
    assert capsys.readouterr().out == 'Please run evaluate() first\n' and logged.endswith(' Average Precision\n')


def test_the_console_of_a_training_has_warnings_and_our_lines(capsys):
    handler = console.PlainConsole(sys.stdout)
    handler.addFilter(console.OurLines())
    for level, extra in ((logging.INFO, {}), (logging.INFO, console.CONSOLE), (logging.WARNING, {})):
        handler.handle(
            logging.makeLogRecord(dict(msg=f'line {level} {bool(extra)}', levelno=level, levelname='WARNING', **extra))
        )
    assert capsys.readouterr().out == f'line {logging.INFO} True\nwarning: line {logging.WARNING} False\n'


def test_scores_of_an_evaluation_are_one_line():
    mmdet = {'coco/bbox_mAP': 0.554, 'coco/bbox_mAP_50': 0.881, 'coco/bbox_mAP_s': -1.0, 'coco/bbox_mAP_l': 0.6}
    assert console.scores_line(mmdet) == 'mAP 0.554, mAP50 0.881, large 0.6'
    assert console.scores_line({'accuracy/top1': 70.7, 'cross_entropy': 1.25, 'raw/accuracy/top1': 1.0}) == (
        'top1 70.7, cross_entropy 1.25'
    )
