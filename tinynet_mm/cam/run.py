"""What ``tools/cam.py`` does, from its parsed arguments to lines worth printing: maps, Figure 5, faithfulness."""

import hashlib
import os
import platform
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from tqdm import tqdm

from ..data import folders
from ..data.coco import find_layout, splits_of
from ..data.memory import read_from_files
from ..errors import UserError
from ..mmlab import configs, editing
from ..mmlab.checkpoints import load_model
from ..plots import save
from ..training.cpu import keep_freed_memory
from . import faithfulness
from .compare import Compared, compare
from .evaluate import Evaluator, Protocol, evaluate, read_truth
from .explain import Explainer
from .folder import class_names, explain_images, write_all
from .images import check_images
from .targets import parse_target

WEIGHTS = ('.pth', '.pt', '.ckpt')


def split_paths(paths: Sequence[str]) -> tuple[str, str | None, list[Path]]:
    """CONFIG [CHECKPOINT] IMAGE... apart; the second is a checkpoint if it is spelled like one."""
    if not paths:
        raise UserError('give a config, its checkpoint and images: tools/cam.py CONFIG CHECKPOINT IMAGE_OR_FOLDER...')
    config, *rest = paths
    has_weights = bool(rest) and (rest[0].endswith(WEIGHTS) or '://' in rest[0])
    return config, rest[0] if has_weights else None, [Path(p) for p in rest[has_weights:]]


def load(config: str, checkpoint: str | None, args: Namespace) -> tuple[Config, nn.Module, list[str]]:
    """A config, its model and its classes.

    Raises:
        UserError: neither a checkpoint nor ``--random-weights``, or a device that is not there.
    """
    check_device(args.device)
    if args.device == 'cpu':
        keep_freed_memory()  # without it page faults double the time of a forward pass
    cfg = read_from_files(configs.load_config(config))
    cfg = editing.prepare(cfg, None if configs.is_classifier(cfg) else args.data_root, args.input_size)
    if checkpoint is not None:
        model = load_model(cfg, checkpoint, args.device)
    elif args.random_weights:
        model = build_random(cfg).to(args.device)
    else:
        raise UserError(f'no checkpoint: give the .pth of {config} behind it, or --random-weights to go without.')
    return cfg, model, class_names(cfg, model)


