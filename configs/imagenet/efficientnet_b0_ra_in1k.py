"""EfficientNet-B0 with RandAugment on ImageNet-1k, 224 pixels.

    python tools/train.py configs/imagenet/efficientnet_b0_ra_in1k.py

385.8 M multiply-adds, 5.29 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 3 of the paper gives 77.7 % top-1 and 93.5 % top-5.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b0'),
    head=dict(in_channels=1280),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TimmRandAugment', policy='rand-m9-mstd0.5'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
