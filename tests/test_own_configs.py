"""A user's own mmdet config with our backbone: it trains and predicts in RetinaNet, RTMDet, Faster R-CNN and Mask R-CNN."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tinynet_mm.models import ScaledGhostNet, ScaledResNet, TinyNet

USERS = """
_base_ = 'mmdet::{base}'
custom_imports = dict(imports=['tinynet_mm'])
model = dict(
    backbone=dict(_delete_=True, {backbone}, out_indices={indices}),
    neck=dict(in_channels={channels}),
)
"""
CASES = {  # base config, backbone of the user and its class, levels of strides 8, 16, 32, or 4 to 32
    'retinanet': ('retinanet/retinanet_r50_fpn_1x_coco.py', "type='TinyNet', arch='e'", TinyNet, (1, 2, 4, 6)),
    'rtmdet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', "type='TinyNet', arch='d'", TinyNet, (2, 4, 6)),
    'faster_rcnn': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', "type='TinyNet', arch='e'", TinyNet, (1, 2, 4, 6)),
    'ghostnet': (
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        "type='ScaledGhostNet', arch='ghostnet_a'",
        ScaledGhostNet,
        (2, 4, 6, 8),
    ),
    'resnet': (
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        "type='ScaledResNet', arch=dict(w=0.3, d=0.5)",
        ScaledResNet,
        (0, 1, 2, 3),
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_a_users_detector_trains_and_predicts_with_our_backbone(name, tmp_path):
    base, backbone, kind, indices = CASES[name]
    channels = eval(f'kind({backbone.partition(", ")[2]}, out_indices={indices})').out_channels
    path = tmp_path / 'mine.py'
    path.write_text(USERS.format(base=base, backbone=backbone, indices=indices, channels=list(channels)))
    cfg = Config.fromfile(path)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert type(model.backbone) is kind
    batch = model.data_preprocessor(demo_mm_inputs(1, [[3, 128, 128]], with_mask='mask' in base), training=True)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    total = sum(sum(value) if isinstance(value, list) else value for key, value in losses.items() if 'loss' in key)
    first = next(model.backbone.parameters())
    before = first.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    total.backward()
    optimizer.step()
    assert torch.isfinite(total) and not torch.equal(first, before)
    model.eval()
    with torch.no_grad():
        found = model.predict(batch['inputs'], batch['data_samples'])
    boxes = found[0].pred_instances.bboxes
    assert boxes.shape[1] == 4 and torch.isfinite(boxes).all()


@pytest.mark.parametrize('kind, first', [('retinanet', 8), ('rtmdet', 8), ('faster_rcnn', 16)])
def test_the_example_of_the_documentation_builds(kind, first, tmp_path):
    """RetinaNet and RTMDet start at stride 8, Faster R-CNN at stride 4."""
    page = (Path(__file__).parents[1] / 'docs' / 'mmlab.md').read_text()
    block = next(block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if f'mmdet::{kind}/' in block)
    (tmp_path / 'mine.py').write_text(block)
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(tmp_path / 'mine.py').model).eval()
    sides = [tuple(level.shape[2:]) for level in model.extract_feat(torch.zeros(1, 3, 64, 64))]
    assert sides[:2] == [(first, first), (first // 2, first // 2)]
