"""EfficientNet-B-3 on ImageNet-1k, 130 pixels.

    python tools/train.py configs/imagenet/efficientnet_b-3_in1k.py

49.4 M multiply-adds, 1.99 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 3 of the paper gives 65.0 % top-1 and 85.2 % top-5.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b-3'),
    head=dict(in_channels=888),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=130, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=148, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=130),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
