"""A detection set of COCO's size, drawn: time to the first batch and memory of mmdet's config and of ours; and its evaluation.

Each contender builds its loader in a process of its own, in turns. Memory is the proportional set size (PSS), which divides
shared pages among the processes that share them, so that their sum is what the machine needs. Not from the paper.
"""

import contextlib
import io
import json
import os
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from ..data.check import check_split
from ..data.coco import adopt, find_layout
from ..data.images import write_image
from ..data.shapes import draw_background
from ..errors import UserError
from ..files import write_json
from ..mmlab.configs import load_config
from ..training.repeatable import Seeded, build_dataset
from .clock import protocol, ratios, spread, timed

CLASSES = 80
PICTURES = 64  # files on the disk; the other names of images are links to them
BATCHES = 20  # batches after which memory is measured
POLYGON = 36  # numbers of a polygon, so that a file has COCO's 450 bytes for each box
EVALUATIONS = {
    'pycocotools': ('pycocotools.coco', 'COCO', 'pycocotools.cocoeval', 'COCOeval'),
    'faster-coco-eval': ('faster_coco_eval', 'COCO', 'faster_coco_eval', 'COCOeval_faster'),
}
MEBIBYTE = 2**20


def make_set(root: Path, images: int, boxes: int, seed: int = 0) -> Path:
    """Write ``annotations/train.json`` with polygons, and ``images/``, whose files are links to 64 drawn JPEGs of 640x480.

    Raises:
        UserError: less than one image or box for each class.
    """
    if images < 1 or boxes < CLASSES:
        raise UserError(f'{images} images and {boxes} boxes: give at least 1 image and {CLASSES} boxes.')
    rng, names = np.random.default_rng(seed), [f'{index:012d}.jpg' for index in range(images)]
    folder = root / 'images'
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        if index < PICTURES:
            write_image(folder / name, draw_background(rng, 640)[:480], quality=92)
        else:
            os.link(folder / names[index % PICTURES], folder / name)
    record = dict(
        height=480, width=640, license=1, date_captured='2013-11-14 17:02:52', coco_url='http://images.example.org/train/'
    )
    pictures = [dict(record, id=index, file_name=name) for index, name in enumerate(names)]
    categories = [dict(id=index + 1, name=f'class {index + 1}', supercategory='thing') for index in range(CLASSES)]
    annotations = draw_annotations(rng, images, boxes)
    write_json(root / 'annotations' / 'train.json', dict(images=pictures, annotations=annotations, categories=categories), None)
    return root


