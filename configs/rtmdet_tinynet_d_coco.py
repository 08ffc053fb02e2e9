"""The light detector on COCO with TinyNet-D at 320 pixels, from the authors' ImageNet weights.

    python tools/train.py configs/rtmdet_tinynet_d_coco.py

276 M multiply-adds an image and 1.03 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 337 M).
Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='d',
        out_indices=(2, 4, 6),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_d.pth'
        ),
    ),
    neck=dict(in_channels=(24, 64, 176)),
)
