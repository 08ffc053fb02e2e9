"""The light detector on COCO with TinyNet-B at 320 pixels, from the authors' ImageNet weights.

    python tools/train.py configs/rtmdet_tinynet_b_coco.py

641 M multiply-adds an image and 2.44 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 694 M).
Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='b',
        out_indices=(2, 4, 6),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_b.pth'
        ),
    ),
    neck=dict(in_channels=(32, 88, 240)),
)
