"""The options of tools/train.py on short trainings of drawn shapes: console, early stopping, batch, threads, device, trackers."""

import importlib.util
import io
import json
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import EpochBasedTrainLoop
from mmengine.visualization.vis_backend import BaseVisBackend

from tinynet_mm import errors
from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import console
from tinynet_mm.mmlab.reading import read
from tinynet_mm.training import StopWithoutImprovement, options, progress

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'
EPOCH = re.compile(r'epoch (\d)/(\d)  loss [\d.]+ \(cls [\d.]+, bbox [\d.]+\)(.*?)  lr [\d.e-]+(  \d+:\d\d:\d\d left)?')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes')
    list(make_shapes(root, ShapesSpec(train=8, val=4, test=1, size=64, class_train=1, class_val=1, class_size=32)))
    return root / 'coco'


def train(shapes: Path, out: Path, *more: str) -> int:
    spec = importlib.util.spec_from_file_location('tools_train', Path('tools/train.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    common = ('--data-root', str(shapes), '--input-size', '64', '--schedule', 'short', '--work-dir', str(out), '--workers', '0')
    start = () if '--resume' in more else ('--from-scratch',)
    split = more.index('--cfg-options') if '--cfg-options' in more else len(more)
    own = f'visualizer.name={out.name}'  # MMEngine has one visualizer of each name in a process
    settings = ('--cfg-options', 'train_cfg.val_interval=1', own, *more[split + 1 :])
    return module.main([CONFIG, *common, *start, *more[:split], *settings])


@HOOKS.register_module()
class FixedScores(Hook):
    """Replace the score of each validation, before it is logged and compared."""

    priority = 'VERY_HIGH'

    def __init__(self, scores):
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        metrics['coco/bbox_mAP'] = self.scores[runner.epoch - 1]


# Console ----------------------------------------------------------------------------------------------------------------------


def test_the_console_has_one_line_an_epoch_and_the_log_file_has_all(shapes, tmp_path, capsys):
    assert train(shapes, tmp_path, '--epochs', '3', '--cfg-options', 'train_cfg.val_interval=2') == 0
    captured = capsys.readouterr()
    lines = [EPOCH.fullmatch(line) for line in captured.out.splitlines() if line.startswith('epoch')]
    assert [line[1] for line in lines] == ['1', '2', '3'] and all(line[2] == '3' for line in lines)
    assert [bool(line[3]) for line in lines] == [False, True, True]  # validations after two epochs and at the end
    assert [bool(line[4]) for line in lines] == [True, True, False]
    assert captured.err == ''  # the bar is for terminals
    assert not re.search('Epoch\\(|mmengine - INFO|System environment|Average Precision', captured.out)
    log = next(tmp_path.glob('*/*.log')).read_text()
    for text in ('System environment', 'Config:', 'Epoch(train) [1][1/1]', 'Epoch(val) [2]', lines[0][0]):
        assert text in log
    scalars = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert [row['step'] for row in scalars if 'loss' in row] == [1, 2, 3]  # as before
    shown = [float(re.search(r'loss ([\d.]+)', line[0])[1]) for line in lines]  # epochs of one step
    means = [sum(shown[:count]) / count for count in (1, 2, 3)]  # LoggerHook writes means over the last ten steps
    assert means == pytest.approx([row['loss'] for row in scalars if 'loss' in row], rel=1e-3)


def test_a_bar_for_each_epoch_and_validation(monkeypatch):
    bars = []

    class Bar(SimpleNamespace):
        def __init__(self, total, initial, desc, **more):
            super().__init__(text=[desc, total, initial])
            assert more['disable'] is None  # hidden unless on a terminal
            bars.append(self.text)

        def update(self):
            self.text[2] += 1

        def close(self):
            self.text.append('closed')

    monkeypatch.setattr(progress, 'tqdm', Bar)
    loop = object.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(train_loop=loop, epoch=1, max_epochs=3, train_dataloader=range(2), val_dataloader=range(1))
    hook = progress.EpochLines()
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 0)
    hook.after_train_iter(runner, 1)
    hook.after_train_epoch(runner)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0)
    hook.close()  # as after an error
    assert bars == [['epoch 2/3', 2, 2, 'closed'], ['validation', 1, 1, 'closed']]


