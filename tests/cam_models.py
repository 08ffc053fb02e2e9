"""Small networks for the tests of maps, from configs of mmdet and mmpretrain, and the questions on them."""

import functools
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from tinynet_mm.cam import choose

SIDE = 128
META = dict(img_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0), ori_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE))
SMALL = dict(type='ResNet', depth=18, base_channels=16, num_stages=4, out_indices=(0, 1, 2, 3), norm_eval=True)
WIDTHS = [16, 32, 64, 128]


def build(cfg: dict, scope: str, seed: int = 0) -> nn.Module:
    """A model with weights large enough that scores differ from prior to prior."""
    init_default_scope(scope)
    torch.manual_seed(seed)
    return MODELS.build(ConfigDict(cfg)).eval()


def shrink(name: str, **head) -> dict:
    """A detector of mmdet's own configs with a small ResNet-18 and narrow heads."""
    cfg = get_config(f'mmdet::{name}').model
    cfg.backbone = dict(SMALL)
    cfg.neck.update(in_channels=WIDTHS, out_channels=24)
    cfg.get('bbox_head', {}).update(in_channels=24, feat_channels=24, num_classes=7, **head)
    return cfg


def retinanet() -> nn.Module:
    model = build(shrink('retinanet/retinanet_r50_fpn_1x_coco.py', stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.retina_cls)


def fcos() -> nn.Module:
    model = build(shrink('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', norm_cfg=None, stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.conv_cls)


def rtmdet() -> nn.Module:
    model = build(get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model | dict(backbone=rtmdet_backbone()), 'mmdet')
    return spread(model, *model.bbox_head.rtm_cls)


def rtmdet_backbone() -> dict:
    backbone = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model.backbone
    backbone.pop('init_cfg')
    return backbone


def ssdlite() -> nn.Module:
    neck = dict(
        type='SSDNeck', in_channels=(56, 1280), out_channels=(56, 1280, 64, 32), level_strides=(2, 2), level_paddings=(1, 1)
    )
    neck |= dict(l2_norm_scale=None, use_depthwise=True, norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
    head = dict(type='SSDLiteHead', num_classes=7, input_size=SIDE, in_channels=(56, 1280, 64, 32), strides=(16, 32, 64, 128))
    head |= dict(scales=(0.07, 0.15, 0.33, 0.51, 0.69), norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
    test = dict(nms_pre=100, nms=dict(type='nms', iou_threshold=0.45), min_bbox_size=0, score_thr=0.02, max_per_img=50)
    backbone = dict(type='TinyNet', arch='e', out_indices=(4, 7))
    model = dict(type='SingleStageDetector', backbone=backbone, neck=neck, bbox_head=head, test_cfg=test)
    model = build(model, 'mmdet')
    return spread(model, *[m for m in model.bbox_head.cls_convs.modules() if isinstance(m, nn.Conv2d) and m.out_channels == 48])


def light() -> nn.Module:
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs' / 'rtmdet_tinynet_e_coco.py').model
    cfg.backbone.pop('init_cfg')
    cfg.bbox_head.num_classes = 7
    model = build(cfg, 'mmdet')
    return spread(model, *model.bbox_head.rtm_cls)


def faster_rcnn() -> nn.Module:
    cfg = shrink('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.rpn_head.update(in_channels=24, feat_channels=24)
    cfg.roi_head.bbox_roi_extractor.out_channels = 24
    cfg.roi_head.bbox_head.update(in_channels=24, fc_out_channels=32, num_classes=7)
    cfg.test_cfg.rpn.max_per_img = 60
    model = build(cfg, 'mmdet')
    return spread(model, model.roi_head.bbox_head.fc_cls)


def gfl() -> nn.Module:
    model = build(shrink('gfl/gfl_r50_fpn_1x_coco.py', norm_cfg=None, stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.gfl_cls)


def atss() -> nn.Module:
    model = build(shrink('atss/atss_r50_fpn_1x_coco.py', norm_cfg=None, stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.atss_cls)


def yolox() -> nn.Module:
    return build(get_config('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py').model, 'mmdet')


def spread(model: nn.Module, *layers: nn.Module) -> nn.Module:
    """Make the last layers' scores differ, as after training: a new network gives nearly the same score everywhere."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.2)
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.1)
        nn.init.normal_(layer.bias, std=0.3)
    return model


def classifier(**backbone) -> nn.Module:
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, base_channels=16, stem_channels=16) | backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=128),
    )
    return spread(build(cfg, 'mmpretrain'))


# name -> (builder, layer whose output is the level, by the level's index)
DETECTORS = {
    'retinanet': (retinanet, lambda m, level: m.neck.fpn_convs[level]),
    'fcos': (fcos, lambda m, level: m.neck.fpn_convs[level]),
    'rtmdet': (rtmdet, lambda m, level: m.neck.out_convs[level]),
    'ssdlite': (ssdlite, lambda m, level: [m.backbone.level_modules(4)[-1], m.backbone.level_modules(7)[-1]][level]),
    'light': (light, lambda m, level: [*m.neck.out_convs, *m.neck.extra][level]),
    'faster_rcnn': (faster_rcnn, lambda m, level: m.neck.fpn_convs[level]),
}
OTHERS = {'gfl': gfl, 'atss': atss, 'yolox': yolox}  # heads that decode or score differently
ONE_STAGE = [name for name in DETECTORS if name != 'faster_rcnn']


@functools.cache
def models(name: str) -> nn.Module:
    """One of DETECTORS or OTHERS, built once, when a test needs it."""
    return OTHERS[name]() if name in OTHERS else DETECTORS[name][0]()


images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def ask(explainer, images, wanted, metas=META):
    return explainer(images, [metas] * len(images), partial(choose, wanted=wanted))


class OneLogit(nn.Module):
    """A detector whose only output is the logit of one class at one cell of one level, as a user writes it for grad-cam."""

    def __init__(self, model, level, channel, y, x):
        super().__init__()
        self.model, self.place = model, (level, channel, y, x)

    def forward(self, images):
        level, channel, y, x = self.place
        return self.model.bbox_head(self.model.extract_feat(images))[0][level][:, channel, y, x, None]


def place_of(model, images, row: int, label: int):
    """Level, channel, y and x of an anchor's class logit, counted through the maps one by one."""
    for level, scores in enumerate(model.bbox_head(model.extract_feat(images))[0]):
        height, width = scores.shape[-2:]
        classes = model.bbox_head.cls_out_channels
        anchors = scores.shape[1] // classes
        if row < height * width * anchors:
            cell, anchor = divmod(row, anchors)
            return level, anchor * classes + label, cell // width, cell % width
        row -= height * width * anchors
    raise AssertionError('no such anchor')
