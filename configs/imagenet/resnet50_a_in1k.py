"""ResNet-50-A on ImageNet-1k, 192 pixels.

    python tools/train.py configs/imagenet/resnet50_a_in1k.py

3612.3 M multiply-adds, 30.87 M parameters; 90 epochs on 8 GPUs.
Not trained here; the paper gives no accuracy for it.
(r, w, d) are not published; they are inferred from the printed budget, see tinynet_mm.paper.inferred.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='ScaledResNet', arch='resnet50_a'),
    head=dict(in_channels=2024),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=192, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=219, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=192),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
