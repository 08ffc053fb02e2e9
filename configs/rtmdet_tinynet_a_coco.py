"""The light detector on COCO with TinyNet-A at 320 pixels, from the authors' ImageNet weights.

    python tools/train.py configs/rtmdet_tinynet_a_coco.py

1031 M multiply-adds an image and 4.96 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 1069 M).
Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='a',
        out_indices=(2, 4, 6),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_a.pth'
        ),
    ),
    neck=dict(in_channels=(40, 112, 320)),
)
