"""Shared parts of the tools: options that must exist, sizes and schedules that change together, checkpoints that must fit."""

import argparse
import runpy
import socket
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tinynet_mm import cli
from tinynet_mm.errors import UserError, run
from tinynet_mm.mmlab import checkpoints, configs, editing, resuming
from tinynet_mm.mmlab.running import config_errors

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(CONFIG)


def test_input_size_sets_resizing_anchors_and_strides(cfg):
    editing.set_input_size(cfg, 320)
    assert cfg.model.bbox_head.input_size == 320
    sizes = {part.get('size') for part in configs.walk(cfg.train_dataloader) if part.get('type') == 'SSDWarp'}
    scales = {part['scale'] for part in configs.walk([cfg.val_dataloader, cfg.test_dataloader]) if 'scale' in part}
    assert sizes == {320} and scales == {(320, 320)}


def test_epochs_scale_the_short_schedule(cfg):
    editing.apply_schedule(cfg, 'short')
    editing.set_epochs(cfg, 7)
    assert cfg.train_cfg.max_epochs == 7
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.end, cosine.T_max) == (50, 7, 7)


def test_the_short_schedule_replaces_the_optimizer(cfg):
    editing.apply_schedule(cfg, 'short')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=4e-3, weight_decay=0.05)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)


@pytest.mark.parametrize(
    'key, words',
    [
        ('optim_wrapper.optimzer.lr', "has no 'optimzer'. Did you mean optimizer"),
        ('max_epoch', "has no 'max_epoch'"),
        ('train_pipeline.9.size', 'a list of 4'),
    ],
)
def test_an_option_that_does_not_exist(cfg, key, words):
    with pytest.raises(ValueError, match=words):
        configs.merge_options(cfg, {key: 1})


def test_an_option_of_a_built_object_may_be_new(cfg):
    assert configs.merge_options(cfg, {'model.backbone.frozen_stages': 2}).model.backbone.frozen_stages == 2


