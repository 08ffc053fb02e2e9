"""Every ImageNet and ImageNet-100 config agrees with the tables, builds, and computes a loss step.

Networks that differ only in classes or augmentation run once.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

import tinynet_mm  # noqa: F401
from tinynet_mm.archs import resolve
from tinynet_mm.cost import cost

ROOT = Path(__file__).parents[1] / 'configs' / 'imagenet'
PATHS = sorted(ROOT.glob('*.py'))
BASES = dict(ScaledEfficientNet='efficientnet_b0', ScaledGhostNet='ghostnet_a', ScaledResNet='resnet50')


@cache
def load(name):
    return Config.fromfile(ROOT / f'{name}.py')


def arch_of(cfg):
    backbone = cfg.model.backbone
    if backbone.type == 'TinyNet':
        return resolve(f'tinynet_{backbone.arch}')
    arch = backbone.arch
    return resolve(arch if isinstance(arch, str) else arch.to_dict(), BASES[backbone.type])


def test_the_papers_networks_are_all_there():
    names = {path.stem for path in PATHS}
    expected = {f'tinynet_{x}_{d}' for x in 'abcde' for d in ('in1k', 'in100')}
    expected |= {f'efficientnet_{x}_{d}' for x in ('b0', 'b-1', 'b-2', 'b-3', 'b-4') for d in ('in1k', 'in100')}
    expected |= {f'resnet50{x}_{d}' for x in ('', '_a', '_b') for d in ('in1k', 'in100')}
    expected |= {f'ghostnet_{x}{v}_in1k' for x in 'abcd' for v in ('', '_hswish', '_hswish_ra')}
    expected |= {'tinynet_a_ra_in1k', 'efficientnet_b0_ra_in1k'}
    expected |= {f'efficientnet_b0_{v}_in100' for v in ('r0.70', 'r0.46', 'd0.45', 'w0.65', 'w0.38')}
    expected |= {'resnet18_in100', 'resnet34_in100', 'resnet50_giant_a_in100', 'resnet50_giant_b_in100'}
    expected |= {f'ghostnet_{x}_in1k' for x in ('050', '100', '150')}
    assert names == expected


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_config_agrees_with_the_tables_and_the_paper(path):
    cfg, text = load(path.stem), path.read_text()
    arch, small = arch_of(cfg), path.stem.endswith('in100')
    crop, (resize, center) = cfg.train_dataloader.dataset.pipeline[1], cfg.val_dataloader.dataset.pipeline[1:3]
    assert crop.scale == center.crop_size == arch.resolution and resize.scale == int(arch.resolution / 0.875)
    assert {crop.interpolation, resize.interpolation} == {'bicubic'}
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.test_evaluator == cfg.val_evaluator

    classes = 100 if small else 1000
    assert {cfg.model.head.num_classes, cfg.train_dataloader.dataset.num_classes, cfg.val_dataloader.dataset.num_classes} == {
        classes
    }
    macs, params, _ = cost(arch, classes=classes)
    assert f'{macs / 1e6:.1f} M multiply-adds, {params / 1e6:.2f} M parameters' in text
    assert f'python tools/train.py configs/imagenet/{path.name}' in text

    augment = cfg.train_dataloader.dataset.pipeline[3]
    if '_ra_' in path.stem:
        assert augment == dict(type='TimmRandAugment', policy='rand-m9-mstd0.5')
    else:
        assert augment.type == 'ColorJitter' and augment.backend == 'cv2'
    assert ('_hswish' in path.stem) == (cfg.model.backbone.get('act_cfg') == dict(type='HSwish'))


def test_rmsprop_recipe_is_the_papers():
    cfg = load('tinynet_e_in1k')
    expected = dict(type='RMSpropTF', lr=0.048, alpha=0.9, momentum=0.9, eps=0.001, weight_decay=1e-5)
    assert cfg.optim_wrapper.optimizer == expected and cfg.optim_wrapper.constructor == 'TwoGroups'
    assert cfg.train_cfg.max_epochs == 450 and load('tinynet_e_in100').train_cfg.max_epochs == 100
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=1024) and cfg.train_dataloader.batch_size * 8 == 1024
    assert cfg.model.neck.dropout == 0.2 and cfg.model.backbone.norm_cfg.momentum == 0.01
    assert 1 - cfg.custom_hooks[0].momentum == 0.9999
    assert [e.type for e in cfg.val_evaluator] == ['Accuracy', 'CrossEntropy'] and cfg.val_cfg.type == 'RawAndAverageValLoop'


def test_sgd_recipe_is_the_papers():
    cfg = load('resnet50_a_in100')
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-4)
    assert cfg.param_scheduler == [dict(type='StepLR', step_size=30, gamma=0.1, by_epoch=True)]
    assert cfg.train_cfg.max_epochs == 90 and cfg.model.neck.dropout == 0.0


@pytest.mark.parametrize('network', ['tinynet_e', 'efficientnet_b0', 'resnet50', 'resnet50_a'])
def test_imagenet100_differs_in_data_and_length_only(network):
    one, hundred = (load(f'{network}_{data}').to_dict() for data in ('in1k', 'in100'))
    text = json.dumps(hundred).replace('data/imagenet100', 'data/imagenet').replace('"num_classes": 100', '"num_classes": 1000')
    epochs = one['train_cfg']['max_epochs']
    assert json.loads(text.replace('"max_epochs": 100', f'"max_epochs": {epochs}')) == json.loads(json.dumps(one))
    datasets = [hundred[f'{split}_dataloader']['dataset'] for split in ('train', 'val', 'test')]
    assert {data['data_root'] for data in datasets} == {'data/imagenet100'}
    assert {data['num_classes'] for data in (*datasets, hundred['model']['head'])} == {100}
    assert hundred['train_cfg']['max_epochs'] == (90 if 'resnet' in network else 100)


def networks():
    """Return one config of each distinct network."""
    found = {}
    for path in PATHS:
        found.setdefault(json.dumps(load(path.stem).model.backbone.to_dict(), sort_keys=True), path.stem)
    return list(found.values())


@pytest.mark.parametrize('name', networks())
def test_network_builds_and_computes_a_loss_step(name):
    from mmpretrain.structures import DataSample

    cfg = load(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    torch.manual_seed(0)
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    data = dict(inputs=torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), data_samples=samples)
    batch = model.data_preprocessor(data, training=True)
    model(**batch, mode='loss')['loss'].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    counted = sum(p.numel() for p in model.parameters())
    assert counted == cost(arch_of(cfg), classes=cfg.model.head.num_classes).params

    model.eval()
    smoothing = 0.1 if 'RMSprop' in cfg.optim_wrapper.optimizer.type else 0.0
    expected = torch.nn.functional.cross_entropy(model(batch['inputs']), torch.tensor([1, 2]), label_smoothing=smoothing)
    torch.testing.assert_close(model(**batch, mode='loss')['loss'], expected)


@pytest.mark.parametrize('name', ['tinynet_e_in1k', 'ghostnet_d_hswish_ra_in1k'])
def test_pipelines_run(name, tmp_path):
    import cv2

    for split in ('train', 'val'):
        (tmp_path / split / 'x').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / split / 'x' / '0.jpg'), np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8))
    cfg = load(name)
    for split in ('train', 'val'):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            settings = {**cfg[f'{split}_dataloader'].dataset.to_dict(), 'data_root': str(tmp_path), 'num_classes': 1}
            sample = DATASETS.build(settings)[0]
        side = arch_of(cfg).resolution
        assert sample['inputs'].shape == (3, side, side) and sample['inputs'].dtype == torch.uint8
        assert sample['data_samples'].gt_label.item() == 0 and sample['data_samples'].img_path.endswith('0.jpg')
