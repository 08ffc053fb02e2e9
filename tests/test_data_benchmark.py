"""The loader's benchmark: both pipelines run on the same files, totals are sums of stages, and the CSV has the protocol."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tinynet_mm.bench import loader
from tinynet_mm.bench.loader import COLUMNS, benchmark, drawn_samples, samples_of, table
from tinynet_mm.data.shapes import ShapesSpec, make_shapes


def test_totals_are_sums_of_the_stages():
    spent = {
        'stock': {'Load': np.array([1.0, 1.0, 3.0]), 'Warp': np.array([9.0, 9.0, 9.0])},
        'ours': {'Load': np.array([1.0, 1.0, 1.0]), 'Warp': np.array([1.0, 3.0, 4.0])},
    }
    rows = {(row['pipeline'], row['stage']): row for row in table(spent)}
    assert rows['stock', 'total']['median'] == 10 and rows['stock', 'total']['most'] == 12
    assert rows['ours', 'Warp']['share'] == 0.75
    ratio = rows['stock / ours', 'total']  # of the rounds: 10/2, 10/4, 12/5
    assert (ratio['median'], ratio['least'], ratio['most']) == (2.5, 2.4, 5.0)


def test_every_stage_is_timed(tmp_path):
    spent = benchmark(drawn_samples(tmp_path, 2), 64, 2)
    assert list(spent['ours']) == ['LoadImageFromFile', 'LoadAnnotations', 'SSDWarp', 'PackDetInputs']
    assert len(spent['stock']) == 8
    assert all(len(times) == 2 and (times > 0).all() for by_stage in spent.values() for times in by_stage.values())


def test_every_time_comes_from_the_clock(tmp_path, monkeypatch):
    """With a clock that always says 2 s, each stage needs 2000 ms per image in every round."""
    monkeypatch.setattr(loader, 'timed', lambda call, now: (2.0, call()))
    spent = benchmark(drawn_samples(tmp_path, 3), 64, 2)
    assert all(times == pytest.approx([2000, 2000]) for by_stage in spent.values() for times in by_stage.values())


def test_samples_of_a_data_set(tmp_path):
    list(make_shapes(tmp_path / 'shapes', ShapesSpec(train=3, val=1, test=1, size=64, class_train=1, class_val=1, class_size=32)))
    samples = samples_of(tmp_path / 'shapes' / 'coco', 2)
    assert len(samples) == 2 and all(Path(sample['img_path']).is_file() and sample['instances'] for sample in samples)


def test_tool(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location('tools_benchmark_loader', Path('tools') / 'benchmark_loader.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(['--images', '2', '--rounds', '1', '--size', '64', '--out', str(tmp_path / 'a' / 'loader.csv')]) == 0
    with (tmp_path / 'a' / 'loader.csv').open() as file:
        rows = list(csv.DictReader(file))
    with Path('results/loader.csv').open() as file:
        assert list(rows[0]) == next(csv.reader(file))  # the columns of the published measurement
    assert list(rows[0])[: len(COLUMNS)] == list(COLUMNS)
    protocol = dict(source='640x480 drawn', output='64', images='2', boxes_per_image='14.0', rounds='1')
    assert all(protocol | dict(clock='CPU time of one thread') == {key: row[key] for key in (*protocol, 'clock')} for row in rows)
    assert all(row[key] for row in rows for key in ('cpu', 'cores', 'python', 'opencv', 'torch', 'mmengine', 'mmcv', 'mmdet'))
    assert [row['unit'] for row in rows] == ['ms/image'] * 14 + ['ratio']  # 8 + 4 stages, two totals, their ratio
    assert all(0 < float(row['least']) <= float(row['median']) <= float(row['most']) for row in rows)
    assert 'written' in capsys.readouterr().out
    with pytest.raises(ValueError, match='at least 1'):
        module.main(['--images', '0'])
