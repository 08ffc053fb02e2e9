"""Write the report of a trained detector: detect in a split, score, draw, and write one HTML page."""

import copy
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from tinynet_mm import __version__

from .. import logs
from ..data.coco import splits_of
from ..data.convert import FOLDER
from ..data.images import read_image
from ..errors import UserError, counted
from ..files import machine_load, machine_name, write_text
from ..mmlab.checkpoints import load_model
from ..mmlab.configs import input_size
from ..mmlab.versions import version_of
from ..plots import Boxes, default_panels, detection_sheet, learning_curves
from . import figures, page, scores
from .detections import Detections, detect

PICTURES = 4  # in each sheet
DRAWN = 0.3  # lowest score that is drawn of a model that finds nothing right


def write(
    cfg: Config,
    checkpoint: str,
    out: str | Path,
    split: str = 'val',
    device: str = 'cpu',
    progress: Callable[[Iterable], Iterable] = iter,
) -> Path:
    """Write ``report.html`` into a folder; returns its path.

    Args:
        cfg: the config of the detector.
        checkpoint: the weights; learning curves are drawn from the logs in their folder.
        out: the folder.
        split: the images to detect in.
        device: the device of torch.
        progress: shows the progress of an iterable.

    Raises:
        FileNotFoundError: a missing file.
        UserError: no such split in COCO format, or a checkpoint of another model.
    """
    cfg, place = copy.deepcopy(cfg), splits_of(cfg).get(split)
    if place is None:
        raise UserError(f'the config has no {split} split in COCO format: a report needs one; give it with --data-root DIR.')
    model = load_model(cfg, checkpoint, device)
    data = detect(model, place, progress)
    found = scores.evaluate(data.content, data.names, data.found)
    runs, no_curves = _runs(Path(checkpoint).parent)
    values = dict(
        title=f'{Path(cfg.filename or checkpoint).stem} on {_data_name(place.ann_file)}',
        subtitle=f'Detections on the {split} split, {counted(len(data.files), "image")}, with {checkpoint}',
        curves=[page.embed(learning_curves(runs, [panel])) for panel in default_panels(runs)] if runs else [],
        no_curves=no_curves,
        settings=_settings(cfg, str(place.ann_file), device, model, runs),
        **_results(data, found),
    )
    return write_text(Path(out) / 'report.html', page.render(values))


def _data_name(ann_file: Path) -> str:
    """Return the name of a data set: its folder, which is above that of the annotations and that of a conversion."""
    folder = ann_file.absolute().parent
    folder = folder.parent if folder.name in ('annotations', 'train', 'valid', 'val', 'test') else folder
    return (folder.parent if folder.name == FOLDER else folder).name


def _runs(folder: Path) -> tuple[list[logs.Run], str]:
    """Return the training logs in a folder, or none and the reason."""
    try:
        return logs.read([folder])[:1], ''
    except (FileNotFoundError, UserError) as error:
        return [], f'No learning curves: {error}'


