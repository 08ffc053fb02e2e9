"""SSDLite-512 on COCO with TinyNet-A, from the authors' ImageNet weights.

    python tools/train.py configs/ssdlite_tinynet_a_coco.py

2733 M multiply-adds an image and 6.92 M parameters with 80 classes (counted). Not trained here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='a',
        out_indices=(4, 7),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_a.pth'
        ),
    ),
    neck=dict(in_channels=(112, 1280), out_channels=(112, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(112, 1280, 512, 256, 256, 128)),
)
