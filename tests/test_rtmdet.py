"""The light detector: its configs, its shared kernels, and its parts against mmdet's."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from test_detection_tools import tool
from test_ssdlite import detector
from torchvision.ops import generalized_box_iou_loss

from tinynet_mm.bench.batches import random_batch
from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import configs, editing
from tinynet_mm.mmlab.counting import count_config

CONFIGS = sorted(Path('configs').glob('rtmdet_*_coco.py'))
E = 'configs/rtmdet_tinynet_e_coco.py'


def test_all_configs_exist():
    names = {path.stem.removeprefix('rtmdet_').removesuffix('_coco') for path in CONFIGS}
    assert names == {f'tinynet_{x}' for x in 'abcde'} | {'efficientnet_b-3', 'efficientnet_lite0', 'mobilenetv2', 'tiny'}


@pytest.mark.parametrize('path', [*CONFIGS, Path('configs/yolox_nano_coco.py')], ids=lambda path: path.stem)
def test_every_config_takes_a_training_step_and_predicts(path):
    model = detector(path, 96)
    model.init_weights()
    losses = model(**model.data_preprocessor(random_batch(96, 2), True), mode='loss')
    total = model.parse_losses(losses)[0]
    total.backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert torch.isfinite(total) and all(name.startswith('backbone.conv2.') for name in unused)  # mmdet's MobileNetV2
    with torch.no_grad():
        found = model.eval().test_step(random_batch(96, 2))[0].pred_instances
    assert found.bboxes.shape[1] == 4 and (found.labels < 3).all() and (found.bboxes >= 0).all() and (found.bboxes <= 96).all()


@pytest.mark.parametrize('name', ['tinynet_a', 'tinynet_e'])
def test_multiply_adds_are_those_of_ssdlite(name):
    """At 320 pixels: on COCO at most as many, on data of three classes at most 5 % more."""
    ours, rival = (Config.fromfile(f'configs/{kind}_{name}_coco.py') for kind in ('rtmdet', 'ssdlite'))
    editing.set_input_size(rival, 320)
    for classes, least, most in ((80, 0.75, 1.0), (3, 0.95, 1.05)):
        macs = []
        for cfg in (ours, rival):
            cfg.model.bbox_head.num_classes = classes
            macs.append(sum(part.macs for part in count_config(cfg)[1].values()))
        assert least <= macs[0] / macs[1] <= most


def test_the_counts_in_the_configs_are_those_of_the_index():
    models = {model['Name']: model['Metadata'] for model in yaml.safe_load(Path('configs/metafile.yml').read_text())['Models']}
    for path in CONFIGS:
        listed, text = models[path.stem], path.read_text()
        assert f'\n{listed["FLOPs"] / 1e6:.0f} M multiply-adds an image and {listed["Parameters"] / 1e6:.2f} M parameters' in text


def head(**settings):
    init_default_scope('mmdet')
    return MODELS.build(dict(Config.fromfile(E).model.bbox_head, num_classes=3, _scope_='mmdet') | settings)


def test_levels_share_kernels_and_not_norms():
    shared, own = head(), head(share_conv=False)
    count = [sum(p.numel() for p in h.parameters()) for h in (shared, own)]
    kernels = 2 * 2 * (64 * 25 + 64 * 64)  # two branches of two layers: depthwise 5x5 and pointwise
    assert count[1] - count[0] == 3 * kernels
    norms = [m for m in shared.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == len({id(m) for m in norms}) == 4 * 2 * 2 * 2


def test_a_shared_head_is_an_own_head_with_equal_kernels():
    """Scores, boxes and the sum of the gradients over the levels."""
    torch.manual_seed(0)
    shared, own = head(), head(share_conv=False)
    own.load_state_dict(shared.state_dict())
    maps = [torch.randn(2, 64, side, side) for side in (8, 4, 2, 1)]
    results = []
    for module in (shared.train(), own.train()):
        scores, boxes = module(maps)
        sum(x.square().mean() for x in (*scores, *boxes)).backward()
        results.append([*scores, *boxes])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    found = shared.cls_convs[0][1].pointwise_conv.conv.weight.grad
    expected = sum(branch[1].pointwise_conv.conv.weight.grad for branch in own.cls_convs)
    torch.testing.assert_close(found, expected)


def test_with_3x3_kernels_of_its_own_it_is_the_head_of_mmdet():
    torch.manual_seed(0)
    ours = head(kernel_size=3, share_conv=False)
    theirs = head(type='RTMDetSepBNHead', share_conv=False, use_depthwise=True, feat_channels=64, stacked_convs=2,
                  with_objectness=False, exp_on_reg=True)  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    maps = [torch.randn(2, 64, side, side) for side in (8, 4, 2, 1)]
    for found, expected in zip(sum(ours(maps), ()), sum(theirs(maps), ()), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('exp_on_reg', [True, False])
def test_untrained_boxes_have_the_sides_that_initial_says(exp_on_reg):
    torch.manual_seed(0)
    module = head(exp_on_reg=exp_on_reg)
    module.init_weights()
    _, distances = module([torch.randn(2, 64, side, side) for side in (8, 4, 2, 1)])
    for found, stride in zip(distances, (8, 16, 32, 64), strict=True):
        sides = found[:, :2] + found[:, 2:]
        assert (sides - 6 * stride).abs().max() < 1.5 * stride


def random_level(labels):
    """Arguments of ``loss_by_feat_single`` for a level of 4 points an image, with three classes."""
    shape = labels.shape
    corners = 20 * torch.rand(2, *shape, 2), 30 + 20 * torch.rand(2, *shape, 2)
    boxes, targets = torch.cat(corners, -1)
    scores = torch.randn(len(labels), 3, 2, 2, requires_grad=True)
    quality = torch.rand(shape) * (labels < 3)
    return scores, boxes.requires_grad_(), labels, torch.ones(shape), targets, quality, (8, 8)


def test_all_positive_points_have_the_same_weight_in_the_box_loss():
    """Against GIoU of torchvision; the loss of the scores is mmdet's."""
    torch.manual_seed(0)
    level = random_level(torch.tensor([[3, 0, 3, 2], [1, 3, 3, 3]]))
    scores, boxes, quality, positives = head().loss_by_feat_single(*level)
    chosen = level[2] < 3
    expected = generalized_box_iou_loss(level[1][chosen], level[4][chosen], reduction='sum')
    torch.testing.assert_close(boxes, 2 * expected)  # 2: the weight of this loss in the config
    assert positives == 3
    theirs = head(type='RTMDetSepBNHead', feat_channels=64, share_conv=False, with_objectness=False)
    expected, weighted, total, _ = theirs.loss_by_feat_single(*level)
    torch.testing.assert_close((scores, quality), (expected, total))
    assert weighted < boxes  # mmdet multiplies by the targets, which are below 1


