"""ResNet-50-B on ImageNet-1k, 188 pixels.

    python tools/train.py configs/imagenet/resnet50_b_in1k.py

1795.6 M multiply-adds, 15.53 M parameters; 90 epochs on 8 GPUs.
Not trained here; the paper gives no accuracy for it.
(r, w, d) are not published; they are inferred from the printed budget, see tinynet_mm.paper.inferred.
"""

_base_ = ['./_base_/sgd.py', './_base_/imagenet.py', './_base_/runtime.py']
model = dict(
    backbone=dict(type='ScaledResNet', arch='resnet50_b'),
    head=dict(in_channels=1576),
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
