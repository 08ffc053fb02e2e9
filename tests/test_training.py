"""Parts of the recipe against references: RMSProp by hand, learning rates in closed form, averages computed again, hooks.

Several tests share one tiny training: a ScaledEfficientNet of 0.1 M parameters on 16 images.
"""

import copy
import math
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, OPTIMIZERS, PARAM_SCHEDULERS
from mmengine.runner import Runner

import tinynet_mm  # noqa: F401
from tinynet_mm.logs import read
from tinynet_mm.training import ClassFolders, TwoGroups
from tinynet_mm.training.datasets import BrokenImage, collate_readable
from tinynet_mm.training.hooks import NonFiniteLoss, batch_paths
from tinynet_mm.training.summary import pool, read_runs

# Optimizer --------------------------------------------------------------------------------------------------------------------


def rmsprop_by_hand(p, gradients, lr, decay, momentum, eps, weight_decay):
    """tf.raw_ops.ApplyRMSProp in NumPy: ms starts at one, epsilon under the root, learning rate inside the momentum."""
    ms, mom = np.ones_like(p), np.zeros_like(p)
    for g in gradients:
        g = g + weight_decay * p
        ms = decay * ms + (1 - decay) * g * g
        mom = momentum * mom + lr * g / np.sqrt(ms + eps)
        p = p - mom
    return p


@pytest.mark.parametrize('weight_decay', [0.0, 0.1])
def test_rmsprop_is_tensorflows(weight_decay):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(6, 4, 3))
    parameter = torch.nn.Parameter(torch.tensor(start))
    settings = dict(lr=0.05, alpha=0.9, momentum=0.9, eps=0.001, weight_decay=weight_decay)
    optimizer = OPTIMIZERS.build(dict(type='RMSpropTF', params=[parameter], **settings))
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    expected = rmsprop_by_hand(start, gradients, 0.05, 0.9, 0.9, 0.001, weight_decay)
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12)


def test_two_groups_decay_kernels_and_matrices_only():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    model[0].bias.requires_grad_(False)
    wrapper = TwoGroups(dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5)))(model)
    decayed, free = wrapper.optimizer.param_groups
    assert [p.shape for p in decayed['params']] == [(4, 3, 3, 3), (2, 4)] and decayed['weight_decay'] == 0.5
    assert [p.shape for p in free['params']] == [(4,), (4,), (2,)] and free['weight_decay'] == 0.0


def test_a_backbone_has_a_part_of_the_learning_rate():
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Conv2d(3, 4, 3), head=torch.nn.Linear(4, 2)))
    settings = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5))
    groups = TwoGroups(settings, dict(backbone_lr=0.1))(model).optimizer.param_groups
    found = [([tuple(p.shape) for p in group['params']], round(group['lr'], 9), group['weight_decay']) for group in groups]
    assert found == [([(2, 4)], 0.1, 0.5), ([(2,)], 0.1, 0.0), ([(4, 3, 3, 3)], 0.01, 0.5), ([(4,)], 0.01, 0.0)]
    assert len(TwoGroups(settings)(model).optimizer.param_groups) == 2


# Schedule ---------------------------------------------------------------------------------------------------------------------


def rates(configs, epoch_length, iterations):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.048)
    default = dict(optimizer=optimizer, epoch_length=epoch_length)
    schedulers = [PARAM_SCHEDULERS.build(dict(c), default_args=default) for c in configs]
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(found)


