"""The tasks of ``tools/cam.py`` as functions with plain arguments: maps of images, Figure 5, faithfulness over a data set."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from ..data import folders
from ..data.coco import find_layout, splits_of
from ..data.memory import read_from_files
from ..errors import UserError, listed
from ..files import check_not_inputs, machine_name, write_text
from ..mmlab import checkpoints, configs, editing
from ..plots import save
from ..training.cpu import keep_freed_memory
from . import faithfulness
from .compare import Compared, compare
from .evaluate import Evaluator, Protocol, evaluate, read_truth
from .explain import Explainer
from .folder import check_outputs, explain_images, write_all
from .images import check_images, utf8_name
from .targets import parse_target

LOGGER = logging.getLogger(__name__)
MOST_NOTES = 20  # that are printed; maps.csv has all of them


@dataclass(frozen=True)
class Method:
    """How maps are computed, see :class:`.explain.Explainer`; ``names`` are one or more methods, separated by commas."""

    names: str = 'auto'
    layers: tuple[str, ...] = ()
    eigen_smooth: bool = False
    aug_smooth: bool = False

    def explainers(self, model: nn.Module) -> list[Explainer]:
        """An explainer for each name.

        Raises:
            UserError: a method or a layer that does not exist.
        """
        return [Explainer(model, name, self.layers, self.eigen_smooth, self.aug_smooth) for name in self.names.split(',')]

    @property
    def smoothing(self) -> str:
        """The names of the smoothings, separated by spaces, for a protocol."""
        return ' '.join(name for name in ('eigen', 'aug') if getattr(self, f'{name}_smooth'))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A config, its model, and the names of its classes."""

    cfg: Config
    model: nn.Module
    classes: list[str]


def split_paths(paths: Sequence[str]) -> tuple[str, str | None, list[Path]]:
    """Separate CONFIG [CHECKPOINT] IMAGE...; the second path is a checkpoint if it has the suffix of one, or is a URL.

    Raises:
        UserError: no paths.
    """
    if not paths:
        raise UserError('give a config, its checkpoint and images: tinynet cam CONFIG CHECKPOINT IMAGE_OR_FOLDER...')
    config, *rest = paths
    has_weights = bool(rest) and checkpoints.is_checkpoint(rest[0])
    return config, rest[0] if has_weights else None, [Path(p) for p in rest[has_weights:]]


def load(
    config: str,
    checkpoint: str | None,
    data_root: Path | None = None,
    input_size: int | None = None,
    device: str = 'cpu',
    random_weights: bool = False,
    note: Callable[[str], object] = LOGGER.warning,
) -> Loaded:
    """Load a config, its model and the names of its classes.

    Args:
        config: a config file, or a name like ``mmdet::ssd/...``.
        checkpoint: the path or URL of the weights.
        data_root: folder of the data set that the model is trained on; it names the classes.
        input_size: side of the input in pixels, if it is not that of the config.
        device: ``cpu`` or ``cuda:0``.
        random_weights: use random weights if there is no checkpoint.
        note: receives sentences for the user; by default they are logged.

    Raises:
        FileNotFoundError: no such file.
        UserError: neither a checkpoint nor ``random_weights``, a device that is not available, or a data set with another number
            of classes than the model.
    """
    checkpoints.check_device(device)
    if device == 'cpu':
        keep_freed_memory()  # without it page faults double the time of a forward pass
    cfg = read_from_files(configs.load_config(config))
    classifier = configs.is_classifier(cfg)
    cfg = editing.prepare(cfg, None if classifier else data_root, input_size, note=note)
    if checkpoint is not None:
        model = checkpoints.load_model(cfg, checkpoint, device)
    elif random_weights:
        model = checkpoints.build_model(cfg, seed=0).to(device)
    else:
        raise UserError(f'no checkpoint: give the .pth file of {config} after it, or --random-weights to go without.')
    classes = checkpoints.class_names(cfg, getattr(model, 'dataset_meta', None))
    return Loaded(cfg, model, _named_by(data_root, classes, cfg) if classifier and data_root else classes)


