"""GhostNet-D with HSwish and RandAugment on ImageNet-1k, 146 pixels.

    python tools/train.py configs/imagenet/ghostnet_d_hswish_ra_in1k.py

51.7 M multiply-adds, 2.58 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 6 of the paper gives 68.6 % top-1 and 88.1 % top-5.
(r, w, d) are not published; they are inferred from the printed budget, see tinynet_mm.paper.inferred.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(
        type='ScaledGhostNet',
        arch='ghostnet_d',
        act_cfg=dict(type='HSwish'),
    ),
    head=dict(in_channels=688),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=146, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TimmRandAugment', policy='rand-m9-mstd0.5'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=166, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=146),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
