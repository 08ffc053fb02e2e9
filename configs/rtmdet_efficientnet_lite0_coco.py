"""The light detector on COCO with EfficientNet-Lite0 (B0 with ReLU6 and without squeeze-excite) at 320 pixels.

    python tools/train.py configs/rtmdet_efficientnet_lite0_coco.py

884 M multiply-adds an image and 3.42 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 922 M). It starts
from timm's ImageNet weights. Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),  # of these weights, as timm has them
    backbone=dict(
        type='ScaledEfficientNet',
        arch='efficientnet_lite0',
        norm_cfg=dict(type='BN', eps=0.001),
        out_indices=(2, 4, 6),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/tf_efficientnet_lite0-0aa007d2.pth',
        ),
    ),
    neck=dict(in_channels=(40, 112, 320)),
)
