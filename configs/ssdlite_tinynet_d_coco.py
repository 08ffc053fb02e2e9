"""SSDLite-512 on COCO with TinyNet-D, from the authors' ImageNet weights.

    python tools/train.py configs/ssdlite_tinynet_d_coco.py

858 M multiply-adds an image and 3.05 M parameters with 80 classes (counted). Not trained on COCO here;
on BCCD at 512 pixels see results/detection.csv.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='d',
        out_indices=(4, 7),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0/tinynet_d.pth'
        ),
    ),
    neck=dict(in_channels=(64, 1280), out_channels=(64, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(64, 1280, 512, 256, 256, 128)),
)
