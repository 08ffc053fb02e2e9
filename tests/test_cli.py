"""What the tools share: options that must exist, sizes and epochs that move together, checkpoints that must fit."""

import argparse
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, DictAction

from tinynet_mm import cli
from tinynet_mm.errors import UserError, run
from tinynet_mm.mmlab import checkpoints, configs, editing

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(CONFIG)


def test_input_size_moves_resizing_anchors_and_strides_together(cfg):
    editing.set_input_size(cfg, 320)
    assert cfg.model.bbox_head.input_size == 320
    sizes = {part.get('size') for part in configs.walk(cfg.train_dataloader) if part.get('type') == 'SSDWarp'}
    scales = {part['scale'] for part in configs.walk([cfg.val_dataloader, cfg.test_dataloader]) if 'scale' in part}
    assert sizes == {320} and scales == {(320, 320)}


def test_epochs_move_the_schedule(cfg):
    editing.apply_schedule(cfg, 'short')
    editing.set_epochs(cfg, 7)
    assert cfg.train_cfg.max_epochs == 7
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.end, cosine.T_max) == (50, 7, 7)


def test_the_short_schedule_replaces_the_optimizer(cfg):
    editing.apply_schedule(cfg, 'short')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=2e-3, weight_decay=0.05)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=8)


@pytest.mark.parametrize(
    'key, words',
    [
        ('optim_wrapper.optimzer.lr', "has no 'optimzer'; did you mean optimizer"),
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
    with pytest.raises(FileNotFoundError, match='did you mean configs/ssdlite_tinynet_e_coco.py'):
        configs.load_config('configs/ssdlite_tinynet_e_cocoo.py')
    zoo = configs.load_config('mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    assert zoo.model.backbone.type == 'MobileNetV2'
    assert configs.load_config('tinynet_mm::ssdlite_tinynet_d_coco.py').model.backbone.arch == 'd'


@pytest.mark.parametrize(
    'name, words',
    [
        ('mmdet::ssd/ssd300_cocoo.py', r'did you mean mmdet::ssd/ssd300_coco\.py'),
        ('mmdet::', 'mmdet has no config without a name'),
        ('json::a.py', 'no package json with configs is installed'),
        ('nowhere::a.py', 'no package nowhere with configs'),
    ],
)
def test_a_packaged_config_that_is_not_there(name, words):
    with pytest.raises(FileNotFoundError, match=words):
        configs.load_config(name)


def test_weights_that_cannot_be_had_are_dropped_with_a_reason(cfg, monkeypatch):
    monkeypatch.setattr(checkpoints, 'unreachable', lambda url: 'URLError: no route')
    (warning,) = checkpoints.pretrained_or_scratch(cfg)
    assert 'tinynet_e.pth cannot be had (URLError: no route): TinyNet starts from scratch' in warning
    assert cfg.model.backbone.init_cfg is None


def test_a_server_that_cannot_be_reached_is_a_reason_not_a_crash():
    assert 'Error' in checkpoints.unreachable('http://127.0.0.1:9/tinynet_e.pth')


def test_a_local_checkpoint_that_is_not_there_is_an_error(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    with pytest.raises(FileNotFoundError, match='there is no checkpoint nowhere.pth'):
        checkpoints.pretrained_or_scratch(cfg)


def test_the_checkpoint_of_another_model(cfg, tmp_path):
    model = torch.nn.Linear(2, 2)
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    with pytest.raises(ValueError, match='checkpoint of another model: .* weights are missing'):
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


@pytest.mark.parametrize('config', ['configs/imagenet/tinynet_e_in1k.py', 'configs/cifar10/tinynet_e_cifar10.py'])
def test_a_classifier_adopts_a_folder(config, tmp_path):
    for split in ('train', 'val'):
        for name in ('ant', 'bee', 'cat'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / 'x.jpg').touch()
    cfg = editing.prepare(Config.fromfile(config), tmp_path)
    assert cfg.model.head.num_classes == 3
    sets = [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val')]
    places = [str(Path(s.get('data_root', ''), s.get('split') or s.get('folder'))) for s in sets]
    assert places == [str(tmp_path / 'train'), str(tmp_path / 'val')]


@pytest.mark.parametrize(
    'text',
    "1 1.5 -2e-3 true False None a_b 'x' 1,2 a, [1,2] (1,a) [] () , [(1,2),[a,b],c] (1,),2 1_000 nan inf none {a:1}".split()
    + ['', 'a b', '[a, b]'],
)
def test_values_of_options_are_read_as_mmengine_reads_them(text):
    try:
        expected = repr(DictAction._parse_iterable(text))
    except AssertionError:
        return
    assert repr(cli.parse_value(text)) == expected


@pytest.mark.parametrize('text, words', [('lr', 'is not KEY=VALUE'), ('=1', 'is not KEY=VALUE'), ('a=[1', 'unequal brackets')])
def test_an_option_without_a_value_is_refused_with_the_usage(text, words, capsys):
    parser = argparse.ArgumentParser()
    cli.add_config_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['a.py', '--cfg-options', text])
    assert words in capsys.readouterr().err
