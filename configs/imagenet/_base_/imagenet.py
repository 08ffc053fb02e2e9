"""ImageNet in data/imagenet: train and val with one folder per class. The configs set the pipelines."""

# broken='skip' trains without images that do not decode, and lists them at the end
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
