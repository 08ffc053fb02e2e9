"""The search of the paper (sections 3.2 and 4.2): networks scaled from EfficientNet-B0, 100 epochs each on ImageNet-100.

    python tools/sweep.py sample sweeps/imagenet100 --config configs/sweep/imagenet100.py --data-root data/imagenet100 -n 100
    python tools/sweep.py run sweeps/imagenet100

Not trained here. The data folder has train/CLASS/*.JPEG and val/CLASS/*.JPEG with the 100 classes; the paper draws them at
random and does not name them. It samples 100 networks (section 4.2). A network trains on one GPU with 128 images a step, and a
learning rate that is scaled to this (0.006); the paper counts 2.5 GPU hours for each.
"""

_base_ = ['../imagenet/_base_/rmsprop.py', '../imagenet/_base_/imagenet.py', '../imagenet/_base_/runtime.py']
sweep = dict(
    base='efficientnet_b0',
    resolution=224,
    resolution_keys=[
        'train_dataloader.dataset.pipeline.1.scale',
        'val_dataloader.dataset.pipeline.2.crop_size',
        'test_dataloader.dataset.pipeline.2.crop_size',
    ],
    edge_keys=['val_dataloader.dataset.pipeline.1.scale', 'test_dataloader.dataset.pipeline.1.scale'],
)
model = dict(
    data_preprocessor=dict(num_classes=100),
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b0'),
    head=dict(num_classes=100, in_channels=1280),
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
train_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/imagenet100', num_classes=100, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=100)
