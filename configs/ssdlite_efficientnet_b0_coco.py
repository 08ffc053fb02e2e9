"""SSDLite-512 on COCO with EfficientNet-B0, from ImageNet weights published with timm.

    python tools/train.py configs/ssdlite_efficientnet_b0_coco.py

2358 M multiply-adds an image and 6.02 M parameters with 80 classes (counted). Not trained here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='ScaledEfficientNet',
        arch='efficientnet_b0',
        out_indices=(4, 7),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/efficientnet_b0_ra-3dd342df.pth',
        ),
    ),
    neck=dict(in_channels=(112, 1280), out_channels=(112, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(112, 1280, 512, 256, 256, 128)),
)
