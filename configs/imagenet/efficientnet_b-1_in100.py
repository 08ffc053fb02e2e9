"""EfficientNet-B-1 of section 3.1 (r 0.86, d 0.8, w 0.89) on ImageNet-100, 192 pixels.

    python tools/train.py configs/imagenet/efficientnet_b-1_in100.py

198.7 M multiply-adds, 2.55 M parameters; 100 epochs on 8 GPUs.
Not trained here; table 1 of the paper gives 75.8 % top-1.
"""

_base_ = ['./_base_/rmsprop.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    data_preprocessor=dict(num_classes=100),
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b-1_in100'),
    head=dict(num_classes=100, in_channels=1136),
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
train_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=100)
