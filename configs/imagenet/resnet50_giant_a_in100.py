"""ResNet-50 shrunk to 3.7 G by the EfficientNet rule on ImageNet-100, 211 pixels.

    python tools/train.py configs/imagenet/resnet50_giant_a_in100.py

3746.0 M multiply-adds, 22.22 M parameters; 90 epochs on 8 GPUs.
Not trained here; table 2 of the paper gives 78.3 % top-1.
(r, w, d) are not published; they are one exponent of the inverted compound scaling, for the printed budget.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    data_preprocessor=dict(num_classes=100),
    backbone=dict(type='ScaledResNet', arch='resnet50_giant_a'),
    head=dict(num_classes=100, in_channels=1968),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=211, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=241, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=211),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=test_pipeline))
test_dataloader = val_dataloader