@pytest.mark.parametrize('epoch_length', [1252, 1251, 48, 35, 5])
def test_learning_rate_steps_every_2_4_epochs_exactly(epoch_length):
    schedule = Config.fromfile('configs/imagenet/tinynet_e_in1k.py').param_scheduler
    count = min(13 * epoch_length, 6200)
    found, steps = rates(schedule, epoch_length, count), np.arange(count)
    end = 3 * epoch_length - 1  # MMEngine's LinearLR reaches the full rate in the last iteration of the warm-up
    start = 1e-6 / 0.048
    warm = np.minimum(1.0, start + (1 - start) * steps / end)
    # 2.4 epochs = 12 / 5, so iteration i has floor(5 i / (12 L)) steps, in integers
    expected = 0.048 * warm * 0.97 ** (5 * steps // (12 * epoch_length))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] == pytest.approx(1e-6, rel=1e-6)


def test_first_step_of_imagenet_is_at_iteration_3005():
    found = rates([dict(type='StaircaseLR', gamma=0.97, every=2.4, by_epoch=True, convert_to_iter_based=True)], 1252, 3010)
    assert found[3004] == 0.048 and found[3005] == pytest.approx(0.048 * 0.97)  # 2.4 * 1252 = 3004.8


def test_staircase_resumes_at_its_step():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = PARAM_SCHEDULERS.build(dict(type='StaircaseLR', gamma=0.5, every=2.5, by_epoch=False, optimizer=optimizer))
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    resumed = PARAM_SCHEDULERS.build(dict(type='StaircaseLR', gamma=0.5, every=2.5, by_epoch=False, optimizer=other))
    resumed.load_state_dict(scheduler.state_dict())
    other.load_state_dict(optimizer.state_dict())
    for each, opt in ((scheduler, optimizer), (resumed, other)):
        opt.step()
        each.step()
        opt.step()
        each.step()
    assert optimizer.param_groups[0]['lr'] == other.param_groups[0]['lr'] == 0.125
    with pytest.raises(ValueError, match='every=0'):
        PARAM_SCHEDULERS.build(dict(type='StaircaseLR', gamma=0.5, every=0, by_epoch=False, optimizer=other))


# A training -------------------------------------------------------------------------------------------------------------------


@HOOKS.register_module()
class KeepStates(Hook):
    """Keep the weights after each step and the metrics of each validation."""

    priority = 'VERY_LOW'
    states: list
    validations: list

    def before_run(self, runner):
        KeepStates.states, KeepStates.validations = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        KeepStates.states.append(copy.deepcopy(runner.model.state_dict()))

    def after_val_epoch(self, runner, metrics=None):
        KeepStates.validations.append(dict(metrics))


def images(root, per_class=8, side=32):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label, name in enumerate(('cat', 'dog')):
            (root / split / name).mkdir(parents=True)
            for index in range(per_class):
                image = rng.integers(0, 128, (side, side, 3)) + 127 * label
                cv2.imwrite(str(root / split / name / f'{index}.png'), image.astype(np.uint8))
    return root


def configure(root, work_dir, **options):
    cfg = Config.fromfile('configs/cifar10/tinynet_e_cifar10.py')
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'model.head.in_channels': 320,
            'model.head.num_classes': 2,
            'model.data_preprocessor.resolution': 32,
            'train_dataloader.dataset.folder': str(root / 'train'),
            'train_dataloader.batch_size': 4,
            'val_dataloader.dataset.folder': str(root / 'val'),
            'val_evaluator': [dict(type='Accuracy', topk=(1,)), dict(type='CrossEntropy')],
            'train_cfg.max_epochs': 2,
            'train_dataloader.dataset.share': (0, 1),
            'auto_scale_lr.enable': False,
            'optim_wrapper.optimizer.lr': 0.01,
            'log_level': 'ERROR',
            **options,
        }
    )
    cfg.model.backbone = dict(type='ScaledEfficientNet', arch=dict(r=0.1, w=0.25, d=0.2, fixed_ends=False))
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        cfg.pop(key)
    cfg.custom_hooks.append(dict(type='KeepStates'))
    return cfg


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(runner, metrics of the last validation, states after each of the 8 steps, last checkpoint)."""
    root = tmp_path_factory.mktemp('tiny')
    runner = Runner.from_cfg(configure(images(root / 'data'), root / 'work'))
    runner.train()
    checkpoint = torch.load(root / 'work' / 'epoch_2.pth', weights_only=False)
    metrics = runner.val_loop.run()
    return runner, metrics, KeepStates.states, checkpoint


def test_average_equals_tensorflows(trained):
    _, _, states, checkpoint = trained
    average = {key: value.double() for key, value in states[0].items()}
    for step, state in enumerate(states[1:], 1):
        share = max(0.0001, 9 / (9 + step))  # 1 - min(0.9999, n / (n + 9))
        average = {key: average[key] + share * (state[key].double() - average[key]) for key in average}
    assert len(states) == 8
    for key, value in checkpoint['state_dict'].items():
        if value.dtype.is_floating_point:  # batch statistics are averaged too
            torch.testing.assert_close(value.double(), average[key], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(checkpoint['ema_state_dict'][f'module.{key}'], states[-1][key])


def test_both_models_are_validated(trained):
    runner, metrics, states, checkpoint = trained
    assert set(metrics) == {'accuracy/top1', 'cross_entropy', 'raw/accuracy/top1', 'raw/cross_entropy'}
    for prefix, state in (('', checkpoint['state_dict']), ('raw/', states[-1])):
        model = copy.deepcopy(runner.model).eval()
        model.load_state_dict(state)
        with torch.no_grad():
            batch = model.data_preprocessor(next(iter(runner.val_dataloader)))
            scores = model(batch['inputs'])
        labels = torch.cat([s.gt_label for s in batch['data_samples']])
        loss = torch.nn.functional.cross_entropy(scores, labels).item()
        assert metrics[f'{prefix}cross_entropy'] == pytest.approx(loss, rel=1e-4)
        assert metrics[f'{prefix}accuracy/top1'] == pytest.approx(100 * (scores.argmax(1) == labels).float().mean().item())
    assert metrics['cross_entropy'] != metrics['raw/cross_entropy']
    torch.testing.assert_close(runner.model.state_dict(), states[-1])  # the raw weights are back after validation


def test_the_log_has_the_metrics_of_each_epoch(trained):
    runner, *_ = trained
    logged = {key: read([runner.work_dir])[0].series(f'val/{key}')[1] for key in ('cross_entropy', 'raw/cross_entropy')}
    for key, values in logged.items():
        measured = [metrics[key] for metrics in KeepStates.validations[:2]]
        assert values == pytest.approx(measured, rel=1e-9) and measured[0] != measured[1]


def test_dropout_is_active_in_training_only(trained):
    runner, *_ = trained
    neck, maps = copy.deepcopy(runner.model.neck), (torch.rand(64, 320, 2, 2),)
    torch.testing.assert_close(neck.eval()(maps)[0], maps[0].mean((2, 3)))
    assert (neck.train()(maps)[0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_exploding_loss_stops_and_names_the_batch(tmp_path):
    cfg = configure(images(tmp_path / 'data'), tmp_path / 'work', **{'optim_wrapper.optimizer.lr': 1e30})
    cfg.param_scheduler = []
    with pytest.raises(
        NonFiniteLoss, match=r'loss is (nan|inf) at iteration \d .*learning rate 1e\+30.*\.png.* and 1 more'
    ) as caught:
        Runner.from_cfg(cfg).train()
    listed = (tmp_path / 'work' / 'nonfinite_batch.txt').read_text().split()
    assert len(listed) == 4 and all(path.endswith('.png') and path.startswith(str(tmp_path)) for path in listed)
    assert listed[0] in str(caught.value) and '\n' not in str(caught.value)


def test_the_files_of_all_batch_formats_are_found():
    class Sample(dict):
        img_path = 'a.jpg'

    assert batch_paths(dict(data_samples=[Sample(img_path='a.jpg')])) == ['a.jpg']
    assert batch_paths(dict(img_path=['b.jpg'])) == ['b.jpg']
    assert batch_paths(dict(data_samples=[])) == batch_paths(None) == []


def test_scores_of_a_training_are_read_and_pooled_over_seeds(trained, tmp_path, capsys):
    runner, metrics, *_ = trained
    (row,) = read_runs([runner.work_dir])
    assert (row['seed'], row['epochs'], row['batch'], row['resolution']) == (0, 2, 4, 32)
    assert row['params'] == sum(p.numel() for p in runner.model.parameters())
    logged = (row['top1'], row['raw_top1'], row['cross_entropy'], row['raw_cross_entropy'])
    assert logged == pytest.approx(
        [metrics[k] for k in ('accuracy/top1', 'raw/accuracy/top1', 'cross_entropy', 'raw/cross_entropy')]
    )
    other = {**row, 'seed': 1, 'top1': row['top1'] + 3}
    (pooled,) = pool([row, other])
    assert pooled['seeds'] == 2 and pooled['top1'] == row['top1'] + 1.5
    assert pooled['top1_std'] == pytest.approx(3 / 2**0.5, abs=1e-4)
    with pytest.raises(ValueError, match='two runs have the seed 0'):
        pool([row, row])
    with pytest.raises(ValueError, match='that differ in resolution'):
        pool([row, {**other, 'epochs': 3}])
    assert [line['lr'] for line in pool([row, {**row, 'lr': 0.5}])] == [row['lr'], 0.5]  # one seed each, two rows
    assert row['test_top1'] is None and pooled['test_top1'] == ''
    (Path(runner.work_dir) / 'metrics.json').write_text('{"metrics": {"accuracy/top1": 62.5}}')  # of `tinynet test`
    of_test = Path(runner.work_dir) / 'test' / '20260101_000000' / 'vis_data' / 'config.py'
    of_test.parent.mkdir(parents=True)
    of_test.write_text('randomness = dict(seed=9)\n')
    (tested,) = pool(read_runs([runner.work_dir]))
    assert (tested['test_top1'], tested['test_top1_std']) == (62.5, '')
    main = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'compare_runs.py'))['main']
    assert main([str(runner.work_dir), '--out', str(tmp_path / 'c.csv'), '--protocol', 'a test']) == 0
    said = capsys.readouterr().out
    assert f'top-1 {row["top1"]:.2f} (raw {row["raw_top1"]:.2f}), test 62.50, seeds: 1' in said
    assert (tmp_path / 'c.csv').read_text().endswith('a test\n')


# Broken images ----------------------------------------------------------------------------------------------------------------

PIPELINE = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]


def test_a_broken_image_is_fatal_and_named_through_worker_processes(tmp_path):
    broken = images(tmp_path, per_class=2) / 'train' / 'cat' / '0.png'
    broken.write_bytes(b'not an image')
    dataset = ClassFolders(str(tmp_path), 'train', PIPELINE)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=collate_readable)
    with pytest.raises(BrokenImage) as caught:
        list(loader)
    assert str(caught.value) == f"{broken}: does not decode as an image; replace it, or train with broken='skip'."


def test_worker_processes_report_skipped_images(tmp_path):
    broken = images(tmp_path, per_class=3) / 'val' / 'dog' / '2.png'
    broken.write_bytes(b'\xff\xd8 truncated')
    dataset = ClassFolders(str(tmp_path), 'val', PIPELINE, broken='skip', test_mode=True)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=1, collate_fn=collate_readable)
    assert [len(batch['inputs']) for batch in loader] == [4, 1] and dataset.broken_images() == [str(broken)]


def test_broken_images_are_skipped_counted_and_named(tmp_path):
    images(tmp_path / 'data', per_class=4)
    for split, name in (('train', 'cat'), ('val', 'dog')):
        (tmp_path / 'data' / split / name / '1.png').write_bytes(b'')
    dataset = dict(type='ClassFolders', data_root=str(tmp_path / 'data'), broken='skip', pipeline=PIPELINE)
    loader = dict(num_workers=0, collate_fn=dict(type='collate_readable'), dataset=dataset)
    cfg = configure(tmp_path / 'data', tmp_path / 'work', **{'train_cfg.max_epochs': 1})
    cfg.model.data_preprocessor = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
    cfg.custom_hooks = [dict(type='ReportBrokenImages')]
    cfg.log_level = 'WARNING'
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].pop('dataset')
        cfg.merge_from_dict({f'{split}_dataloader': copy.deepcopy(loader)})
        cfg[f'{split}_dataloader'].dataset.update(split=split, test_mode=split == 'val')
    runner = Runner.from_cfg(cfg)
    runner.train()
    listed = (tmp_path / 'work' / 'broken_images.txt').read_text().split()
    assert [path.split('data/')[1] for path in listed] == ['train/cat/1.png', 'val/dog/1.png']
    assert math.isfinite(runner.message_hub.get_scalar('val/cross_entropy').current())


def test_a_wrong_data_set_is_refused_before_the_first_step(tmp_path):
    images(tmp_path, per_class=1)
    with pytest.raises(ValueError, match='2 class folders, 1000 expected'):
        ClassFolders(str(tmp_path), 'train', num_classes=1000)
    with pytest.raises(ValueError, match="broken='ignore': 'fatal' stops"):
        DATASETS.build(dict(type='ClassFolders', data_root=str(tmp_path), split='train', broken='ignore'))
    with pytest.raises(BrokenImage, match='no image of a batch decodes'):
        collate_readable([None])
    assert ClassFolders(str(tmp_path), 'val').metainfo['classes'] == ('cat', 'dog')


def test_imagenet_folders_get_english_names(tmp_path):
    for label in range(1000):
        folder = tmp_path / 'val' / f'n{label:08d}'
        folder.mkdir(parents=True)
        (folder / 'x.jpeg').touch()
    dataset = ClassFolders(str(tmp_path), 'val', num_classes=1000)
    assert dataset.metainfo['classes'][0] == 'tench, Tinca tinca' and len(dataset) == 1000
