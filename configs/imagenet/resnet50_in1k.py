"""ResNet-50 on ImageNet-1k, 224 pixels.

    python tools/train.py configs/imagenet/resnet50_in1k.py

4089.2 M multiply-adds, 25.56 M parameters; 90 epochs on 8 GPUs.
Not trained here; the paper gives no accuracy for it.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='ScaledResNet', arch='resnet50'),
    head=dict(in_channels=2048),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
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
