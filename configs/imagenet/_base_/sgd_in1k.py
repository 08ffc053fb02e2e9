"""The recipe of section 4.1 for ResNets on ImageNet-1k: everything but network and input size.

SGD with momentum 0.9 and weight decay 1e-4, 90 epochs, learning rate 0.4 for a total batch of 1024 (8 GPUs with 128 images
each, scaled with the batch that is used), times 0.1 every 30 epochs; random crop, flip and colour jitter. The paper names
no warm-up, dropout or averaging for these.
"""

custom_imports = dict(imports=['tinynet_mm'])
default_scope = 'mmpretrain'

model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    neck=dict(type='PoolDropout', dropout=0.0),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)

# data; broken='skip' goes on without images that do not decode, and lists them at the end
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_readable'),
    dataset=dict(type='ClassFolders', data_root='data/imagenet', split='train', num_classes=1000, broken='fatal'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='collate_readable'),
    dataset=dict(type='ClassFolders', data_root='data/imagenet', split='val', num_classes=1000, broken='fatal', test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='CrossEntropy')]
test_evaluator = val_evaluator

# schedule
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=1)
val_cfg = dict(type='RawAndAverageValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='StepLR', step_size=30, gamma=0.1, by_epoch=True)]
auto_scale_lr = dict(enable=True, base_batch_size=1024)

# runtime
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='StopOnNonFiniteLoss'),
    dict(type='ReportBrokenImages'),
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
