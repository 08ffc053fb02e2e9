"""ResNet-50 shrunk to 1.8 G by the EfficientNet rule on ImageNet-100, 185 pixels.

    python tools/train.py configs/imagenet/resnet50_giant_b_in100.py

1800.5 M multiply-adds, 13.66 M parameters; 90 epochs on 8 GPUs.
Not trained here; table 2 of the paper gives 76.9 % top-1.
(r, w, d) are not published; they are one exponent of the inverted compound scaling, for the printed budget.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    data_preprocessor=dict(num_classes=100),
    backbone=dict(type='ScaledResNet', arch='resnet50_giant_b'),
    head=dict(num_classes=100, in_channels=1800),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=185, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=211, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=185),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=test_pipeline))
test_dataloader = val_dataloader
