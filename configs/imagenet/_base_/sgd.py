"""The recipe of section 4.1 for ResNets, without network, data and input size.

SGD with momentum 0.9 and weight decay 1e-4, 90 epochs, learning rate 0.4 for a total batch of 1024 (8 GPUs with 128 images
each; scaled to the batch in use), multiplied by 0.1 every 30 epochs; random crop, flip and colour jitter. The paper names
no warm-up, dropout or averaging for these.
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
    neck=dict(type='PoolDropout', dropout=0.0),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)

# schedule
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=1)
val_cfg = dict(type='RawAndAverageValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='StepLR', step_size=30, gamma=0.1, by_epoch=True)]
auto_scale_lr = dict(enable=True, base_batch_size=1024)
custom_hooks = [
    dict(type='StopOnNonFiniteLoss'),
    dict(type='ReportBrokenImages'),
]
