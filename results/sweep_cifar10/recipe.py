custom_hooks = [
    dict(small_maps=True, type='FastCPUHook'),
    dict(type='StopOnNonFiniteLoss'),
]
custom_imports = dict(imports=[
    'tinynet_mm',
])
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2, type='CheckpointHook'),
    logger=dict(interval=20, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'))
default_scope = 'mmpretrain'
log_level = 'INFO'
model = dict(
    _scope_='mmpretrain',
    backbone=dict(
        arch='efficientnet_b0',
        out_indices=(-1, ),
        type='ScaledEfficientNet',
        zero_init_residual=True),
    data_preprocessor=dict(
        mean=[
            125.3,
            123.0,
            113.9,
        ],
        resolution=56,
        std=[
            63.0,
            62.1,
            66.7,
        ],
        type='MemoryPreprocessor'),
    head=dict(
        in_channels=1280,
        loss=dict(
            label_smooth_val=0.1, mode='original', type='LabelSmoothLoss'),
        num_classes=10,
        type='LinearClsHead'),
    neck=dict(type='GlobalAveragePooling'),
    type='ImageClassifier')
optim_wrapper = dict(
    constructor='TwoGroups',
    optimizer=dict(fused=True, lr=0.01, type='AdamW', weight_decay=0.05),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=60, start_factor=0.02, type='LinearLR'),
    dict(
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
        end=4,
        type='CosineAnnealingLR'),
]
randomness = dict(seed=0)
sweep = dict(
    base='efficientnet_b0',
    resolution=56,
    resolution_keys=[
        'model.data_preprocessor.resolution',
    ])
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=250,
    collate_fn=dict(type='whole_batch'),
    dataset=dict(folder='data/cifar10/val', type='MemoryImages'),
    drop_last=False,
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(topk=(1, ), type='Accuracy')
train_cfg = dict(max_epochs=4, type='EpochBasedTrainLoop', val_interval=4)
train_dataloader = dict(
    batch_size=64,
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        flip=True,
        folder='data/cifar10/train',
        pad=4,
        per_class=1000,
        share=(
            0,
            0.9,
        ),
        type='MemoryImages'),
    drop_last=True,
    num_workers=0,
    sampler=dict(shuffle=True, type='DefaultSampler'))
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=250,
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        folder='data/cifar10/train', share=(
            0.9,
            1,
        ), type='MemoryImages'),
    drop_last=False,
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(topk=(1, ), type='Accuracy')
visualizer = dict(
    type='Visualizer', vis_backends=[
        dict(type='LocalVisBackend'),
    ])