def test_verbose_brings_the_lines_of_mmengine_back(shapes, tmp_path, capsys):
    assert train(shapes, tmp_path, '--epochs', '1', '--verbose') == 0
    out = capsys.readouterr().out
    assert 'Epoch(train) [1][1/1]' in out and 'System environment' in out and not EPOCH.search(out)


# Early stopping ---------------------------------------------------------------------------------------------------------------


def test_patience_stops_at_the_best_averaged_weights(shapes, tmp_path, capsys):
    scores = 'custom_hooks.0=dict(type="FixedScores", scores=[0.1, 0.3, 0.3, 0.2, 0.9])'
    assert train(shapes, tmp_path, '--epochs', '5', '--patience', '2', '--cfg-options', scores) == 0
    out = capsys.readouterr().out
    assert 'stopped after epoch 4: 2 validations without a coco/bbox_mAP better than 0.3 of epoch 2.' in out.splitlines()
    assert out.index('epoch 4/5') < out.index('stopped after') and 'epoch 5/5' not in out
    assert [line.startswith('epoch') and '(best so far)' in line for line in out.splitlines() if 'epoch ' in line[:6]] == [
        True, True, False, False,
    ]  # fmt: skip
    best = read(tmp_path / 'best_coco_bbox_mAP_epoch_2.pth')
    raw = {key.removeprefix('module.'): value for key, value in best['ema_state_dict'].items()}  # MMEngine exchanges the two
    key = 'backbone.stem.0.weight' if 'backbone.stem.0.weight' in raw else next(k for k in raw if k.endswith('weight'))
    assert not torch.equal(best['state_dict'][key], raw[key])
    assert not (tmp_path / 'epoch_5.pth').exists() and (tmp_path / 'epoch_4.pth').exists()


def test_the_count_continues_after_resume(shapes, tmp_path, capsys):
    hook = 'custom_hooks.0=dict(type="FixedScores", scores=[0.3, 0.2, 0.1, 0.1, 0.1])'
    assert train(shapes, tmp_path, '--epochs', '2', '--patience', '3', '--cfg-options', hook) == 0
    assert train(shapes, tmp_path, '--epochs', '5', '--resume', '--patience', '2', '--cfg-options', hook) == 0
    out = capsys.readouterr().out  # the checkpoint of epoch 2 is older than its validation: one validation counts twice
    assert '2 validations without a coco/bbox_mAP better than 0.3 of epoch 1.' in out


class Loop:
    stop_training = False


def stop_epoch(scores, patience, rule=None, length=1000):
    """The epoch after which the hook stops, None for never."""
    hook, logger = StopWithoutImprovement('mAP', patience, rule), SimpleNamespace(info=lambda text, extra: None)
    hub = SimpleNamespace(update_info=lambda key, value: None, runtime_info={})
    for epoch, score in enumerate(scores, 1):
        runner = SimpleNamespace(iter=epoch, max_iters=length, train_loop=Loop(), logger=logger, message_hub=hub)
        hook.after_val_epoch(runner, {} if score is None else {'mAP': score})
        if runner.train_loop.stop_training:
            return epoch
    return None


def test_a_training_that_ends_anyway_is_not_stopped():
    assert stop_epoch([0.3, 0.2], 1, length=3) == 2 and stop_epoch([0.3, 0.2], 1, length=2) is None


@pytest.mark.parametrize(
    'scores, patience, rule, expected',
    [
        ([0.1, 0.2, 0.3], 1, None, None),
        ([0.1, 0.11, 0.12, 0.12], 1, None, 4),  # increases of less than 0.1 count, equal scores do not
        ([0.3, 0.2, 0.31, 0.2, 0.2], 2, None, 5),
        ([None, None, 0.1, 0.0], 1, None, 4),
        ([0.0, 0.0, 0.1, 0.2, 0.0], 1, None, 5),  # nothing is detected at first
        ([3.0, 2.0, 2.5], 1, 'less', 3),
        ([0.1, float('nan')], 5, None, 2),
    ],
)
def test_validations_without_improvement(scores, patience, rule, expected):
    assert stop_epoch(scores, patience, rule) == expected