def test_a_level_without_positive_points_has_no_box_loss():
    level = random_level(torch.full((2, 4), 3))
    _, boxes, _, positives = head().loss_by_feat_single(*level)
    boxes.backward()
    assert boxes == positives == 0 and not level[1].grad.any()


def test_the_neck_without_extra_levels_is_that_of_mmdet():
    init_default_scope('mmdet')
    settings = dict(Config.fromfile(E).model.neck, in_channels=[8, 16, 24], out_channels=8, _scope_='mmdet')
    ours = MODELS.build(settings)
    del settings['extra_levels']
    theirs = MODELS.build(settings | dict(type='CSPNeXtPAFPN', num_csp_blocks=1, use_depthwise=True))
    theirs.load_state_dict({key: value for key, value in ours.state_dict().items() if not key.startswith('extra.')})
    maps = tuple(torch.randn(2, channels, side, side) for channels, side in ((8, 12), (16, 6), (24, 3)))
    found, expected = ours.eval()(maps), theirs.eval()(maps)
    for one, other in zip(found[:3], expected, strict=True):
        torch.testing.assert_close(one, other)
    assert found[3].shape == (2, 8, 2, 2)


@pytest.mark.parametrize('size', [100, 16, 336])
def test_a_size_that_the_strides_do_not_divide_is_refused(size):
    cfg = Config.fromfile(E)
    with pytest.raises(
        UserError, match=f'an input of {size} pixels( does not fit LightHead: give a multiple of 32|: give 32 to 8192)'
    ):
        editing.set_input_size(cfg, size)
    with pytest.raises(UserError, match='feature maps have sides .* multiple of 32'):
        detector(E, 96).eval().test_step(random_batch(size, 1))


def test_the_input_size_sets_mosaics_and_crops():
    cfg = Config.fromfile(E)
    editing.set_input_size(cfg, 416)
    assert configs.input_side(cfg) == 416
    text = str(cfg.train_dataloader) + str(cfg.custom_hooks)
    assert text.count('416') >= 10 and text.count('832') == 2 and '320' not in text and '640' not in text
    assert '320' not in str(cfg.val_dataloader)


def test_the_short_schedule_keeps_the_input_size():
    for path, size in ((E, 320), ('configs/ssdlite_tinynet_e_coco.py', 512)):
        cfg = Config.fromfile(path)
        editing.apply_schedule(cfg, 'short')
        sizes = [t['size'] for t in cfg.train_dataloader.dataset.pipeline if t['type'] == 'SSDWarp']
        assert sizes == [size] and cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=40, val_interval=5)


@pytest.mark.parametrize('batch', [8, 256])
def test_the_last_rate_of_the_recipe_for_coco_is_a_share_of_the_first_with_any_batch(batch):
    """``auto_scale_lr`` scales the rate of the optimizer, and not a last rate in the scheduler."""
    cfg = Config.fromfile(E)
    rate = cfg.optim_wrapper.optimizer.lr * batch / cfg.auto_scale_lr.base_batch_size
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    settings = cfg.param_scheduler[1]
    settings.pop('convert_to_iter_based')
    cosine = PARAM_SCHEDULERS.build(dict(settings, _scope_='mmengine', optimizer=optimizer))
    rates = []
    for _ in range(settings.end):
        cosine.step()
        rates.append(optimizer.param_groups[0]['lr'])
    assert rates == sorted(rates, reverse=True) and math.isclose(rates[-1], 0.05 * rate, rel_tol=0.01)


def test_the_recipe_for_coco_trains_with_mosaics_and_without(tmp_path):
    """On made-up shapes: one epoch of mosaics and one without them, with averaged weights."""
    list(make_shapes(tmp_path / 'data', ShapesSpec(train=6, val=2, test=1, size=96, class_train=1, class_val=1, class_size=32)))
    root = next(path.parent.parent for path in (tmp_path / 'data').rglob('train.json'))
    options = ['train_dataloader.dataset.pipeline.2.max_cached_images=6', 'custom_hooks.2.switch_epoch=1']
    options += ['visualizer.name=light']  # MMEngine would write to the folder of an earlier test
    arguments = [E, '--data-root', str(root), '--input-size', '64', '--batch-size', '3', '--workers', '0', '--epochs', '2']
    assert tool('train')([*arguments, '--from-scratch', '--work-dir', str(tmp_path / 'run'), '--cfg-options', *options]) == 0
    epochs = [json.loads(line) for line in next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert 'coco/bbox_mAP' in epochs[-1] and all(math.isfinite(row['loss']) for row in epochs if 'loss' in row)
    assert torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)['ema_state_dict']
