"""GhostNet-A with HSwish and RandAugment on ImageNet-1k, 240 pixels.

    python tools/train.py configs/imagenet/ghostnet_a_hswish_ra_in1k.py

591.5 M multiply-adds, 11.92 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 6 of the paper gives 79.4 % top-1 and 94.5 % top-5.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(
        type='ScaledGhostNet',
        arch='ghostnet_a',
        act_cfg=dict(type='HSwish'),
    ),
    head=dict(in_channels=1400),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=240, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TimmRandAugment', policy='rand-m9-mstd0.5'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=274, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=240),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
