"""A schedule of minutes for small detection sets (hundreds of images): ``tools/train.py --schedule short``.

AdamW with a short warm-up and a cosine schedule. The moving average of the weights is validated, saved and tested. The
canvas of the expansion has up to 2 times the sides of the image instead of 4 times: in 40 epochs, a few hundred images do not
show each object at all sizes of the larger range.
"""

train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=40, val_interval=5)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='TwoGroups',
    paramwise_cfg=dict(backbone_lr=None),
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=40, T_max=40, eta_min=4e-5, by_epoch=True, convert_to_iter_based=True),
]
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='SSDWarp', size=512, expand_ratio=(1, 2)),
    dict(type='mmdet.PackDetInputs'),
]
train_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(pipeline=train_pipeline))
auto_scale_lr = dict(base_batch_size=8)
custom_hooks = [
    dict(type='FastCPUHook'),
    dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA', momentum=0.005, gamma=100),
    dict(type='mmdet.NumClassCheckHook'),
    dict(type='mmdet.CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
]
default_hooks = dict(logger=dict(interval=10))
