"""The recipe of section 4.1, shortened from 450 epochs to 12, on CIFAR-10 in memory.

RMSProp with TensorFlow's semantics, momentum 0.9, decay 0.9, weight decay 1e-5 (not on norms and biases). The learning rate
is 0.024 for a batch of 128, four times the paper's 0.048 for 1024: the best of 0.003, 0.006, 0.012, 0.024 and 0.048 for both
networks on the validation part, one seed each (results/cifar10_rates.csv). It is multiplied by 0.97 every 0.064 epochs (2.4
of 450). Warm-up takes one epoch (3 of 450 would be 31 iterations). Dropout 0.2, label smoothing 0.1, batch norm momentum
0.01. The decay of averaged weights is min(0.9999, n / (n + 9)) after n steps, as in TensorFlow, so that the average works in
a short run. Augmentation: shifts by up to 4 pixels and horizontal flips; no colour jitter. Inputs are enlarged to the
resolution of the network, int(102 r) pixels.

The last tenth of each class in the folder train is the validation part, and the folder val is the test part, which only
tools/test.py reads.
"""

custom_imports = dict(imports=['tinynet_mm'])
default_scope = 'mmpretrain'

model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    data_preprocessor=dict(type='MemoryPreprocessor', mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], resolution=48),
    backbone=dict(norm_cfg=dict(type='BN', momentum=0.01)),
    neck=dict(type='PoolDropout', dropout=0.2),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='MemoryImages', folder='data/cifar10/train', share=(0, 0.9), pad=4, flip=True),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='MemoryImages', folder='data/cifar10/train', share=(0.9, 1)),
)
test_dataloader = dict(val_dataloader, dataset=dict(type='MemoryImages', folder='data/cifar10/val'))
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='CrossEntropy')]
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='RawAndAverageValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TwoGroups',
    optimizer=dict(type='RMSpropTF', lr=0.024, alpha=0.9, momentum=0.9, eps=0.001, weight_decay=1e-5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='StaircaseLR', gamma=0.97, every=0.064, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=128)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.0001, gamma=9, update_buffers=True),
    dict(type='StopOnNonFiniteLoss'),
    dict(type='FastCPUHook'),
]
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
