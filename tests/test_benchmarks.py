"""The benchmarks of cost and training step with the smallest settings: the written CSV, its protocol, and refused settings."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet_mm import cli
from tinynet_mm.bench.clock import in_turns, spread
from tinynet_mm.errors import UserError
from tinynet_mm.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'ssdlite_tinynet_e_coco.py')
PROTOCOL = {'python', 'torch', 'threads', 'load', 'machine'}


def main_of(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_contenders_take_turns_and_warm_up_rounds_do_not_count():
    calls, rounds = [], []

    def progress(steps):
        rounds.extend(steps)
        return rounds

    seconds = in_turns(dict(a=lambda: calls.append('a'), b=lambda: calls.append('b')), 3, 2, progress)
    assert calls == ['a', 'b'] * 5 and rounds == [0, 1, 2, 3, 4]
    assert [len(times) for times in seconds.values()] == [3, 3] and min(seconds['a']) >= 0
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_cost_rates(tmp_path, monkeypatch, capsys):
    """Columns are those of the published file; the counters agree with the closed form; the rounds have a progress bar."""
    shown = []

    def progress(steps, title):
        shown.append((len(steps), title))
        return steps

    main = main_of('benchmark_cost')
    monkeypatch.setattr(cli, 'progress', progress)
    assert main(['--rounds', '1', '--candidates', '50', '--out', str(tmp_path / 'new' / 'rate.csv')]) == 0
    assert shown == [(2, 'rounds')] and 'networks/s' in capsys.readouterr().out
    rows = {row['method']: row for row in read_csv(tmp_path / 'new' / 'rate.csv')}
    published = read_csv(ROOT / 'results' / 'cost_rate.csv')
    assert list(rows) == [row['method'] for row in published]
    assert all(set(row) == set(published[0]) >= PROTOCOL for row in rows.values())
    for row in rows.values():
        assert row['rounds'] == 1 and row['threads'] == 1 and row['machine']
        assert row['networks'] == (50 if row['method'] == 'closed_form_array' else 1)
        assert all(row[f'{name}_median'] > 0 for name in ('seconds', 'times_mmengine')) and row['networks_per_second'] > 0
    assert rows['torch_meta']['largest_macs_difference'] == 0 <= rows['mmengine']['largest_macs_difference'] < 0.1
    assert rows['mmengine']['times_mmengine_median'] == 1 < rows['closed_form']['times_mmengine_median']


@pytest.mark.parametrize('option', ['--rounds', '--candidates'])
def test_cost_rates_need_positive_numbers(option):
    with pytest.raises(SystemExit):
        main_of('benchmark_cost')([option, '0'])


def test_cost_rates_do_not_need_onnxruntime():
    code = "import sys; sys.modules['onnxruntime'] = sys.modules['onnx'] = None; import tinynet_mm.bench.cost"
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True)


def test_training_step(tmp_path, capsys, monkeypatch):
    """Columns are those of the published file and the version of Python; every contender has positive seconds."""
    from tinynet_mm.bench import step

    monkeypatch.setattr(step, 'WARM_UP', 1)
    assert main_of('benchmark_step')([f'{CONFIG}@96', '--batch', '2', '--rounds', '1', '--out', str(tmp_path / 'step.csv')]) == 0
    (row,), (published,) = read_csv(tmp_path / 'step.csv'), read_csv(ROOT / 'results' / 'training_step.csv')
    assert set(row) == set(published) | PROTOCOL
    assert (row['config'], row['batch'], row['rounds']) == ('ssdlite_tinynet_e_coco', 2, 1)
    for name in ('plain', 'channels_last', 'and_memory_kept'):
        assert row[f'{name}_s'] > 0 and row[f'{name}_speedup_least'] <= row[f'{name}_speedup'] <= row[f'{name}_speedup_most']
    assert row['plain_speedup'] == 1 and 'channels_last_speedup' in capsys.readouterr().out


def test_several_detectors_are_compared_with_the_first(tmp_path, monkeypatch):
    from tinynet_mm.bench import step

    monkeypatch.setattr(step, 'WARM_UP', 1)
    arguments = [f'{CONFIG}@96', 'rtmdet_tinynet_e_coco@128', '--threads', '1', '2', '--batch', '2', '--rounds', '2']
    assert main_of('benchmark_step')([*arguments, '--out', str(tmp_path / 'step.csv')]) == 0
    rows = read_csv(tmp_path / 'step.csv')
    assert [(row['config'], row['input_size'], row['threads']) for row in rows] == [
        (f'{kind}_tinynet_e_coco', side, threads) for kind, side in (('ssdlite', 96), ('rtmdet', 128)) for threads in (1, 2)
    ]
    assert rows[0]['times_first'] == rows[0]['times_first_most'] == 1
    assert all(0 < row['times_first_least'] <= row['times_first'] <= row['times_first_most'] for row in rows)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([CONFIG, '--batch', '1'], '--batch 1: batch norm cannot be trained'),
        ([CONFIG, '--rounds', '0'], '--rounds 0: give 1 or more'),
        ([str(ROOT / 'configs' / 'imagenet' / 'tinynet_d_in1k.py')], '--input-size works with SSDLite, '),
        ([CONFIG, 'rtmdet_tinynet_e_coco@100'], 'an input of 100 pixels does not fit LightHead: give a multiple of 32'),
        (['rtmdet_tinynet_e_coco@big'], 'after @ give the side of the input in pixels'),
    ],
)
def test_training_step_refuses_before_it_starts_a_process(arguments, message, monkeypatch):
    from tinynet_mm.bench import step

    monkeypatch.setattr(step, 'start', lambda *settings: pytest.fail('a process was started'))
    with pytest.raises(UserError, match=message):
        main_of('benchmark_step')(arguments)


def test_small_maps_have_a_row_for_each_side(tmp_path, capsys):
    out = tmp_path / 'rows.csv'
    arguments = ['tinynet_e', '--sides', '32', '64', '--batch', '2', '--rounds', '2', '--out', str(out)]
    assert main_of('benchmark_small_maps')(arguments) == 0
    rows = read_csv(out)
    assert [(row['arch'], row['side'], row['rounds']) for row in rows] == [('tinynet_e', 32, 2), ('tinynet_e', 64, 2)]
    assert all(0 < row['speedup_least'] <= row['speedup'] <= row['speedup_most'] for row in rows)
    assert 'tinynet_e 64 px: ' in capsys.readouterr().out


def test_small_maps_refuse_one_image():
    with pytest.raises(UserError, match='--batch 1: batch norm'):
        main_of('benchmark_small_maps')(['tinynet_e', '--batch', '1'])
