"""ResNet-50-B on ImageNet-100, 188 pixels.

    python tools/train.py configs/imagenet/resnet50_b_in100.py

1794.2 M multiply-adds, 14.11 M parameters; 90 epochs on 8 GPUs.
Not trained here; table 2 of the paper gives 78.2 % top-1.
(r, w, d) are not published; they are inferred from the printed budget, see tinynet_mm.paper.inferred.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    data_preprocessor=dict(num_classes=100),
    backbone=dict(type='ScaledResNet', arch='resnet50_b'),
    head=dict(num_classes=100, in_channels=1576),
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
train_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=test_pipeline))
test_dataloader = val_dataloader
