"""Time two detection pipelines: mmdet's stock SSD augmentation and ours, on the same files, in turn, in one thread.

The measured time includes reading the JPEG (from the page cache), decoding, annotations, augmentation and packing into a tensor.
It excludes the data set's index, workers, collation and the data preprocessor. The clock is the CPU time of the thread: the
pipelines wait only for memory, and other programs on the machine change CPU time less than wall-clock time. Not from the paper.
"""

import copy
import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import DATASETS, TRANSFORMS

from ..data.coco import dataset_paths, find_layout
from ..data.images import IMAGENET_MEAN, write_image
from ..data.shapes import CLASSES, draw_background, place_shape
from ..errors import UserError
from ..files import machine_name
from .clock import spread, timed

BOXES = 14  # boxes per drawn image, as in typical data sets of tiny detectors
COLUMNS = ('pipeline', 'stage', 'unit', 'median', 'least', 'most', 'share')


def stages(augmentation: Sequence[dict]) -> list[BaseTransform]:
    """Build the transforms of a pipeline: loading, the augmentation, packing."""
    ends = [dict(type='LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True)]
    return [TRANSFORMS.build(stage) for stage in (*ends, *augmentation, dict(type='mmdet.PackDetInputs'))]


def pipelines(size: int) -> dict[str, list[BaseTransform]]:
    """The transforms of mmdet's SSD configs (same order and arguments) and ours; ``size`` is the output's side in pixels."""
    stock: list[dict] = [
        dict(type='mmdet.Expand', mean=list(IMAGENET_MEAN), to_rgb=True, ratio_range=(1, 4)),
        dict(type='mmdet.MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
        dict(type='mmdet.Resize', scale=(size, size), keep_ratio=False),
        dict(type='mmdet.RandomFlip', prob=0.5),
        dict(type='mmdet.PhotoMetricDistortion'),
    ]
    return {'stock': stages(stock), 'ours': stages([dict(type='SSDWarp', size=size)])}


def drawn_samples(folder: Path, count: int) -> list[dict]:
    """Draw ``count`` 640x480 JPEGs with 14 shapes each; returns the records that mmdet's loading transforms read."""
    samples = []
    for index in range(count):
        rng = np.random.default_rng(index)
        picture, instances = draw_background(rng, 640), []
        for _ in range(BOXES):
            shape = place_shape(rng, int(rng.integers(len(CLASSES))), picture[:480, :480], (0.08, 0.4))
            shape.draw(picture)
            instances.append(dict(bbox=shape.box().tolist(), bbox_label=shape.label, ignore_flag=0))
        write_image(folder / f'{index}.jpg', picture[:480], quality=92)
        samples.append(dict(img_path=str(folder / f'{index}.jpg'), height=480, width=640, instances=instances))
    return samples


def samples_of(root: Path, count: int) -> list[dict]:
    """The first ``count`` records of the training split of a COCO set. Raises as :func:`tinynet_mm.data.coco.find_layout`."""
    layout = find_layout(root)
    config = dict(
        type='mmdet.CocoDataset', metainfo=dict(classes=layout.classes), **dataset_paths(layout.root, layout.split('train'))
    )
    dataset = DATASETS.build(config)
    return [dataset.get_data_info(index) for index in range(min(count, len(dataset)))]


def time_stages(pipeline: list[BaseTransform], sample: dict) -> Iterator[tuple[str, float]]:
    """Run a sample through a pipeline; yields each stage's name and its CPU time in seconds."""
    results: object = copy.deepcopy(sample)
    for stage in pipeline:
        seconds, results = timed(partial(stage, results), time.thread_time)
        yield type(stage).__name__, seconds


def benchmark(samples: list[dict], size: int, rounds: int) -> dict[str, dict[str, np.ndarray]]:
    """Milliseconds per image by pipeline and stage, (rounds,) each; one warm-up round before them is not counted.

    The pipelines take turns on each image, and alternate in the order.

    Raises:
        UserError: no samples, no round, or a size below 1.
    """
    if not samples or rounds < 1 or size < 1:
        raise UserError(f'{len(samples)} images, {rounds} rounds, {size} pixels: each must be at least 1.')
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    np.random.seed(0)
    built = pipelines(size)
    spent: dict[str, defaultdict[str, np.ndarray]] = {name: defaultdict(lambda: np.zeros(rounds + 1)) for name in built}
    for turn in range(rounds + 1):
        for index, sample in enumerate(samples):
            for name in sorted(built, reverse=bool(index % 2)):
                for stage, seconds in time_stages(built[name], sample):
                    spent[name][stage][turn] += 1e3 * seconds / len(samples)
    return {name: {stage: times[1:] for stage, times in by_stage.items()} for name, by_stage in spent.items()}


def table(spent: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """One row per stage and total, with median, least and most over the rounds, and one row for the ratio of the totals."""
    totals = {name: np.sum(list(by_stage.values()), 0) for name, by_stage in spent.items()}
    rows = []
    for name, by_stage in spent.items():
        for stage, times in (*by_stage.items(), ('total', totals[name])):
            share = round(float(np.median(times) / np.median(totals[name])), 3)
            rows.append(dict(zip(COLUMNS, (name, stage, 'ms/image', *spread(times, 3), share))))
    return [*rows, dict(zip(COLUMNS, ('stock / ours', 'total', 'ratio', *spread(totals['stock'] / totals['ours'], 3), '')))]


def protocol(samples: list[dict], size: int, rounds: int, source: str) -> dict[str, str | int]:
    """The conditions of the measurement: data, settings, machine and versions."""
    return {
        'source': source,
        'output': size,
        'images': len(samples),
        'boxes_per_image': round(float(np.mean([len(sample['instances']) for sample in samples])), 1),
        'rounds': rounds,
        'clock': 'CPU time of one thread',
        'cpu': machine_name().rpartition(', ')[0],
        'cores': os.cpu_count(),
        'python': platform.python_version(),
        'opencv': cv2.__version__,
        'torch': torch.__version__,
        **{name: import_module(name).__version__ for name in ('mmengine', 'mmcv', 'mmdet')},
    }
