"""Checkpoints through the function of predict, test and cam: classes of a two-stage detector, and networks that do not fit."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn

from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import checkpoints

RESNET = dict(type='ResNet', depth=18, base_channels=8, num_stages=4, out_indices=(0, 1, 2, 3))


def faster_rcnn(classes: int) -> Config:
    """Return mmdet's Faster R-CNN with a narrow ResNet-18 and narrow heads."""
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone = dict(RESNET)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16, num_classes=1)
    cfg.model.roi_head.bbox_roi_extractor.out_channels = 16
    cfg.model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=classes)
    return cfg


@pytest.fixture(scope='module')
def two_stage(tmp_path_factory):
    """The state dict of a Faster R-CNN with three classes, and its checkpoint."""
    path = tmp_path_factory.mktemp('two_stage') / 'epoch_1.pth'
    model = checkpoints.build_model(faster_rcnn(3), seed=0)
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'cow')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return model.state_dict(), str(path)


def test_a_faster_rcnn_adopts_the_classes_of_its_checkpoint(two_stage):
    state, path = two_stage
    cfg = faster_rcnn(80)
    model = checkpoints.load_model(cfg, path)
    assert cfg.model.rpn_head.num_classes == model.rpn_head.num_classes == 1
    assert cfg.model.roi_head.bbox_head.num_classes == 3 and model.dataset_meta['classes'] == ['cat', 'dog', 'cow']
    loaded = model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    'meta, count',
    [
        (dict(dataset_meta=dict(classes='cat')), 1),  # one class as a string
        (dict(CLASSES=('cat', 'dog')), 2),  # mmdet 2
        (dict(dataset_meta=None), 80),
    ],
)
def test_the_classes_of_other_checkpoints(meta, count):
    cfg = faster_rcnn(80)
    checkpoints.adopt_checkpoint_classes(cfg, dict(meta=meta))
    assert cfg.model.roi_head.bbox_head.num_classes == count


def test_a_checkpoint_of_another_network_is_refused_with_examples(two_stage):
    cfg = faster_rcnn(3)
    cfg.model.roi_head.bbox_head.fc_out_channels = 32
    with pytest.raises(UserError, match=r'does not fit the model of this config, which has \d+ tensors: \d+ of another shape: '):
        checkpoints.load_model(cfg, two_stage[1])


def test_tensors_that_the_model_does_not_have_are_ignored():
    model = nn.Linear(2, 2)
    content = dict(state_dict={**copy.deepcopy(model.state_dict()), 'ema.weight': torch.ones(1)})
    checkpoints.load_weights(model, content, 'x.pth')
    content['state_dict']['bias'][0] = torch.nan
    with pytest.raises(UserError, match='x.pth: bias has values that are not finite'):
        checkpoints.load_weights(model, content, 'x.pth')
    del content['state_dict']['bias']
    with pytest.raises(UserError, match='x.pth does not fit .* which has 2 tensors: 1 missing: bias. Give the config'):
        checkpoints.load_weights(model, content, 'x.pth')