def check_device(name: str) -> None:
    """ValueError unless this machine and this torch have the device."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device {name} is not to be had here ({str(error).splitlines()[0]}); leave it out, or give cpu.'
        ) from None


def build_random(cfg: Config, seed: int = 0) -> nn.Module:
    """The config's model with weights as they are before training, the same ones each time."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for part in configs.walk(cfg.model):
        part.pop('init_cfg', None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS.build(cfg.model).eval()


def explainer_of(model: nn.Module, args: Namespace, method: str | None = None) -> Explainer:
    layers = () if args.layer == ['auto'] else args.layer
    return Explainer(model, method or args.method, layers, args.eigen_smooth, args.aug_smooth)


def image_files(paths: Sequence[Path]) -> list[Path]:
    files = folders.image_files(paths)
    if not files:
        raise UserError('no images: name files or folders behind the checkpoint.')
    check_images(files)
    return files


def draw_maps(args: Namespace) -> Iterator[str]:
    """Pictures and raw maps of images; yields notes and where the results lie. ValueError if no map could be drawn."""
    config, checkpoint, paths = split_paths(args.paths)
    files = image_files(paths)
    cfg, model, classes = load(config, checkpoint, args)
    explainer = explainer_of(model, args)
    if args.batch < 1:
        raise UserError(f'--batch {args.batch}: at least one image must go through the network.')
    wanted = parse_target(args.target, classes, threshold=args.score_thr, topk=args.topk, per_box=args.per_box)
    seen = tqdm(explain_images(explainer, cfg, files, wanted, classes, args.batch), total=len(files), unit='image', disable=None)
    written, notes = 0, {}
    for one in write_all(seen, args.out):
        written += one.has_map
        if one.note:
            about = f' ({", ".join(one.labels)})' if one.labels else ''
            notes.setdefault(one.note, []).append(f'{one.sample.path}{about}')
    if not written:
        note, (first, *_) = next(iter(notes.items()))
        raise UserError(f'no map could be drawn; {first}: {note}.')
    for note, where in list(notes.items())[:20]:
        yield f'note: {where[0]}{f" and {len(where) - 1} more" if len(where) > 1 else ""}: {note}.'
    if len(notes) > 20:
        yield f'note: {len(notes) - 20} others in {args.out / "maps.csv"}.'
    yield f'{written} maps of {len(files)} images in {args.out}; {args.out / "maps.csv"} lists them.'


def compare_models(args: Namespace) -> Iterator[str]:
    """Figure 5 as OUT.png and OUT.pdf, a column for each model and, where there are several, each method."""
    pairs = [pair for pair in args.compare if '=' in pair or pair.endswith('.py')]
    files = image_files([Path(p) for p in [*args.paths, *args.compare] if p not in pairs])
    models = []
    for pair in pairs:
        config, mark, checkpoint = pair.rpartition('=')
        if not mark:
            raise UserError(f'--compare {pair}: give CONFIG=CHECKPOINT for each model.')
        cfg, model, classes = load(config, checkpoint, args)
        for method in args.method.split(','):
            title = Path(config).stem + (f'\n{method}' if ',' in args.method else '')
            models.append(Compared(title, explainer_of(model, args, method), cfg, classes))
    figure, notes = compare(models, files, args.target, threshold=args.score_thr, topk=args.topk)
    for note in notes:
        yield f'note: {note}.'
    written = [save(figure, args.out.with_suffix(suffix)) for suffix in ('.png', '.pdf')]
    yield ' and '.join(map(str, written))


def fingerprint(checkpoint: str | None) -> str:
    """A checkpoint's name and the first eight digits of its SHA-256, as torch's own files are named."""
    if checkpoint is None or '://' in checkpoint:
        return checkpoint or 'random'
    return f'{Path(checkpoint).name}-{hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()[:8]}'


def measure_faithfulness(args: Namespace) -> Iterator[str]:
    """Measures over a COCO-format set: OUT/faithfulness.csv, and OUT/faithfulness.jsonl from which a stopped run goes on."""
    config, checkpoint, _ = split_paths(args.paths)
    cfg, model, classes = load(config, checkpoint, args)
    splits = {args.split: find_layout(args.data_root).split(args.split)} if args.data_root else splits_of(cfg)
    if args.split not in splits:
        raise UserError(f'{config} reads no {args.split} split in COCO format; give one by --data-root DIR.')
    truths = read_truth(splits[args.split], classes, args.limit or None)
    check_images([truth.path for truth in truths])
    smoothing = ' '.join(name for name in ('eigen', 'aug') if vars(args)[f'{name}_smooth'])
    chosen = dict(score_threshold=args.score_thr, boxes_per_image=args.topk, smoothing=smoothing)
    explainers = {e.name: e for e in (explainer_of(model, args, method) for method in args.method.split(','))}
    protocol = Protocol(' '.join(explainers), ' '.join(args.layer), args.split, args.limit, **chosen)
    evaluator = Evaluator(explainers, cfg, protocol)
    fields = asdict(protocol) | dict(config=Path(config).stem, weights=fingerprint(checkpoint), data=str(args.data_root or ''))
    fields |= dict(device=args.device, threads=torch.get_num_threads(), machine=platform.machine(), torch=torch.__version__)
    several = evaluate(evaluator, truths, args.out / 'faithfulness.jsonl', fields)
    rows = [row for rows in tqdm(several, total=len(truths), unit='image', disable=None) for row in rows]
    if not rows:
        raise UserError(f'the model found none of the annotated objects with a score of {args.score_thr:g}; lower --score-thr.')
    summary = faithfulness.summarise(rows)
    target = args.out / 'faithfulness.csv'
    part = target.with_suffix('.part')
    part.write_text(faithfulness.to_csv(summary, fields))
    os.replace(part, target)
    yield faithfulness.table(summary)
    yield f'{target} (means and standard errors; a smaller deletion and a larger insertion are better)'
