"""GhostNet-B with HSwish and RandAugment on ImageNet-1k, 208 pixels.

    python tools/train.py configs/imagenet/ghostnet_b_hswish_ra_in1k.py

297.2 M multiply-adds, 7.89 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 6 of the paper gives 77.6 % top-1 and 93.5 % top-5.
(r, w, d) are not published; they are inferred from the printed budget, see tinynet_mm.paper.inferred.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(
        type='ScaledGhostNet',
        arch='ghostnet_b',
        act_cfg=dict(type='HSwish'),
    ),
    head=dict(in_channels=1120),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=208, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TimmRandAugment', policy='rand-m9-mstd0.5'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=237, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=208),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
