"""The light detector on COCO with TinyNet-E at 320 pixels, from the authors' ImageNet weights.

    python tools/train.py configs/rtmdet_tinynet_e_coco.py

243 M multiply-adds an image and 0.73 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 304 M).
Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='e',
        out_indices=(2, 4, 6),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_e.pth'
        ),
    ),
    neck=dict(in_channels=(24, 56, 160)),
)
