"""The recipe of section 4.1 for EfficientNet, TinyNet and GhostNet, without network, data and input size.

RMSProp with TensorFlow's semantics, momentum 0.9, decay 0.9, weight decay 1e-5; learning rate 0.048 for a total batch of 1024
(8 GPUs with 128 images each; scaled to the batch in use), multiplied by 0.97 every 2.4 epochs, to the iteration; 3 epochs of
warm-up; 450 epochs (100 on ImageNet-100); batch norm momentum 0.99 in TensorFlow's sense, 0.01 in PyTorch's; dropout 0.2;
weights averaged with decay 0.9999; the raw and the averaged model are both validated; random crop, flip and colour jitter.

Not in the paper but in the authors' MindSpore recipe (mindspore-ai/mindspore, model_zoo/research/cv/tinynet): epsilon 0.001,
warm-up from 1e-6, label smoothing 0.1, no weight decay on norms and biases, colour jitter 0.4, crop 0.875, bicubic. Added
here: the decay of the average is min(0.9999, n / (n + 9)) after n steps, as in TensorFlow; a constant decay lags for ten thousand
steps. Colour jitter uses OpenCV; with Pillow, mmcv prints a warning in every worker.
"""

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
    backbone=dict(norm_cfg=dict(type='BN', momentum=0.01)),
    neck=dict(type='PoolDropout', dropout=0.2),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)

# schedule
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=450, val_interval=1)
val_cfg = dict(type='RawAndAverageValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TwoGroups',
    optimizer=dict(type='RMSpropTF', lr=0.048, alpha=0.9, momentum=0.9, eps=0.001, weight_decay=1e-5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=2.0833333e-5, begin=0, end=3, by_epoch=True, convert_to_iter_based=True),
    dict(type='StaircaseLR', gamma=0.97, every=2.4, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=1024)
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.0001, gamma=9, update_buffers=True),
    dict(type='StopOnNonFiniteLoss'),
    dict(type='ReportBrokenImages'),
]
