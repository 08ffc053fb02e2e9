"""Logs written by MMEngine's Runner, stopped and resumed, compared with the recorded course of the training."""

import contextlib
import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner

from tinynet_mm import logs

IMAGES, BATCH = 24, 4
EPOCH = IMAGES // BATCH  # iterations


@DATASETS.register_module()
class LogsTestData(torch.utils.data.Dataset):
    metainfo: dict = {}

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return torch.tensor([index / IMAGES, 1 - index / IMAGES]), index % 2


@MODELS.register_module()
class LogsTestModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, points, labels, mode):
        out = self.layer(points)
        return (
            {'loss': torch.nn.functional.cross_entropy(out, labels)} if mode == 'loss' else [dict(right=out.argmax(1) == labels)]
        )


@METRICS.register_module()
class LogsTestMetric(BaseMetric):
    """Top-1 accuracy."""

    default_prefix = 'accuracy'

    def process(self, data_batch, data_samples):
        self.results += [sample['right'].float().mean().item() for sample in data_samples]

    def compute_metrics(self, results):
        return {'top1': 100 * float(np.mean(results))}


class Killed(Exception):
    """Simulates a kill of the training."""


@HOOKS.register_module()
class LogsTestDiary(Hook):
    """Records the iterations of validations, and stops the training after iteration ``kill``."""

    def __init__(self, kill):
        self.kill, self.validated = kill, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.kill:
            raise Killed

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.iter)