def _named_by(data_root: Path, known: list[str], cfg: Config) -> list[str]:
    """The classes of a classifier in the order of its outputs: of its data set, or ``known`` if these contain all of them.

    Raises:
        FileNotFoundError: no data set in the folder.
        UserError: the data set has another number of classes than the model, and none are ``known``.
    """
    names, count = folders.named_classes(data_root), cfg.model.get('head', {}).get('num_classes')
    if set(names) <= set(known):
        return known
    if count in (None, len(names)):
        return names
    if not known:
        raise UserError(
            f'--data-root {data_root} has {len(names)} classes ({listed(names)}), the model has {count}: give the data set that '
            'the model is trained on.'
        )
    return known


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files of paths and folders; their headers are checked.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has no images.
        UserError: no paths, or a file that is not an image.
    """
    files = folders.image_files(paths)
    if not files:
        raise UserError('no images: name files or folders after the checkpoint.')
    check_images(files)
    return files


def draw_maps(
    loaded: Loaded, files: Sequence[Path], out: Path, method: Method, target: str = 'top1', batch: int = 4, **options: Any
) -> Iterator[str]:
    """Write maps of images as pictures and arrays, see :func:`.folder.write_all`; yields notes and the path of the results.

    Args:
        loaded: the model.
        files: image files.
        out: folder of the results.
        method: one method.
        target: see :func:`.targets.parse_target`, as for ``options``.
        batch: the highest number of images in a pass.
        options: further arguments of it.

    Raises:
        UserError: a result would replace one of the files, no map can be drawn, or a target, batch or method that does not exist.
    """
    check_outputs(files, out)
    if ',' in method.names:
        raise UserError(f'--method {method.names}: one method draws maps; --compare and --evaluate take several.')
    (explainer,) = method.explainers(loaded.model)
    if batch < 1:
        raise UserError(f'--batch {batch}: at least one image goes through the network at a time.')
    wanted = parse_target(target, loaded.classes, **options)
    seen = explain_images(explainer, loaded.cfg, files, wanted, loaded.classes, batch)
    written = 0
    notes: dict[str, list[str]] = {}
    for one in write_all(tqdm(seen, total=len(files), unit='image', disable=None), out):
        written += one.has_map
        if one.note:
            about = f' ({", ".join(one.labels)})' if one.labels else ''
            notes.setdefault(one.note, []).append(f'{one.sample.path}{about}')
    if not written:
        note, (first, *_) = next(iter(notes.items()))
        raise UserError(f'no map can be drawn; {first}: {note}.')
    for note, where in list(notes.items())[:MOST_NOTES]:
        yield f'note: {listed(where, 1)}: {note}.'
    if len(notes) > MOST_NOTES:
        yield f'note: {len(notes) - MOST_NOTES} others in {out / "maps.csv"}.'
    yield f'{written} maps of {len(files)} images in {out}; {out / "maps.csv"} lists them.'


def split_compared(paths: Sequence[str]) -> tuple[list[tuple[str, str]], list[Path]]:
    """Separate CONFIG=CHECKPOINT pairs from images.

    Raises:
        UserError: a config without a checkpoint.
    """
    pairs, images = [], []
    for path in paths:
        config, mark, checkpoint = path.rpartition('=')
        if mark:
            pairs.append((config, checkpoint))
        elif path.endswith('.py'):
            raise UserError(f'--compare {path}: give CONFIG=CHECKPOINT for each model.')
        else:
            images.append(Path(path))
    return pairs, images


def compare_models(
    models: Sequence[tuple[str, Loaded]], files: Sequence[Path], out: Path, method: Method, target: str = 'top1', **options: Any
) -> Iterator[str]:
    """Write Figure 5 as OUT.png and OUT.pdf; yields notes and the paths of the results.

    Args:
        models: a title and a model for each column; with several methods, a column for each of them.
        files: image files, a row each.
        out: path of the results without a suffix.
        method: one or more methods.
        target: see :func:`.targets.parse_target`, as for ``options``.
        options: further arguments of it.

    Raises:
        UserError: a figure would replace one of the files, a target or method does not exist, or a file is not an image.
    """
    figures = [out.with_suffix(suffix) for suffix in ('.png', '.pdf')]
    check_not_inputs(figures, files)
    columns = []
    for title, loaded in models:
        for name, explainer in zip(method.names.split(','), method.explainers(loaded.model)):
            suffix = f'\n{name}' if ',' in method.names else ''
            columns.append(Compared(title + suffix, explainer, loaded.cfg, loaded.classes))
    figure, notes = compare(columns, files, target, **options)
    for note in notes:
        yield f'note: {note}.'
    yield ' and '.join(str(save(figure, path)) for path in figures)


def fingerprint(checkpoint: str | None) -> str:
    """A checkpoint's name and the first eight digits of its SHA-256, like the names of torch's checkpoints.

    Raises:
        FileNotFoundError: no such file.
    """
    if checkpoint is None or '://' in checkpoint:
        return checkpoint or 'random'
    return f'{utf8_name(Path(checkpoint).name)}-{hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:8]}'


def measure_faithfulness(
    loaded: Loaded,
    method: Method,
    out: Path,
    about: dict,
    data_root: Path | None = None,
    split: str = 'val',
    limit: int = 0,
    **options: Any,
) -> Iterator[str]:
    """Measure the faithfulness of maps over a COCO-format set; yields a table and the path of the results.

    Args:
        loaded: the model.
        method: one or more methods.
        out: folder of faithfulness.csv and of faithfulness.jsonl, which a later call continues.
        about: further columns of the result, for instance the config and the checkpoint.
        data_root: the data set; without it, that of the config.
        split: train, val or test.
        limit: number of images, spread over the split; 0 for all.
        options: fields of :class:`.evaluate.Protocol`.

    Raises:
        FileNotFoundError: annotations or images are missing.
        UserError: no such split, or the model finds none of the annotated objects.
    """
    splits = {split: find_layout(data_root).split(split)} if data_root else splits_of(loaded.cfg)
    if split not in splits:
        raise UserError(f'the config reads no {split} split in COCO format; give one with --data-root DIR.')
    truths = read_truth(splits[split], loaded.classes, limit or None)
    check_images([truth.path for truth in truths])
    explainers = {explainer.name: explainer for explainer in method.explainers(loaded.model)}
    layers = ' '.join(method.layers or ('auto',))
    protocol = Protocol(' '.join(explainers), layers, split, limit, smoothing=method.smoothing, **options)
    fields = asdict(protocol) | about | dict(data=utf8_name(data_root or ''))
    device = next(loaded.model.parameters()).device
    fields |= dict(device=str(device), threads=torch.get_num_threads(), machine=machine_name(), torch=torch.__version__)
    several = evaluate(Evaluator(explainers, loaded.cfg, protocol), truths, out / 'faithfulness.jsonl', fields)
    rows = [row for rows in tqdm(several, total=len(truths), unit='image', disable=None) for row in rows]
    if not rows:
        threshold = protocol.score_threshold
        raise UserError(f'the model finds none of the annotated objects with a score of {threshold:g}; lower --score-thr.')
    summary = faithfulness.summarise(rows)
    target = write_text(out / 'faithfulness.csv', faithfulness.to_csv(summary, fields))
    yield faithfulness.table(summary)
    yield f'{target} (means and standard errors; a smaller deletion and a larger insertion are better)'