def test_configs_by_path_and_name(tmp_path):
    with pytest.raises(FileNotFoundError, match='Did you mean configs/ssdlite_tinynet_e_coco.py'):
        configs.load_config('configs/ssdlite_tinynet_e_cocoo.py')
    zoo = configs.load_config('mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    assert zoo.model.backbone.type == 'MobileNetV2'
    assert configs.load_config('tinynet_mm::ssdlite_tinynet_d_coco.py').model.backbone.arch == 'd'


@pytest.mark.parametrize(
    'name, words',
    [
        ('mmdet::ssd/ssd300_cocoo.py', r'Did you mean mmdet::ssd/ssd300_coco\.py'),
        ('mmdet::', 'no config is named; give mmdet::FILE.py'),
        ('json::a.py', 'no package json with configs is installed'),
        ('nowhere::a.py', 'no package nowhere with configs'),
    ],
)
def test_a_missing_packaged_config(name, words):
    with pytest.raises(FileNotFoundError, match=words):
        configs.load_config(name)


def test_weights_that_are_not_available_are_dropped_with_a_reason(cfg, monkeypatch):
    monkeypatch.setattr(checkpoints, 'unreachable', lambda url: 'URLError: no route')
    (warning,) = checkpoints.pretrained_or_scratch(cfg)
    assert 'tinynet_e.pth is not available (URLError: no route): TinyNet starts from random weights' in warning
    assert cfg.model.backbone.init_cfg is None


def test_an_unreachable_server_is_a_reason():
    assert 'Error' in checkpoints.unreachable('http://127.0.0.1:9/tinynet_e.pth')


def test_a_missing_local_checkpoint_is_an_error(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    with pytest.raises(FileNotFoundError, match='no checkpoint at nowhere.pth'):
        checkpoints.pretrained_or_scratch(cfg)


def test_the_checkpoint_of_another_model(cfg, tmp_path):
    model = torch.nn.Linear(2, 2)
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    with pytest.raises(ValueError, match='other.pth does not fit the model of this config, which has .* tensors: .* missing'):
        checkpoints.load_model(cfg, path)
    Path(path).write_text('this is no checkpoint')
    with pytest.raises(ValueError, match='not a checkpoint that can be read'):
        checkpoints.load_model(cfg, path)


@pytest.mark.parametrize(
    'error, code, words',
    [
        (UserError('give\nthis'), 2, 'error: give this'),
        (FileNotFoundError('no file x'), 2, 'error: no file x'),
        (FileNotFoundError(2, 'No such file or directory', 'x.jpg'), 2, 'error: x.jpg: no such file or directory'),
        (ValueError('operands could not be broadcast'), 1, 'please report it'),
        (OSError('a bug of ours'), 1, 'Traceback'),
        (KeyError('a bug of ours'), 1, 'Traceback'),
        (TypeError("got an unexpected keyword argument 'x'"), 1, 'Traceback'),
        (KeyboardInterrupt(), 130, 'stopped; nothing is lost'),
    ],
)
def test_only_errors_of_the_user_are_one_line(error, code, words, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        run(main, 'stopped; nothing is lost')
    assert stopped.value.code == code and words in capsys.readouterr().err


@pytest.mark.parametrize(
    'config, parts',
    [
        ('configs/imagenet/tinynet_e_in1k.py', ['train', 'val', 'val']),
        ('configs/cifar10/tinynet_e_cifar10.py', ['train', 'train', 'val']),  # a part of train is the validation part
    ],
)
def test_a_classifier_adopts_a_folder(config, parts, tmp_path):
    for split in ('train', 'val'):
        for name in ('ant', 'bee', 'cat'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / 'x.jpg').touch()
    cfg = editing.prepare(Config.fromfile(config), tmp_path)
    assert cfg.model.head.num_classes == 3
    sets = [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test')]
    places = [str(Path(s.get('data_root', ''), s.get('split') or s.get('folder'))) for s in sets]
    assert places == [str(tmp_path / part) for part in parts]
    assert tuple(cfg.val_evaluator[0].topk) == (1,)  # mmpretrain refuses a top-5 accuracy of three classes


def test_a_variable_of_a_config_takes_effect_where_it_was_copied(cfg):
    editing.set_input_size(cfg, 320)
    configs.merge_options(cfg, {'train_pipeline.2.expand_prob': 0, 'norm_cfg.type': 'SyncBN'})
    (warp,) = (part for part in configs.walk(cfg.train_dataloader) if part.get('type') == 'SSDWarp')
    assert warp.expand_prob == 0 and warp['size'] == 320
    assert cfg.model.neck.norm_cfg.type == cfg.model.bbox_head.norm_cfg.type == 'SyncBN'


ZOO = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.mark.parametrize(
    'key, words',
    [
        ('img_scales.0', 'nothing reads img_scales; set a key below'),  # a list of tuples, which only the unused tta_pipeline has
        ('tta_model.type', 'nothing reads tta_model'),
        (
            'max_epochs',
            'nothing reads max_epochs; set train_cfg.max_epochs instead',
        ),  # not test_cfg.max_per_img, which is 300 too
        ('stage2_num_epochs', 'nothing reads stage2_num_epochs; set a key below'),
        ('backend_args', 'set train_dataloader.dataset.pipeline.0.backend_args or'),  # not load_from, which is None too
        ('input_size', "has no 'input_size'.$"),  # not visualizer
    ],
)
def test_a_hint_proposes_no_coincidence(key, words):
    with pytest.raises(UserError, match=words):
        configs.merge_options(configs.load_config(ZOO), {key: 1})


def test_items_of_lists_and_tuples_are_changed():
    cfg = configs.load_config(ZOO)
    configs.merge_options(cfg, {'train_pipeline.2.img_scale.0': 320, 'model.data_preprocessor.mean.1': 7})
    assert cfg.train_dataloader.dataset.pipeline[2].img_scale == (320, 640) and cfg.model.data_preprocessor.mean[1] == 7


@pytest.mark.parametrize(
    'text, value',
    [
        ("dict(type='Pretrained', checkpoint='a,b.pth')", dict(type='Pretrained', checkpoint='a,b.pth')),
        ("{'a': [1, (2, 3)]}", dict(a=[1, (2, 3)])),
        ('(3,3)', (3, 3)),
        ('[1,a]', [1, 'a']),
        ('1e-3', 0.001),
        ('-5', -5),
        ('None', None),
        ('http://a/b?c=d', 'http://a/b?c=d'),
    ],
)
def test_values_of_options(text, value):
    assert configs.parse_options([f'x={text}']) == dict(x=value)


@pytest.mark.parametrize('text', ['f(1,2)', 'dict(a', 'dict(a=open("x"))', '(1,2'])
def test_a_value_that_is_not_a_literal_is_refused(text):
    with pytest.raises(UserError, match='the value is no number, text, list, tuple or dict'):
        configs.parse_options([f'x={text}'])


@pytest.mark.parametrize(
    'tool, key, words',
    [
        ('train', 'launcher', 'use --launcher'),
        ('test', 'load_from', 'give the checkpoint after the config'),
        ('test', 'resume', 'a test does not resume'),
        ('test', 'work_dir', 'use --out DIR'),
        ('test', 'train_dataloader.batch_size', 'a test does not train'),
        ('test', 'optim_wrapper.optimizer.lr', 'a test does not train'),
        ('test', 'param_scheduler.0.end', 'a test does not train'),
        ('test', 'train_cfg.max_epochs', 'a test does not train'),
        ('test', 'val_dataloader.batch_size', '--split test reads test_dataloader'),
        ('test', 'train_pipeline.2.expand_prob', 'nothing reads train_pipeline'),
    ],
)
def test_an_option_that_a_tool_does_not_use_is_refused(tool, key, words, tmp_path):
    main = runpy.run_path(f'tools/{tool}.py')['main']
    arguments = [CONFIG, str(tmp_path / 'best.pth')] if tool == 'test' else [CONFIG]
    with pytest.raises(UserError, match=f'--cfg-options {key}.*{words}'):
        main([*arguments, '--cfg-options', f'{key}=1'])


@pytest.mark.parametrize(
    'option, words',
    [
        *[(f'{key}=5', f'{key}=5: this entry is a dict with the keys') for key in (
            'model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'train_cfg', 'default_hooks', 'visualizer', 'env_cfg',
            'log_processor', 'randomness', 'model.backbone.init_cfg', 'train_dataloader.dataset',
        )],
        ('param_scheduler=5', 'this entry is a list of 2 dicts'),
        ('train_dataloader.dataset.pipeline=x', 'this entry is a list of . dicts'),
        ('train_dataloader.dataset.pipeline=[]', 'loads no images'),
        ('default_hooks.checkpoint.interval=x', 'is no interval'),
        ('env_cfg.mp_cfg.mp_start_method=nowhere', 'starts no processes; give fork, spawn, forkserver'),
        ('optim_wrapper.optimizer.lr=1e300', 'is no learning rate; give a number from 0 to 1e.30'),
        ('optim_wrapper.clip_grad.max_norm=nan', 'is no norm; give a number above 0'),
        ('model.bbox_head.num_classes=100000000', 'is no number of classes; give 1 to 100000'),
        ('resume=yes', 'use --resume'),
        ('custom_imports.imports=nowhere', 'set it in the config file'),
    ],
)  # fmt: skip
def test_a_value_that_no_training_can_use_is_refused(option, words, tmp_path):
    main = runpy.run_path('tools/train.py')['main']
    with pytest.raises(UserError, match=words):
        main([CONFIG, '--schedule', 'short', '--work-dir', str(tmp_path / 'out'), '--cfg-options', option])
    assert not (tmp_path / 'out').exists()


def test_a_score_that_validations_do_not_give_is_one_sentence():
    """MMEngine looks for it after the first validation."""

    def _save_best_checkpoint():
        raise KeyError('nowhere')

    with pytest.raises(UserError, match='save_best that validations do not give .nowhere.'), config_errors():
        _save_best_checkpoint()


@pytest.mark.parametrize('length', [0, -1, 2.5])
def test_a_training_of_no_epochs_is_refused(length):
    main = runpy.run_path('tools/train.py')['main']
    with pytest.raises(UserError, match=f'train_cfg.max_epochs={length} trains nothing'):
        main([CONFIG, '--cfg-options', f'train_cfg.max_epochs={length}'])


@pytest.mark.parametrize('parse', [cli.positive, cli.probability])
def test_digits_of_other_scripts_are_refused(parse):
    assert parse('1') == 1
    with pytest.raises(argparse.ArgumentTypeError, match='not a number in the digits 0 to 9'):
        parse('\uff11')


def test_loader_processes_are_limited_to_the_cores(cfg, monkeypatch):
    monkeypatch.setattr(editing.os, 'sched_getaffinity', lambda process: {0, 1}, raising=False)
    cfg.train_dataloader.num_workers, cfg.val_dataloader.num_workers, cfg.test_dataloader.num_workers = 8, 1, 8
    notes = []
    editing.limit_workers(cfg, ('train', 'val'), notes.append)
    assert [cfg[f'{split}_dataloader'].num_workers for split in ('train', 'val', 'test')] == [2, 1, 8]
    assert len(notes) == 1 and 'has 2 CPU cores: 2 loader processes instead of 8' in notes[0]


def test_a_variable_that_nothing_reads_is_refused(cfg):
    cfg.unread, cfg.batch_of_mine = dict(a=1), 64
    with pytest.raises(UserError, match='nothing reads unread; set a key below model'):
        configs.merge_options(cfg, {'unread.a': 2})
    with pytest.raises(UserError, match='nothing reads batch_of_mine; set train_dataloader.batch_size'):
        configs.merge_options(cfg, {'batch_of_mine': 2})


@pytest.mark.parametrize('config', ['configs/imagenet/resnet50_in1k.py', 'configs/imagenet/tinynet_e_in1k.py'])
def test_epochs_scale_steps_and_milestones(config):
    cfg = Config.fromfile(config)
    before, epochs = [dict(s) for s in cfg.param_scheduler], cfg.train_cfg.max_epochs
    editing.set_epochs(cfg, epochs // 3)
    steps = [
        (old[key], new[key]) for old, new in zip(before, cfg.param_scheduler) for key in ('step_size', 'every') if key in old
    ]
    steps += [
        pair
        for old, new in zip(before, cfg.param_scheduler)
        for pair in zip(old.get('milestones', ()), new.get('milestones', ()))
    ]
    assert steps and all(new == pytest.approx(old / 3, abs=0.5) for old, new in steps)


def test_zero_epochs_are_refused(cfg):
    with pytest.raises(UserError, match='--epochs 0: train for at least one'):
        editing.set_epochs(cfg, 0)


def test_a_server_without_an_answer_times_out():
    with socket.create_server(('127.0.0.1', 0)) as server:
        started = time.monotonic()
        reason = checkpoints.unreachable(f'http://127.0.0.1:{server.getsockname()[1]}/tinynet_e.pth', timeout=0.5)
        assert 'timed out' in reason and time.monotonic() - started < 10
    assert socket.getdefaulttimeout() is None


def test_resume_without_a_checkpoint_is_noted(cfg, tmp_path):
    notes = []
    cfg.work_dir = str(tmp_path)
    resuming.set_resume(cfg, 'auto', notes.append)
    assert not cfg.resume and 'training starts at the beginning' in notes[0]
    torch.save({}, tmp_path / 'epoch_1.pth')
    resuming.set_resume(cfg, 'auto', notes.append)
    assert cfg.resume and cfg.load_from == str(tmp_path / 'epoch_1.pth') and len(notes) == 1


def test_from_scratch_removes_all_pretrained_weights(cfg):
    assert checkpoints.pretrained_parts(cfg)
    checkpoints.from_scratch(cfg)
    assert not checkpoints.pretrained_parts(cfg)


@pytest.mark.parametrize(
    'text, words',
    [
        ('model = dict(', 'is not a config that MMEngine reads'),
        ("_base_ = 'nowhere.py'", 'a base of this config is missing'),
    ],
)
def test_a_broken_config_is_one_sentence(tmp_path, text, words):
    (tmp_path / 'broken.py').write_text(text)
    with pytest.raises(UserError, match=words):
        configs.load_config(str(tmp_path / 'broken.py'))


@pytest.mark.parametrize(
    'change, words',
    [(dict(type='Nowhere'), 'unknown type.*Nowhere is not in the'), (dict(depth_=1), 'an argument that does not exist')],
)
def test_a_config_that_cannot_be_built_is_one_sentence(cfg, change, words):
    cfg.model.neck.update(change)
    with pytest.raises(UserError, match=words):
        checkpoints.build_model(cfg)


def test_classes_of_a_checkpoint_do_not_change_the_proposal_head():
    cfg = Config(dict(model=dict(rpn_head=dict(num_classes=1), roi_head=dict(bbox_head=dict(num_classes=80)))))
    checkpoints.adopt_checkpoint_classes(cfg, dict(meta=dict(dataset_meta=dict(classes=('a', 'b', 'c')))))
    assert cfg.model.rpn_head.num_classes == 1 and cfg.model.roi_head.bbox_head.num_classes == 3
