"""Helpers of the sweep tests: small image folders, a recipe with a base table of a few thousand parameters, made-up rows."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from tinynet_mm.archs import Scaling, scale
from tinynet_mm.cost import cost
from tinynet_mm.files import write_csv
from tinynet_mm.sweep import plan, results
from tinynet_mm.sweep.folder import Settings, Sweep

BASE = dict(
    name='small',
    family='efficientnet',
    resolution=16,
    stem=8,
    head=32,
    stages=[
        dict(block='separable', channels=16),
        dict(block='inverted', channels=16, repeats=2, stride=2, expansion=2, se=0.25),
        dict(block='inverted', channels=24, repeats=2, stride=2, expansion=2),
    ],
)


def image_folder(root: Path, count: int = 16) -> Path:
    """train/ and val/ with two classes of 16 x 16 noise, one dark and one bright."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name, level in (('bright', 128), ('dark', 0)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(folder / f'{i}.png'), rng.integers(level, level + 128, (16, 16, 3), dtype=np.uint8))
    return root


def recipe(data: Path, epochs: int = 2) -> Config:
    """The recipe of CIFAR-10 with the small base, on a folder of two classes."""
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs/sweep/cifar10.py')
    cfg.sweep = dict(base=BASE, resolution=16, resolution_keys=['model.data_preprocessor.resolution'])
    cfg.model.head.num_classes = 2
    for split, folder in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        cfg[f'{split}_dataloader'].update(batch_size=8)
        cfg[f'{split}_dataloader'].dataset.update(folder=str(data / folder), share=(0, 1))
    cfg.train_dataloader.dataset.per_class = 0
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    return cfg


def sampled(tmp_path: Path, count: int = 3, epochs: int = 2) -> Sweep:
    """A sweep with images and ``count`` samples, nothing trained."""
    sweep = Sweep(tmp_path / 'sweep')
    plan.sample(sweep, recipe(image_folder(tmp_path / 'data'), epochs), count)
    return sweep


def accuracy(row: dict) -> float:
    """A made-up accuracy that rises with MACs; the best r, d and w at a cost are on known curves."""
    r, d = 0.9 * row['c'] ** 0.25, 0.9 * row['c'] ** 0.2
    return 80 + 8 * np.log(row['c']) - 30 * np.log(row['r'] / r) ** 2 - 10 * np.log(row['d'] / d) ** 2


def with_results(sweep: Sweep) -> Sweep:
    """The sweep with a made-up result for each sample that has none."""
    for row in sweep.samples():
        folder = sweep.trial(row['name'])
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / 'result.json').exists():
            seed = (row['seed'] - 1) * 0.3
            result = f'{{"accuracy": {accuracy(row) + seed}, "epochs": 2, "images": 32, "seconds": 1.5, "device": "made up"}}'
            (folder / 'result.json').write_text(result)
    return sweep


def made_up(tmp_path: Path, count: int = 60) -> Sweep:
    """A sampled sweep of EfficientNet-B0 at 56 pixels with made-up results, without images."""
    sweep = Sweep(tmp_path / 'sweep')
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs/sweep/cifar10.py')
    plan.sample(sweep, cfg, count)
    return with_results(sweep)


def compared(tmp_path: Path) -> Sweep:
    """60 made-up networks, 8 of them at one budget, collected and fitted, and all rules compared with two seeds."""
    sweep = made_up(tmp_path, 52)
    plan.sample(sweep, None, 8, seed=5, c=0.25, add=True)
    results.collect(with_results(sweep))
    results.fit(sweep)
    plan.compare(sweep, [0.5, 0.25], range(2))
    results.collect(with_results(sweep))
    return sweep


def rows_at(sweep: Sweep, costs: list[float]) -> Path:
    """A rows.csv of random networks of given widths, to be fitted."""
    settings, rows = Settings.of(Config.fromfile(sweep.need('recipe.py'))), []
    for i, w in enumerate(costs):
        arch = scale(settings.base, Scaling(w=w))
        total = cost(arch, classes=10)
        rows.append(
            dict(name=f'net{i}', method='random', seed=0, target='', fixed_ends=1, r=1.0, w=w, d=1.0, resolution=arch.resolution)
            | dict(
                c=total.macs / cost(settings.base, classes=10).macs, macs=total.macs, params=total.params, accuracy=50.0 + 10 * w
            )
        )
    return write_csv(sweep.path / 'rows.csv', rows)


def sweep_tool():
    """The module of tools/sweep.py."""
    spec = importlib.util.spec_from_file_location('tools_sweep', Path(__file__).parents[1] / 'tools' / 'sweep.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool
