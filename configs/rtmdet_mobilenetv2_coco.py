"""The light detector on COCO with the MobileNetV2 1.0x of mmdet at 320 pixels, for comparison under the same head and recipe.

    python tools/train.py configs/rtmdet_mobilenetv2_coco.py

737 M multiply-adds an image and 2.64 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 746 M),
41 M of them in mmdet's last layer, which runs and is not used here. Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    neck=dict(in_channels=(32, 96, 320)),
)
