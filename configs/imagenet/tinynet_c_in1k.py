"""TinyNet-C on ImageNet-1k, 184 pixels.

    python tools/train.py configs/imagenet/tinynet_c_in1k.py

99.5 M multiply-adds, 2.46 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 3 of the paper gives 71.2 % top-1 and 89.7 % top-5.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='TinyNet', arch='c'),
    head=dict(in_channels=1280),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=184, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=210, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=184),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
