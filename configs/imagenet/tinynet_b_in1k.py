"""TinyNet-B on ImageNet-1k, 188 pixels.

    python tools/train.py configs/imagenet/tinynet_b_in1k.py

200.7 M multiply-adds, 3.73 M parameters; 450 epochs on 8 GPUs.
Not trained here; table 3 of the paper gives 75.0 % top-1 and 92.2 % top-5.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(
        type='TinyNet',
        arch='b',
        drop_path_rate=0.1,  # the authors' MindSpore recipe has this for B only
    ),
    head=dict(in_channels=1280),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=188, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=214, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=188),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
