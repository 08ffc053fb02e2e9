"""SSDLite-512 on COCO with EfficientNet-B-3 (inverted giant formula), from scratch: no weights are published.

    python tools/train.py configs/ssdlite_efficientnet_b-3_coco.py

868 M multiply-adds an image and 2.79 M parameters with 80 classes (counted). Not trained here.
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='ScaledEfficientNet',
        arch='efficientnet_b-3',
        out_indices=(4, 7),
    ),
    neck=dict(in_channels=(80, 888), out_channels=(80, 888, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(80, 888, 512, 256, 256, 128)),
)
