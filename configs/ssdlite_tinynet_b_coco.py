"""SSDLite-512 on COCO with TinyNet-B, from the authors' ImageNet weights.

    python tools/train.py configs/ssdlite_tinynet_b_coco.py

1773 M multiply-adds an image and 4.45 M parameters with 80 classes (counted). Not trained here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='b',
        out_indices=(4, 7),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_b.pth'
        ),
    ),
    neck=dict(in_channels=(88, 1280), out_channels=(88, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(88, 1280, 512, 256, 256, 128)),
)