def train(work_dir: Path, end: int, by_epoch: bool = True, kill: int = -1, resume: bool = False, **options) -> list[int]:
    """Train to epoch or iteration ``end``; returns the iterations that validated. Logs are every 2nd iteration unless said."""
    loader = dict(batch_size=BATCH, num_workers=0, dataset=dict(type='LogsTestData'), collate_fn=dict(type='default_collate'))
    sampler = dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
    loop = dict(by_epoch=True, max_epochs=end) if by_epoch else dict(by_epoch=False, max_iters=end, val_interval=3)
    saving = dict(type='CheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 5)
    logger = dict(type='LoggerHook', interval=options.get('interval', 2), log_metric_by_epoch=options.get('by_metric', True))
    lines = dict(by_epoch=options.get('epoch_in_lines', by_epoch), log_with_hierarchy=options.get('hierarchy', False))
    config = Config(
        dict(
            model=dict(type='LogsTestModel'),
            work_dir=str(work_dir),
            train_dataloader=dict(loader, sampler=sampler),
            val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            train_cfg=loop,
            val_cfg={},
            val_evaluator=dict(type='LogsTestMetric'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(logger=logger, checkpoint=saving),
            custom_hooks=[dict(type='LogsTestDiary', kill=kill)],
            log_processor=lines,
            randomness=dict(seed=0),
            experiment_name=f'{work_dir.name}_{time.time()}',
            log_level='ERROR',
            resume=resume,
        )
    )
    runner = Runner.from_cfg(config)
    diary = next(hook for hook in runner.hooks if isinstance(hook, LogsTestDiary))
    with contextlib.suppress(Killed):
        runner.train()
    runner.visualizer.close()
    return diary.validated


def files(work_dir: Path) -> list[Path]:
    return sorted(work_dir.glob('*/vis_data/scalars.json'))


def next_second() -> None:
    """Wait for the next second: MMEngine names a session by its second, and each session needs a separate file."""
    time.sleep(1.02 - time.time() % 1)


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    """A training of 5 epochs without interruption."""
    train(tmp_path_factory.mktemp('logs') / 'whole', 5)
    return tmp_path_factory.getbasetemp() / 'logs0' / 'whole'


@pytest.fixture(scope='module')
def resumed(tmp_path_factory) -> Path:
    """The same training, killed twice in epoch 3 and once in epoch 5, and resumed each time."""
    work_dir = tmp_path_factory.mktemp('resumed') / 'resumed'
    train(work_dir, 5, kill=17)
    next_second()
    train(work_dir, 5, kill=15, resume=True)
    train(work_dir, 5, kill=29, resume=True)
    next_second()
    train(work_dir, 5, resume=True)
    return work_dir


def test_a_run_resumed_three_times_equals_an_uninterrupted_run(whole, resumed):
    (expected,), (run,) = logs.read([whole]), logs.read([resumed])
    for key in ('train/loss', 'train/lr', 'val/accuracy/top1'):
        for counts_epochs in (True, False):
            np.testing.assert_allclose(run.series(key, counts_epochs), expected.series(key, counts_epochs))
    assert expected.notes == ()
    assert '4 sessions joined; 5 rows were replaced' in run.notes[0]
    assert sum(len(file.read_text().splitlines()) for file in files(resumed)) == len(expected.rows) + 5


def test_validation_is_at_the_end_of_its_epoch(whole):
    (run,) = logs.read([whole])
    assert run.by_epoch
    assert run.series('val/accuracy/top1')[0].tolist() == [1, 2, 3, 4, 5]
    assert run.series('val/accuracy/top1', by_epoch=False)[0].tolist() == [6, 12, 18, 24, 30]
    np.testing.assert_allclose(run.series('train/loss')[0], np.arange(2, 31, 2) / EPOCH)
    steps = [json.loads(line)['step'] for line in files(whole)[0].read_text().splitlines() if 'top1' in line]
    assert steps == [1, 2, 3, 4, 5]  # drawn over `step`, validation would end at iteration 5 of 30


@pytest.mark.parametrize(
    'options',
    [{}, dict(interval=4), dict(interval=5), dict(by_metric=False), dict(epoch_in_lines=True), dict(hierarchy=True)],
    ids=lambda options: '_'.join(f'{key}={value}' for key, value in options.items()) or 'default',
)
def test_iteration_loop_validates_where_it_did(tmp_path, options):
    first = train(tmp_path / 'run', 20, by_epoch=False, kill=14, **options)
    next_second()
    second = train(tmp_path / 'run', 20, by_epoch=False, resume=True, **options)
    assert (first, second) == ([3, 6, 9, 12], [12, 15, 18, 20])
    (run,) = logs.read([tmp_path])
    assert not run.by_epoch
    assert run.series('val/accuracy/top1')[0].tolist() == [3, 6, 9, 12, 15, 18, 20]
    step = options.get('interval', 2)
    assert run.series('train/loss')[0].tolist() == [k for k in range(1, 21) if k % step == 0]


def test_without_a_config_positions_of_validations_are_estimates_with_a_note(tmp_path):
    train(tmp_path / 'run', 12, by_epoch=False, interval=4)
    files(tmp_path / 'run')[0].with_name('config.py').unlink()
    (run,) = logs.read([tmp_path])
    places = run.series('val/accuracy/top1')[0]
    assert len(places) == 4 and np.all(np.diff(places) > 0) and np.all(np.abs(places - [3, 6, 9, 12]) <= 4)
    assert 'positions are estimates' in run.notes[0]


def test_epochs_whose_last_line_is_not_logged(tmp_path):
    train(tmp_path / 'run', 3, interval=4)
    (run,) = logs.read([tmp_path / 'run'])
    np.testing.assert_allclose(run.series('train/loss')[0], [4 / 6, 10 / 6, 16 / 6])
    assert run.series('val/accuracy/top1', by_epoch=False)[0].tolist() == [6, 12, 18]


def test_broken_lines_are_left_out_with_a_note(whole, tmp_path):
    work_dir = tmp_path / 'run'
    shutil.copytree(whole, work_dir)
    log = files(work_dir)[0]
    text = log.read_text()
    log.write_text(text[:-40])
    (run,) = logs.read([work_dir])
    assert 'the last line is incomplete' in run.notes[0]
    assert run.series('val/accuracy/top1')[0].tolist() == [1, 2, 3, 4]
    lines = text.splitlines()
    log.write_text('\n'.join([*lines[:4], lines[4][:30] + lines[5], *lines[6:]]) + '\n')
    (run,) = logs.read([work_dir])
    assert 'line 5 cannot be read' in run.notes[0]
    assert len(run.rows) == len(lines) - 2


def test_a_file_named_by_timestamp_is_read_if_scalars_json_is_missing(whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'run')
    files(tmp_path / 'run')[0].unlink()
    assert logs.read([tmp_path / 'run'])[0].rows == logs.read([whole])[0].rows


def test_runs_have_unique_names_and_a_log_is_accepted(whole, resumed):
    assert [run.name for run in logs.read([whole, resumed])] == ['whole', 'resumed']
    assert logs.read([files(whole)[0]])[0] == logs.read([whole])[0]
    assert len(logs.read([whole.parent.parent])) >= 2


def test_work_directories_of_one_name_are_named_with_their_parents(whole, tmp_path):
    for parent in 'ab':
        shutil.copytree(whole, tmp_path / parent / 'run')
    assert [run.name for run in logs.read([tmp_path])] == ['a/run', 'b/run']


def write(folder: Path, lines: list[dict]) -> Path:
    """A log of these lines."""
    log = folder / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder


def test_errors_are_one_sentence(tmp_path, whole):
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    (foreign / 'trainer_state.json').write_text('{\n "log_history": []\n}\n')
    old = tmp_path / 'old.log.json'
    old.write_text('{"mode": "train", "epoch": 1, "iter": 50, "loss": 0.3}\n')
    nothing = write(tmp_path / 'nothing', [])
    scored = write(tmp_path / 'scored', [{'accuracy/top1': 3.0, 'step': 0}])
    for path, error, words in [
        (tmp_path / 'missing', FileNotFoundError, 'no such work directory'),
        (foreign, ValueError, 'trainer_state.json is the log of another tool'),
        (foreign / 'trainer_state.json', ValueError, 'not a log of MMEngine'),
        (old, ValueError, 'not a log of MMEngine'),
        (next(whole.glob('*/*.log')), ValueError, r'on each line; .*scalars.json has the numbers'),
        (nothing, ValueError, 'the log is empty'),
        (scored, ValueError, 'no training'),
    ]:
        with pytest.raises(error, match=words) as caught:
            logs.read([path])
        assert '\n' not in str(caught.value) and str(path) in str(caught.value)
    assert [run.name for run in logs.read([nothing, whole])] == ['whole']
    assert 'the log is empty' in logs.read([nothing, whole])[0].notes[0]


def test_an_incomplete_first_line_is_an_empty_log(tmp_path):
    log = files(write(tmp_path / 'run', []))[0]
    log.write_text('{"lr": 0.1, "lo')
    with pytest.raises(ValueError, match='the log is empty'):
        logs.read([tmp_path])


def test_values_that_are_not_finite_are_noted(tmp_path):
    losses = [2.0, float('nan'), float('inf'), 1.0]
    write(tmp_path / 'run', [{'loss': loss, 'epoch': 1, 'iter': k, 'step': k} for k, loss in enumerate(losses, 1)])
    (run,) = logs.read([tmp_path])
    assert run.notes == ('run: loss is nan at iteration 2; 2 lines in total.',)


def test_keys_are_selected_in_full_by_split_or_by_their_end(whole):
    runs = logs.read([whole])
    assert logs.select(runs, 'loss') == ['train/loss']
    assert logs.select(runs, 'time') == ['train/time', 'val/time']
    assert logs.select(runs, 'val/time') == ['val/time']
    assert logs.select(runs, 'top1') == ['val/accuracy/top1']
    with pytest.raises(ValueError, match=r'Did you mean loss\? The keys are: lr, data_time, loss, time, accuracy/top1'):
        logs.select(runs, 'los')


def test_csv_has_every_number_once(whole, tmp_path):
    runs = logs.read([whole])
    path = logs.write_csv(runs, ['train/loss', 'val/accuracy/top1', 'train/loss'], tmp_path / 'new' / 'curves.csv')
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for key in ('train/loss', 'val/accuracy/top1'):
        mine = [row for row in rows if f'{row["split"]}/{row["key"]}' == key]
        np.testing.assert_allclose(
            [[float(row['epoch']), float(row['value'])] for row in mine], np.transpose(runs[0].series(key))
        )
    assert len(rows) == 15 + 5
