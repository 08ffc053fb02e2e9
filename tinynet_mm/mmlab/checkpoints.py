"""Models from configs and checkpoints, and the error of a checkpoint that does not fit its config.

MMEngine loads what fits and logs the rest, so that the checkpoint of another model gives noise for detections.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from ..data.coco import SKIPPED_HEADS
from ..errors import UserError
from .configs import walk
from .running import config_errors
from .weights import SUFFIXES, first_not_finite, read

TIMEOUT = 20.0  # seconds that a server may stay silent


def is_checkpoint(path: str) -> bool:
    """Whether a path or URL is spelled like the file of a checkpoint: .pth, .pt, .ckpt or .safetensors."""
    return path.endswith(SUFFIXES) or '://' in path


# Weights to start a training from -----------------------------------------------------------------------------------------


def pretrained_parts(cfg: Config) -> list[dict]:
    """The parts of a model that start from a checkpoint."""
    parts = [part for part in walk(cfg.model) if isinstance(part.get('init_cfg'), dict)]
    return [part for part in parts if part['init_cfg'].get('type') == 'Pretrained']


def from_scratch(cfg: Config) -> None:
    """Remove the checkpoints that a model starts from."""
    for part in pretrained_parts(cfg):
        part['init_cfg'] = None


def pretrained_or_scratch(cfg: Config) -> list[str]:
    """Download the weights that a model starts from; a part whose weights cannot be downloaded starts from random weights.

    Returns:
        One sentence for each such part.

    Raises:
        FileNotFoundError: a local checkpoint that does not exist.
    """
    warnings = []
    for part in pretrained_parts(cfg):
        checkpoint = str(part['init_cfg']['checkpoint'])
        if '://' not in checkpoint:
            if not Path(checkpoint).is_file():
                raise FileNotFoundError(f'no checkpoint at {checkpoint}: correct init_cfg, or train without it (--from-scratch).')
        elif reason := unreachable(checkpoint):
            part['init_cfg'] = None
            warnings.append(f'{checkpoint} is not available ({reason}): {part.get("type")} starts from random weights.')
    return warnings


def unreachable(url: str, timeout: float = TIMEOUT) -> str | None:
    """Download a checkpoint into torch's cache; returns None, or the reason why that failed.

    A server that sends nothing for ``timeout`` seconds counts as a failure.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        CheckpointLoader.load_checkpoint(url, map_location='cpu')
    except Exception as error:  # network, server, file or format: the consequence is the same, and it is reported
        return f'{type(error).__name__}: {" ".join(str(error).split())[:120]}'
    finally:
        socket.setdefaulttimeout(before)
    return None


# Reading and fitting ------------------------------------------------------------------------------------------------------


def read_checkpoint(path: str) -> dict:
    """Read a checkpoint in any format that this package writes: training, plain state dict, float16, .safetensors.

    Returns:
        A dict with ``state_dict``, floating-point tensors in float32, and ``meta``, which may be empty.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint.
    """
    if '://' in path:
        content = _download(path)
    elif Path(path).is_file():
        content = read(path)
    else:
        raise FileNotFoundError(f'no checkpoint at {path}: train first, or give the path of a {", ".join(SUFFIXES)} file.')
    state = content.get('state_dict', content)
    state = {key.removeprefix('module.'): _single(value) for key, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f'{path} holds no weights; give a checkpoint of a training, or a state dict.')
    return dict(state_dict=state, meta=content.get('meta') or {})


def _download(url: str) -> dict:
    try:
        return CheckpointLoader.load_checkpoint(url, map_location='cpu')
    except Exception as error:  # torch raises half a dozen types
        raise UserError(f'{url} is not a checkpoint that can be read ({type(error).__name__}).') from error


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def check_fits(content: dict, model: nn.Module, path: str) -> None:
    """Check that a checkpoint is of this model and finite.

    Raises:
        UserError: missing keys, other shapes, or weights that are not finite, with an example.
    """
    own, given = model.state_dict(), content['state_dict']
    missing = [k for k in own if k not in given and not k.endswith('num_batches_tracked') and 'data_preprocessor' not in k]
    other = [k for k in own if k in given and own[k].shape != given[k].shape]
    if missing or other:
        example = other[0] if other else missing[0]
        found = f'is {tuple(given[example].shape)} there, {tuple(own[example].shape)} here' if other else 'is missing'
        raise UserError(
            f'{path} is the checkpoint of another model: {len(missing)} of {len(own)} weights are missing and {len(other)} have '
            f'another shape; {example} {found}. Give the config of its training (a copy is in its work directory).'
        )
    if broken := first_not_finite(given):
        raise UserError(f'{path}: {broken} holds values that are not finite, so the training failed; give an earlier checkpoint.')


def adopt_checkpoint_classes(cfg: Config, content: dict) -> None:
    """Set the number of classes of a detector's heads to those of a checkpoint; a region proposal head has none."""
    classes = content['meta'].get('dataset_meta', {}).get('classes')
    for part in walk(cfg.model, skip=SKIPPED_HEADS) if classes else ():
        if 'num_classes' in part:
            part['num_classes'] = len(classes)


def class_names(cfg: Config, meta: Mapping | None = None) -> list[str]:
    """The classes of a model: from a checkpoint's ``dataset_meta``, the config's data set, or the type of that data set.

    Empty if none of them names the classes.
    """
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    kind = str(dataset.get('type'))
    named = DATASETS.get(kind if '.' in kind else f'{cfg.get("default_scope", "mmengine")}.{kind}')
    for source in (meta or {}, dataset.get('metainfo') or {}, getattr(named, 'METAINFO', {})):
        names = source.get('classes') or source.get('CLASSES')
        if names:
            return [names] if isinstance(names, str) else list(names)
    return []


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_model(cfg: Config, seed: int | None = None) -> nn.Module:
    """The model of a config with random weights, in evaluation mode; the same weights for the same ``seed``.

    Raises:
        UserError: an entry of the config that MMEngine cannot build.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for part in walk(cfg.model):
        part.pop('init_cfg', None)
    with config_errors(), _seeded(seed):
        return MODELS.build(cfg.model).eval()


def load_weights(model: nn.Module, content: dict, path: str) -> None:
    """Load the content of :func:`read_checkpoint` into a model. Raises as :func:`check_fits`."""
    check_fits(content, model, path)
    load_state_dict(model, content['state_dict'], strict=False)


def load_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """A built model in evaluation mode with the weights of a checkpoint; ``model.dataset_meta`` names its classes.

    Raises:
        FileNotFoundError, UserError: no such file, the checkpoint of another model, or a device that is not available.
    """
    check_device(device)
    content = read_checkpoint(checkpoint)
    adopt_checkpoint_classes(cfg, content)
    model = build_model(cfg)
    load_weights(model, content, checkpoint)
    meta = content['meta'].get('dataset_meta', {})
    model.cfg, model.dataset_meta = cfg, dict(meta, classes=class_names(cfg, meta))
    return model.to(device).eval()


def check_device(name: str) -> None:
    """Raise UserError unless this machine and this build of torch have the device."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f'--device {name} is not available ({reason}); leave it out, or give cpu.') from None
