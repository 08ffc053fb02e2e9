"""SSDLite-512 on COCO with EfficientNet-Lite0 (B0 with ReLU6 and without squeeze-excite), from timm's ImageNet weights.

    python tools/train.py configs/ssdlite_efficientnet_lite0_coco.py

2357 M multiply-adds an image and 5.38 M parameters with 80 classes (counted). Not trained on COCO here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),  # of these weights, as timm has them
    backbone=dict(
        type='ScaledEfficientNet',
        arch='efficientnet_lite0',
        norm_cfg=dict(type='BN', eps=0.001),
        out_indices=(4, 7),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/tf_efficientnet_lite0-0aa007d2.pth',
        ),
    ),
    neck=dict(in_channels=(112, 1280), out_channels=(112, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(112, 1280, 512, 256, 256, 128)),
)
