"""Trainings of a sweep: killed trials resume, and a failed trial does not stop the others."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from sweeps import image_folder, recipe, sampled

from tinynet_mm.sweep import engines, plan
from tinynet_mm.sweep.folder import Sweep, read_result
from tinynet_mm.sweep.trial import Busy, locked, pending, run_trial, train_with_runner

TOOL = Path(__file__).parents[1] / 'tools' / 'sweep.py'


def events(folder: Path) -> list[str]:
    """'start', 'resume epoch_2', 'finish' and so on."""
    with (folder / 'events.csv').open() as file:
        return [f'{row["event"]} {row["detail"]}'.strip() for row in csv.DictReader(file)]


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f'{path} did not appear'
        assert process.poll() is None, 'the run ended before that'
        time.sleep(0.02)


def test_run_after_a_kill_trains_only_the_rest(tmp_path):
    sweep = sampled(tmp_path, 3, epochs=12)
    first, second, third = (sweep.trial(row['name']) for row in sweep.samples())
    process = subprocess.Popen([sys.executable, TOOL, 'run', sweep.path], stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        wait_for(second / 'work' / 'epoch_3.pth', process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert read_result(first) and not read_result(second) and not third.joinpath('events.csv').exists()

    folders, remarks = pending(sweep)
    assert folders == [second, third] and remarks == []
    assert [o.status for o in engines.local(folders)] == ['done', 'done']
    assert events(first) == ['start', 'finish']
    assert events(third) == ['start', 'finish']
    started, again, resumed, finished = events(second)
    assert (started, again, finished) == ('start', 'start', 'finish')
    assert int(resumed.removeprefix('resume epoch_')) >= 3
    assert pending(sweep) == ([], [])

    result = read_result(second)
    assert result['epochs'] == 12 and result['resumed'] and result['images'] == 32
    assert 0 <= result['accuracy'] <= 100
    weights = torch.load(second / 'weights.pth', weights_only=True)
    assert 'backbone.conv_stem.weight' in weights['state_dict']
    assert not list(second.glob('work/epoch_*.pth'))


def test_the_same_seed_gives_the_same_networks_results_and_weights(tmp_path):
    """Networks, order, augmentation, dropout: two sweeps of one seed differ in nothing but their folders and times."""
    found = []
    for name in ('a', 'b'):
        sweep = sampled(tmp_path / name, 2)
        folders, _ = pending(sweep)
        assert [o.status for o in engines.local(folders)] == ['done', 'done']
        results = [{key: value for key, value in read_result(folder).items() if 'second' not in key} for folder in folders]
        weights = [torch.load(folder / 'weights.pth', weights_only=True)['state_dict'] for folder in folders]
        found.append((sweep.samples(), results, weights))
    (rows, results, weights), (same_rows, same_results, same_weights) = found
    assert rows == same_rows and results == same_results and results[0]['accuracy'] != ''
    for one, other in zip(weights, same_weights):
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def train_or_die(folder: Path) -> dict:
    if folder.name == 'net001':
        os.kill(os.getpid(), signal.SIGKILL)
    return train_with_runner(folder)


def test_a_failing_trial_is_reported_and_the_rest_is_trained(tmp_path):
    sweep = Sweep(tmp_path / 'sweep')
    plan.sample(sweep, recipe(image_folder(tmp_path / 'data', 8), epochs=1), 3)
    folders, _ = pending(sweep)
    config = folders[0] / 'config.py'
    text = config.read_text()
    config.write_text(text.replace("type='AdamW'", "type='Nonesuch'"))
    outcomes = {o.name: o for o in engines.local(folders, jobs=2, train=train_or_die)}
    config.write_text(text)
    assert [outcomes[folder.name].status for folder in folders] == ['failed', 'failed', 'done']
    assert 'Nonesuch' in outcomes[folders[0].name].text
    assert 'signal 9 (out of memory?)' in outcomes[folders[1].name].text
    assert [folder.name for folder in pending(sweep)[0]] == [folders[0].name, folders[1].name]
    assert (folders[0] / 'error.txt').read_text().count('Traceback') >= 1


def test_two_processes_never_train_one_trial(tmp_path, monkeypatch):
    monkeypatch.setattr('tinynet_mm.sweep.trial.PATIENCE_S', 0.2)
    calls = Counter()

    def train(folder: Path) -> dict:
        calls[folder.name] += 1
        with pytest.raises(Busy, match='trained by another process'):
            run_trial(folder, train)
        return dict(accuracy=50.0)

    run_trial(tmp_path, train)
    run_trial(tmp_path, train)
    assert calls == {tmp_path.name: 1}
    assert events(tmp_path) == ['start', 'finish']
    with locked(tmp_path):
        assert engines.outcome(tmp_path).status == 'done'


def test_the_next_attempt_removes_the_error_of_the_last(tmp_path):
    def fail(folder: Path) -> dict:
        raise ValueError('the loss\n is nan')

    run_trial(tmp_path, fail)
    assert engines.outcome(tmp_path).text.startswith('ValueError: the loss is nan (see ')
    run_trial(tmp_path, lambda folder: dict(accuracy=1.0, seconds=3))
    assert engines.outcome(tmp_path) == engines.Outcome(tmp_path.name, 'done', '1.00 % in 3 s')
    assert not (tmp_path / 'error.txt').exists()
    assert events(tmp_path) == ['start', 'fail ValueError', 'start', 'finish']
