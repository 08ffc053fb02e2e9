"""The light detector on COCO with EfficientNet-B-3 (inverted giant formula) at 320 pixels, from scratch (no published weights).

    python tools/train.py configs/rtmdet_efficientnet_b-3_coco.py

325 M multiply-adds an image and 1.18 M parameters with 80 classes (counted; SSDLite-320 with this backbone: 340 M).
Not trained on COCO here.
"""

_base_ = './_base_/rtmdet_coco.py'
model = dict(
    backbone=dict(
        type='ScaledEfficientNet',
        arch='efficientnet_b-3',
        out_indices=(2, 4, 6),
    ),
    neck=dict(in_channels=(32, 80, 224)),
)
