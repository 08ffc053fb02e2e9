"""What ``tools/cam.py`` does, as functions with plain arguments: maps of images, Figure 5, faithfulness over a data set."""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from ..data import folders
from ..data.coco import find_layout, splits_of
from ..data.memory import read_from_files
from ..errors import UserError, listed
from ..files import write_text
from ..mmlab import checkpoints, configs, editing
from ..plots import save
from ..training.cpu import keep_freed_memory
from . import faithfulness
from .compare import Compared, compare
from .evaluate import Evaluator, Protocol, evaluate, read_truth
from .explain import Explainer
from .folder import explain_images, write_all
from .images import check_images
from .targets import parse_target

MOST_NOTES = 20  # that are printed; maps.csv has all of them


@dataclass(frozen=True)
class Method:
    """How maps are made: see :class:`.explain.Explainer`; ``names`` are several methods, separated by commas."""

    names: str = 'auto'
    layers: tuple[str, ...] = ()
    eigen_smooth: bool = False
    aug_smooth: bool = False

    def explainers(self, model: nn.Module) -> list[Explainer]:
        """An explainer for each name. Raises UserError for a name or layer that does not exist."""
        return [Explainer(model, name, self.layers, self.eigen_smooth, self.aug_smooth) for name in self.names.split(',')]

    @property
    def smoothing(self) -> str:
        """The names of the smoothings, for a protocol."""
        return ' '.join(name for name in ('eigen', 'aug') if getattr(self, f'{name}_smooth'))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A config, its model, and the names of its classes."""

    cfg: Config
    model: nn.Module
    classes: list[str]


def split_paths(paths: Sequence[str]) -> tuple[str, str | None, list[Path]]:
    """Separate CONFIG [CHECKPOINT] IMAGE...; the second is a checkpoint if it is spelled like one."""
    if not paths:
        raise UserError('give a config, its checkpoint and images: tools/cam.py CONFIG CHECKPOINT IMAGE_OR_FOLDER...')
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
) -> Loaded:
    """A config, its model and its classes; ``data_root`` is the data set that names the classes.

    Raises:
        FileNotFoundError, UserError: no such file, neither a checkpoint nor ``random_weights``, a device that is not available.
    """
    checkpoints.check_device(device)
    if device == 'cpu':
        keep_freed_memory()  # without it page faults double the time of a forward pass
    cfg = read_from_files(configs.load_config(config))
    classifier = configs.is_classifier(cfg)
    cfg = editing.prepare(cfg, None if classifier else data_root, input_size)
    if checkpoint is not None:
        model = checkpoints.load_model(cfg, checkpoint, device)
    elif random_weights:
        model = checkpoints.build_model(cfg, seed=0).to(device)
    else:
        raise UserError(f'no checkpoint: give the .pth file of {config} after it, or --random-weights to go without.')
    classes = checkpoints.class_names(cfg, getattr(model, 'dataset_meta', None))
    return Loaded(cfg, model, folders.named_classes(data_root) if classifier and data_root else classes)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The images of files and folders, their headers checked. Raises FileNotFoundError or UserError for what is not an image."""
    files = folders.image_files(paths)
    if not files:
        raise UserError('no images: name files or folders after the checkpoint.')
    check_images(files)
    return files


def draw_maps(
    loaded: Loaded, files: Sequence[Path], out: Path, method: Method, target: str = 'top1', batch: int = 4, **options
) -> Iterator[str]:
    """Write pictures and raw maps of images into ``out``; yields notes and the place of the results.

    ``options`` are those of :func:`.targets.parse_target`.

    Raises:
        UserError: no map can be drawn, or a target, batch or method that does not exist.
    """
    (explainer,) = method.explainers(loaded.model)
    if batch < 1:
        raise UserError(f'--batch {batch}: at least one image goes through the network at a time.')
    wanted = parse_target(target, loaded.classes, **options)
    seen = explain_images(explainer, loaded.cfg, files, wanted, loaded.classes, batch)
    written, notes = 0, {}
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
    """Separate CONFIG=CHECKPOINT pairs from images. Raises UserError for a config without a checkpoint."""
    pairs = [path for path in paths if '=' in path or path.endswith('.py')]
    for pair in pairs:
        if '=' not in pair:
            raise UserError(f'--compare {pair}: give CONFIG=CHECKPOINT for each model.')
    return [tuple(pair.rsplit('=', 1)) for pair in pairs], [Path(path) for path in paths if path not in pairs]


def compare_models(
    models: Sequence[tuple[str, Loaded]], files: Sequence[Path], out: Path, method: Method, target: str = 'top1', **options
) -> Iterator[str]:
    """Figure 5 as OUT.png and OUT.pdf: a column for each model, by its title, and where there are several, each method."""
    columns = []
    for title, loaded in models:
        for name, explainer in zip(method.names.split(','), method.explainers(loaded.model)):
            suffix = f'\n{name}' if ',' in method.names else ''
            columns.append(Compared(title + suffix, explainer, loaded.cfg, loaded.classes))
    figure, notes = compare(columns, files, target, **options)
    for note in notes:
        yield f'note: {note}.'
    yield ' and '.join(str(save(figure, out.with_suffix(suffix))) for suffix in ('.png', '.pdf'))


def fingerprint(checkpoint: str | None) -> str:
    """A checkpoint's name and the first eight digits of its SHA-256, as torch's own files are named."""
    if checkpoint is None or '://' in checkpoint:
        return checkpoint or 'random'
    return f'{Path(checkpoint).name}-{hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:8]}'


def measure_faithfulness(
    loaded: Loaded,
    method: Method,
    out: Path,
    about: dict,
    data_root: Path | None = None,
    split: str = 'val',
    limit: int = 0,
    **options,
) -> Iterator[str]:
    """Measure maps over a COCO-format set: OUT/faithfulness.csv, and OUT/faithfulness.jsonl, which a later call continues.

    ``about`` are further columns of the result, such as the config and the checkpoint; ``options`` are fields of
    :class:`.evaluate.Protocol`.

    Raises:
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
    fields = asdict(protocol) | about | dict(data=str(data_root or ''))
    device = next(loaded.model.parameters()).device
    fields |= dict(device=str(device), threads=torch.get_num_threads(), machine=platform.machine(), torch=torch.__version__)
    several = evaluate(Evaluator(explainers, loaded.cfg, protocol), truths, out / 'faithfulness.jsonl', fields)
    rows = [row for rows in tqdm(several, total=len(truths), unit='image', disable=None) for row in rows]
    if not rows:
        threshold = protocol.score_threshold
        raise UserError(f'the model finds none of the annotated objects with a score of {threshold:g}; lower --score-thr.')
    summary = faithfulness.summarise(rows)
    target = write_text(out / 'faithfulness.csv', faithfulness.to_csv(summary, fields))
    yield faithfulness.table(summary)
    yield f'{target} (means and standard errors; a smaller deletion and a larger insertion are better)'