def test_patience_without_a_score_is_refused(shapes, tmp_path):
    for value in ('None', 'auto'):
        with pytest.raises(UserError, match='--patience needs a validation and the name of its score'):
            train(shapes, tmp_path, '--patience', '2', '--cfg-options', f'default_hooks.checkpoint.save_best={value}')


@pytest.mark.parametrize('option', ['--patience', '--batch-size', '--threads'])
@pytest.mark.parametrize('value', ['0', '-1', 'two'])
def test_numbers_of_nothing_are_refused(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        train(tmp_path, tmp_path, option, value)
    assert stop.value.code == 2 and option in capsys.readouterr().err


# Batch and processes ----------------------------------------------------------------------------------------------------------


def test_the_learning_rate_follows_the_batch(shapes, tmp_path, capsys):
    assert train(shapes, tmp_path, '--epochs', '1', '--batch-size', '2', '--cfg-options', 'param_scheduler=[]') == 0
    out = capsys.readouterr().out
    assert 'learning rate 0.001 for a batch of 2: 0.004 is for a batch of 8.' in out
    row = json.loads(next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()[0])
    assert row['lr'] == pytest.approx(0.001) and row['step'] == 4  # 8 images


def test_a_batch_that_the_data_does_not_fill_is_refused(shapes, tmp_path):
    with pytest.raises(UserError, match='--batch-size 9: the data set has 8 training images; give at most 8'):
        train(shapes, tmp_path, '--batch-size', '9')
    assert not list(tmp_path.rglob('*.pth'))


def test_a_rate_that_is_not_scaled_is_said():
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=0.1)), auto_scale_lr=dict(enable=False, base_batch_size=8)))
    assert 'learning rate 0.1 for a batch of 4: this config does not scale it' in options.rate_note(cfg, 4)


def test_loader_processes():
    loader = dict(num_workers=2, persistent_workers=True, prefetch_factor=4)
    cfg = Config(dict(train_dataloader=dict(loader), val_dataloader=dict(loader), test_dataloader=dict(loader)))
    options.set_workers(cfg, 3)
    assert cfg.train_dataloader == dict(loader, num_workers=3) and cfg.test_dataloader == loader
    options.set_workers(cfg, 0)
    assert cfg.val_dataloader == dict(num_workers=0, persistent_workers=False)


# Threads and device -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'cpus, load, total, siblings, expected',
    [
        (2, 0.2, 2, False, 2),
        (2, 1.0, 2, False, 1),  # another process is busy
        (2, 7.0, 2, False, 1),
        (8, 0.0, 8, True, 4),  # two hardware threads for each core
        (8, 2.0, 8, False, 6),
        (4, 32.0, 64, False, 2),  # 4 of 64 CPUs run half of their share
    ],
)
def test_threads_follow_the_free_cores(cpus, load, total, siblings, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(options, 'SIBLINGS', f'{tmp_path}/{{}}')
    for cpu in range(cpus):
        (tmp_path / str(cpu)).write_text(f'{cpu // 2}' if siblings else f'{cpu}')
    assert options.free_cores(range(cpus), load, total) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason='the number is that of a training on a CPU')
