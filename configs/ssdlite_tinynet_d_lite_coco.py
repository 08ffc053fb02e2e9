"""SSDLite-512 on COCO with TinyNet-D for int8: ReLU6 and no squeeze-excite, from scratch, because no weights are published.

    python tools/train.py configs/ssdlite_tinynet_d_lite_coco.py

858 M multiply-adds an image and 2.91 M parameters with 80 classes (counted). Not trained on COCO here. On BCCD at 320 pixels
(--schedule short --epochs 100 with a learning rate of 0.002, one CPU thread, one seed, best epoch): bbox mAP 0.472 on val, in
int8 0.464 to 0.472 (results/int8.csv).
"""

_base_ = './_base_/ssdlite_coco.py'
model = dict(
    backbone=dict(
        type='TinyNet',
        arch=dict(r=0.68, w=0.54, d=0.695, se=0),
        act_cfg=dict(type='ReLU6'),
        out_indices=(4, 7),
    ),
    neck=dict(in_channels=(64, 1280), out_channels=(64, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(64, 1280, 512, 256, 256, 128)),
)