def draw_annotations(rng: np.random.Generator, images: int, boxes: int) -> list[dict]:
    """Boxes of 8 to 200 pixels with polygons, inside images of 640x480; every class has some."""
    sizes = rng.uniform(8, 200, (boxes, 2)).round(2)
    corners = (rng.uniform(0, 1, (boxes, 2)) * ((640, 480) - sizes)).round(2)
    owners, labels = np.sort(rng.integers(images, size=boxes)), np.arange(boxes) % CLASSES + 1
    polygons = (np.tile(corners, POLYGON // 2) + rng.uniform(0, 1, (boxes, POLYGON)) * np.tile(sizes, POLYGON // 2)).round(2)
    columns = (polygons.tolist(), owners.tolist(), np.hstack([corners, sizes]).tolist(), labels.tolist())
    return [
        dict(
            id=index,
            image_id=owner,
            category_id=label,
            bbox=box,
            area=round(box[2] * box[3], 2),
            iscrowd=0,
            segmentation=[polygon],
        )
        for index, (polygon, owner, box, label) in enumerate(zip(*columns), 1)
    ]


def memory(process: psutil.Process) -> float:
    """The proportional set size of a process in MiB."""
    return process.memory_full_info().pss / MEBIBYTE


def peak() -> float:
    """The largest resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(pipe: Connection, loader: dict, scope: str, ours: bool) -> None:
    """Run in a process: build a loader with the data set as MMEngine or as ``tools/train.py`` does, and send seconds and MiB."""
    import mmdet.datasets  # noqa: F401  # not part of the measured time

    import tinynet_mm  # noqa: F401

    init_default_scope(scope)
    start, cpu = time.perf_counter(), time.process_time()
    if ours:
        loader = dict(loader, dataset=Seeded(build_dataset(loader['dataset']), seed=0))
    batches = iter(Runner.build_dataloader(loader, seed=0))
    built = time.process_time() - cpu
    next(batches)
    found: dict[str, float] = dict(first_batch_s=time.perf_counter() - start, index_cpu_s=built)
    for _ in range(BATCHES - 1):
        next(batches)
    workers = [memory(child) for child in psutil.Process().children(recursive=True)]
    found |= dict(
        main_mib=memory(psutil.Process()), worker_mib=max(workers, default=0.0), all_mib=memory(psutil.Process()) + sum(workers)
    )
    pipe.send(found | dict(peak_mib=peak()))


def loader_of(config: str, root: Path, batch: int, workers: int) -> tuple[dict, str]:
    """The settings of the train loader of a config for a data set, and the scope of its names."""
    cfg = load_config(config)
    adopt(cfg, root, ('train',))
    settings = dict(batch_size=batch, num_workers=workers, persistent_workers=workers > 0)
    return cfg.train_dataloader.to_dict() | settings, cfg.get('default_scope', 'mmdet')


def compare_loading(
    configs: dict[str, str], root: Path, rounds: int, batch: int, workers: int, progress: Callable[[Iterable], Iterable] = iter
) -> list[dict]:
    """Build the train loader of each config in turns.

    Args:
        configs: two configs by name: the first one is loaded as by MMEngine, the other as by ``tools/train.py``. The ratio of a
            row is that to the first one, of each round.
        root: folder of the data set.
        rounds: how often each is built.
        batch: images of a batch.
        workers: processes that load.
        progress: wraps the rounds.

    Returns:
        a row for each config and measure: median, least and most, and the same of the ratio.
    """
    loaders = {name: loader_of(config, root, batch, workers) for name, config in configs.items()}
    found: dict[str, list[dict]] = {name: [] for name in configs}
    first = next(iter(configs))
    for _ in progress(range(rounds)):
        for name, given in loaders.items():
            found[name].append(in_process(load, *given, name != first))
    rows = []
    for name, results in found.items():
        for measure in results[0]:
            values, base = ([result[measure] for result in found[key]] for key in (name, first))
            row = dict(contender=name, measure=measure) | dict(zip(('median', 'least', 'most'), spread(values, 1)))
            rows.append(row | dict(zip(('ratio', 'ratio_least', 'ratio_most'), spread(ratios(values, base), 3))))
    return rows


def in_process(call: Callable, *arguments: object) -> dict:
    """The dictionary that ``call`` sends from a new process.

    Raises:
        UserError: the process ended without an answer.
    """
    context = get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=call, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError as error:
        process.join()
        raise UserError(f'a process of the benchmark ended with exit status {process.exitcode}; its message is above.') from error
    finally:
        process.join()


def check(pipe: Connection, root: Path) -> None:
    """Run in a process: the data check, which decodes every image."""
    split = find_layout(root).split('train')
    seconds, report = timed(lambda: check_split(split.ann_file, split.images))
    pipe.send(dict(seconds=seconds, peak_mib=peak(), images=report.images))


def draw_detections(content: dict, each: int, rng: np.random.Generator) -> list[dict]:
    """``each`` detections of an image: its boxes moved by up to a fifth of their size, and random ones."""
    of_image: dict[int, list[dict]] = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        of_image[annotation['image_id']].append(annotation)
    found = []
    for image_id, annotations in of_image.items():
        for index in range(each):
            if index < len(annotations):
                x, y, w, h = annotations[index]['bbox']
                dx, dy = rng.uniform(-0.2, 0.2, 2) * (w, h)
                box, label, score = [x + dx, y + dy, w, h], annotations[index]['category_id'], rng.uniform(0.2, 1)
            else:
                box, label, score = (
                    [*rng.uniform(0, 400, 2), *rng.uniform(8, 200, 2)],
                    rng.integers(1, CLASSES + 1),
                    rng.uniform(0, 0.8),
                )
            values = [round(float(value), 2) for value in box]
            found.append(dict(image_id=image_id, bbox=values, category_id=int(label), score=round(float(score), 4)))
    return found


def evaluate(name: str, ann_file: Path, detections: Path) -> tuple[float, np.ndarray]:
    """Seconds of an evaluation without reading the annotations, and its 12 numbers."""
    coco_module, coco, evaluation_module, evaluation = EVALUATIONS[name]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = getattr(import_module(coco_module), coco)(str(ann_file))
        start = time.perf_counter()
        run = getattr(import_module(evaluation_module), evaluation)(truth, truth.loadRes(str(detections)), 'bbox')
        run.evaluate()
        run.accumulate()
        run.summarize()
    return time.perf_counter() - start, np.asarray(run.stats[:12], float)


def compare_evaluation(root: Path, each: int, rounds: int) -> list[dict]:
    """Evaluate ``each`` drawn detections of an image with each library in turns; a row for each with its largest difference."""
    ann_file, detections = root / 'annotations' / 'train.json', root / 'detections.json'
    write_json(detections, draw_detections(json.loads(ann_file.read_text()), each, np.random.default_rng(0)), None)
    found: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in EVALUATIONS}
    for _ in range(rounds):
        for name in EVALUATIONS:
            found[name].append(evaluate(name, ann_file, detections))
    (base, numbers), rows = zip(*next(iter(found.values()))), []
    for name, results in found.items():
        seconds = [second for second, _ in results]
        row = dict(contender=name, measure='evaluation_s') | dict(zip(('median', 'least', 'most'), spread(seconds, 1)))
        row |= dict(zip(('ratio', 'ratio_least', 'ratio_most'), spread(ratios(seconds, base), 3)))
        rows.append(row | dict(difference=float(np.abs(results[0][1] - numbers[0]).max())))
    return rows


def rows_with_protocol(rows: Sequence[dict], **more: object) -> list[dict]:
    """The rows, each with the conditions of the measurement."""
    columns = ('contender', 'measure', 'median', 'least', 'most', 'ratio', 'ratio_least', 'ratio_most', 'difference')
    about = protocol()
    return [{name: row.get(name, '') for name in columns} | more | about for row in rows]