def test_the_number_of_threads_has_a_reason(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(options.os, 'sched_getaffinity', lambda process: {0, 1}, raising=False)
    try:
        with pytest.raises(UserError, match='--threads 3: this process has 2 CPUs'):
            options.set_threads(3)
        assert options.set_threads(2) == '2 CPU threads (--threads).' and torch.get_num_threads() == 2
        monkeypatch.setenv('OMP_NUM_THREADS', '2')
        assert options.set_threads(None) == '2 CPU threads (OMP_NUM_THREADS).'
        monkeypatch.delenv('OMP_NUM_THREADS')
        monkeypatch.setattr(options.os, 'sched_getaffinity', lambda process: {0}, raising=False)
        assert re.match(r'1 CPU thread \(1 CPU cores, load of the last minute [\d.]+; --threads', options.set_threads(None))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('device, words', [('tpu', 'give cpu, cuda, or cuda with the number'), ('cuda:', 'give cpu, cuda')])
def test_an_unknown_device_is_refused(device, words, tmp_path):
    with pytest.raises(UserError, match=f'--device {device}: {words}'):
        train(tmp_path, tmp_path, '--device', device)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has the device')
@pytest.mark.parametrize('device', ['cuda', 'cuda:1'])
def test_a_device_that_the_machine_lacks_is_refused(device, tmp_path):
    with pytest.raises(UserError, match=f'--device {device} is not available'):
        train(tmp_path, tmp_path, '--device', device)


def test_training_on_the_cpu(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert train(shapes, tmp_path, '--epochs', '1', '--device', 'cpu') == 0
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '-1'


# Trackers ---------------------------------------------------------------------------------------------------------------------


@VISBACKENDS.register_module()
class KeepScalars(BaseVisBackend):
    """Keep what a tracker receives."""

    rows: list = []
    configs: list = []

    def _init_env(self):
        pass

    def experiment(self):
        return self

    def add_config(self, config, **kwargs):
        KeepScalars.configs.append(config)

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        KeepScalars.rows.append((step, dict(scalar_dict)))


@pytest.mark.parametrize('name', ['tensorboard', 'wandb'])
def test_a_tracker_receives_the_scalars_and_the_config_stays(name, shapes, tmp_path, monkeypatch):
    KeepScalars.rows, KeepScalars.configs, inits = [], [], []
    monkeypatch.setitem(options.TRACKERS, name, 'KeepScalars')
    monkeypatch.setattr(options, 'find_spec', lambda package: package)
    monkeypatch.setattr(KeepScalars, '__init__', lambda self, save_dir, init_kwargs=None: inits.append(init_kwargs))
    assert train(shapes, tmp_path, '--epochs', '1', f'--{name}') == 0
    logged = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    (config,) = [init['config'] for init in inits if init] + KeepScalars.configs
    assert config['train_cfg']['max_epochs'] == 1 and len(KeepScalars.rows) == len(logged) == 2
    assert KeepScalars.rows[0][1]['loss'] == pytest.approx(logged[0]['loss'])
    assert 'KeepScalars' not in next(tmp_path.glob('ssdlite*.py')).read_text()


@pytest.mark.parametrize('name', ['tensorboard', 'wandb'])
def test_a_missing_tracker_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.setattr(options, 'find_spec', lambda package: None)
    with pytest.raises(errors.MissingPackageError, match=f'--{name} needs the package {name}: pip install {name}'):
        train(tmp_path, tmp_path, f'--{name}')


def test_tensorboard_itself(shapes, tmp_path):
    pytest.importorskip('tensorboard')
    assert train(shapes, tmp_path, '--epochs', '1', '--tensorboard') == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(tmp_path.glob('*/vis_data'))))
    events.Reload()
    assert {'loss', 'lr', 'coco/bbox_mAP'} <= set(events.Tags()['scalars'])


def test_wandb_itself_without_network(shapes, tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    assert train(shapes, tmp_path, '--epochs', '1', '--wandb') == 0
    assert list(tmp_path.glob('*/vis_data/wandb/offline-run-*/*.wandb'))


def test_a_closed_console_does_not_stop_the_program(monkeypatch):
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    stream = io.StringIO()
    handler = console.PlainConsole(stream)
    handler.emit(logging.makeLogRecord(dict(msg='a line', levelno=logging.INFO)))
    assert stream.getvalue() == 'a line\n'
    stream.close()
    handler.emit(logging.makeLogRecord(dict(msg='another', levelno=logging.INFO)))
