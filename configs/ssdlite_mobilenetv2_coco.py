"""SSDLite-512 on COCO with the MobileNetV2 1.0x of mmdet, for comparison under the same head and recipe.

    python tools/train.py configs/ssdlite_mobilenetv2_coco.py

1908 M multiply-adds an image and 4.23 M parameters with 80 classes (counted). Not trained here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='MobileNetV2',
        out_indices=(4, 7),
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    neck=dict(in_channels=(96, 1280), out_channels=(96, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(96, 1280, 512, 256, 256, 128)),
)
