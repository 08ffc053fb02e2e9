"""--epochs scales every schedule that counts in epochs, of ours and of MMEngine, and leaves those that count in iterations."""

import pytest
from mmengine.config import Config
from mmengine.optim.scheduler.param_scheduler import INF

from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import editing
from tinynet_mm.mmlab.configs import load_config

SCHEDULES = [
    (dict(type='StepLR', step_size=30), dict(step_size=10)),
    (dict(type='MultiStepLR', milestones=[30, 60], end=90), dict(milestones=[10, 20], end=30)),
    (dict(type='StaircaseLR', every=2.4, begin=0, end=INF), dict(every=pytest.approx(0.8), end=INF)),
    (dict(type='CosineAnnealingLR', T_max=None, begin=0, end=90), dict(T_max=None, end=30)),
    (dict(type='CosineAnnealingLR', T_max=45, begin=45, end=INF), dict(T_max=15, begin=15, end=INF)),
    (dict(type='CosineRestartLR', periods=[30, 60], restart_weights=[1, 0.5]), dict(periods=[10, 20])),
    (dict(type='OneCycleLR', total_steps=90), dict(total_steps=30)),
    (dict(type='LinearLR', by_epoch=True, begin=0, end=6, convert_to_iter_based=True), dict(begin=0, end=2)),
    (dict(type='LinearLR', by_epoch=False, begin=0, end=500), dict(begin=0, end=500)),
    (dict(type='ConstantLR', end=None), dict(end=None)),
]


@pytest.mark.parametrize('schedule, expected', SCHEDULES, ids=[f'{s["type"]}-{i}' for i, (s, _) in enumerate(SCHEDULES)])
@pytest.mark.parametrize('listed', [True, False], ids=['list', 'one'])
def test_a_third_of_the_epochs_is_a_third_of_the_schedule(schedule, expected, listed):
    cfg = Config(dict(train_cfg=dict(max_epochs=90), param_scheduler=[schedule] if listed else schedule))
    editing.set_epochs(cfg, 30)
    changed = cfg.param_scheduler[0] if listed else cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 30 and changed == {**schedule, **expected}


@pytest.mark.parametrize('schedulers', [None, []])
def test_a_constant_learning_rate_needs_no_schedule(schedulers):
    cfg = Config(dict(train_cfg=dict(max_epochs=90), param_scheduler=schedulers))
    editing.set_epochs(cfg, 30)
    assert cfg.train_cfg.max_epochs == 30


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        'mmpretrain::resnet/resnet50_8xb32_in1k.py',
        'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
    ],
)
def test_schedules_of_zoo_configs_end_with_the_training(name):
    cfg = load_config(name)
    editing.set_epochs(cfg, 6)
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.get('by_epoch', True)]
    ends = [s['end'] for s in by_epoch if s.get('end', INF) < INF]
    steps = [epoch for s in by_epoch for epoch in [*s.get('milestones', ()), s.get('step_size', 1)]]
    assert cfg.train_cfg.max_epochs == 6 and all(0 < epoch <= 6 for epoch in ends + steps)


@pytest.mark.parametrize('epochs', [1, 2, 6, 40])
@pytest.mark.parametrize(
    'name, first',  # the first epoch, from 0, of the second part of 300 epochs
    [('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 280), ('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', 284)],
)
def test_a_short_training_is_validated_and_switches_at_the_same_share(name, first, epochs):
    cfg = load_config(name)
    editing.set_epochs(cfg, epochs)
    loop = cfg.train_cfg
    assert loop.val_interval == min(10, epochs)
    assert all(1 <= begin <= epochs and type(pair) is tuple for pair in loop.get('dynamic_intervals', ()) for begin in pair[:1])
    switches = [hook['switch_epoch'] for hook in cfg.custom_hooks if hook['type'] == 'PipelineSwitchHook']
    switches += [epochs - hook['num_last_epochs'] - 1 for hook in cfg.custom_hooks if hook['type'] == 'YOLOXModeSwitchHook']
    assert len(switches) == 1 and 0 <= switches[0] < epochs
    assert switches[0] == pytest.approx(first / 300 * epochs, abs=1)
    assert all((s.get('begin') or 0) < (s.get('end') or INF) for s in cfg.param_scheduler)  # MMEngine refuses others


def test_recipes_of_mmpretrain_change_at_the_same_share():
    recipes = [dict(action_epoch=30, loss=1), dict(action_epoch=60, loss=2), dict(action_epoch=61, train_augments=None)]
    cfg = Config(dict(train_cfg=dict(max_epochs=90), custom_hooks=[dict(type='SwitchRecipeHook', schedule=recipes)]))
    editing.set_epochs(cfg, 9)
    assert cfg.custom_hooks[0].schedule == [dict(action_epoch=3, loss=1), dict(action_epoch=6, loss=2, train_augments=None)]


def test_a_training_that_counts_in_iterations_is_refused():
    cfg = Config(dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=90000), param_scheduler=[]))
    with pytest.raises(UserError, match='--epochs: the training of this config counts in iterations'):
        editing.set_epochs(cfg, 30)