def _results(data: Detections, found: scores.Scores) -> dict[str, Any]:
    """Return the parts of the page that depend on the detections."""
    threshold, boxes = found.threshold or DRAWN, sum(row.boxes for row in found.classes)
    parts = {
        image: scores.confusion_of_image(truth, data.found[image], len(data.names), threshold, data.crowds.get(image))
        for image, truth in data.truth.items()
    }
    matrix = sum(parts.values())
    mistakes = {image: int(part.sum() - np.trace(part)) for image, part in parts.items()}
    even = list(data.files)[:: max(1, len(data.files) // PICTURES)][:PICTURES]
    others = [image for image in data.files if image not in even and mistakes[image]]
    worst = sorted(others, key=lambda image: -mistakes[image])[:PICTURES]
    words = f'Ground truth on the left, detections with a score of at least {threshold:.3f} on the right'
    sheets = [('Detections', f'{words}; images evenly spread over the split.', _pictures(data, even, threshold, mistakes))]
    if worst:
        pictures = _pictures(data, worst, threshold, mistakes)
        sheets.append(('Most mistakes', 'The other images with most objects not found, found wrongly or confused.', pictures))
    return dict(
        numbers=_numbers(found, len(data.files), boxes),
        scores=found,
        classes=found.classes,
        images=len(data.files),
        boxes=boxes,
        threshold=threshold,
        precision_recall=page.embed(figures.precision_recall(found.classes)),
        confusion=page.embed(figures.confusion_figure(np.asarray(matrix), data.names)),
        sheets=sheets,
    )


def _numbers(found: scores.Scores, images: int, boxes: int) -> list[tuple[str, str]]:
    shown = [(found.map, 'mAP'), (found.map50, 'mAP at IoU 0.5'), (found.f1, f'best F1, at score {found.threshold:.3f}')]
    counts = [(f'{images}', 'images'), (f'{boxes}', 'boxes')]
    return [('–' if value != value else f'{value:.3f}', name) for value, name in shown] + counts


def _pictures(data: Detections, images: Sequence[int], threshold: float, mistakes: dict[int, int]) -> list[tuple[str, str]]:
    """Return pictures of ground truth and detections next to each other, with captions."""
    rows = []
    for image in images:
        found, pixels = data.found[image], read_image(data.files[image])[:, :, ::-1]
        kept = found.scores >= threshold if found.scores is not None else np.ones(len(found.boxes), dtype=bool)
        drawn = Boxes(found.boxes[kept], found.labels[kept], None if found.scores is None else found.scores[kept])
        figure = detection_sheet([pixels], [data.truth[image]], [drawn], data.names)
        rows.append((page.embed(figure, 'jpeg'), f'{data.files[image].name}: {counted(mistakes[image], "mistake")}'))
    return rows


def _settings(cfg: Config, ann_file: str, device: str, model: torch.nn.Module, runs: Sequence[logs.Run]) -> list[tuple[str, str]]:
    """Return names and values of the settings of a training."""
    height, width = input_size(cfg)
    loader, optimizer = cfg.get('train_dataloader') or {}, (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    packages = {name: version_of(name) for name in ('mmengine', 'mmcv', 'mmdet')}
    versions = {'tinynet_mm': __version__, 'torch': torch.__version__, **packages, 'Python': platform.python_version()}
    rows = [
        ('data', ann_file),
        ('config', str(cfg.filename or '')),
        ('input', f'{width} x {height} pixels'),
        ('parameters', f'{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M'),
        ('epochs', _epochs(cfg, runs)),
        ('batch', str(loader.get('batch_size', ''))),
        ('optimizer', f'{optimizer.get("type", "")}, learning rate {_rate(cfg, runs)}' if optimizer else ''),
        ('seed', str((cfg.get('randomness') or {}).get('seed', ''))),
        ('time of the training', _duration(runs)),
        ('report on', f'{machine_name()}, {device}, load {machine_load():.1f}'),
        ('versions', ', '.join(f'{name} {version}' for name, version in versions.items() if version)),
    ]
    return [(name, value) for name, value in rows if value]


def _rate(cfg: Config, runs: Sequence[logs.Run]) -> str:
    """Return the largest learning rate of the log, which a batch size can have scaled, or that of the config."""
    rates = runs[0].series('train/lr', by_epoch=False)[1] if runs else np.empty(0)
    return f'up to {rates.max():.3g}' if len(rates) else f'{cfg.optim_wrapper.optimizer.get("lr", "")} in the config'


def _epochs(cfg: Config, runs: Sequence[logs.Run]) -> str:
    """Return ``40 of 40, best mAP after 35``: those of the log, the length in the config, and the best validation."""
    length = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not (runs and runs[0].by_epoch):
        return f'{length} in the config' if length else ''
    done = max(row.epoch for row in runs[0].rows)
    text = f'{done:.0f} of {length}' if length else f'{done:.0f}'
    for key in (key for key in runs[0].keys if key.startswith('val/') and key.endswith('mAP')):
        places, values = runs[0].series(key)
        return f'{text}, highest {key.rpartition("/")[2]} {values.max():.3f} after epoch {places[values.argmax()]:.0f}'
    return text


def _duration(runs: Sequence[logs.Run]) -> str:
    """Return the time of the iterations of a training: their number and mean time in the log; validations are not in it."""
    times = runs[0].series('train/time', by_epoch=False) if runs else (np.empty(0), np.empty(0))
    if not len(times[1]):
        return ''
    minutes = float(times[0].max() * times[1].mean()) / 60
    return f'{minutes:.1f} minutes' + ' in iterations, without validations'
