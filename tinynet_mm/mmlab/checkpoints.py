"""Build models from configs and checkpoints, and refuse a checkpoint that does not fit its config.

MMEngine loads the tensors that fit and logs the others, so the checkpoint of another model gives random detections.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from ..errors import UserError, listed
from .configs import set_classes, walk
from .reading import CLASSES, SUFFIXES, check_finite, read, tensors_of
from .running import QuietRunner, config_errors
from .weights import check_fits, shapes_of

TIMEOUT = 20.0  # seconds without an answer from a server


def is_checkpoint(path: str) -> bool:
    """Whether a path ends like a checkpoint file (.pth, .pt, .ckpt or .safetensors) or is a URL."""
    return path.endswith(SUFFIXES) or '://' in path


# Weights to start a training from -----------------------------------------------------------------------------------------

BACKBONE_LR = 0.1  # of the learning rate, for a pretrained backbone on hundreds of images


def pretrained_parts(cfg: Config) -> list[dict]:
    """Return the parts of a model whose ``init_cfg`` names a checkpoint."""
    parts = [part for part in walk(cfg.model) if isinstance(part.get('init_cfg'), dict)]
    return [part for part in parts if part['init_cfg'].get('type') == 'Pretrained']


def from_scratch(cfg: Config) -> None:
    """Remove the initial checkpoints of a model, so that it starts from random weights."""
    for part in pretrained_parts(cfg):
        part['init_cfg'] = None


def pretrained_or_scratch(cfg: Config) -> list[str]:
    """Download the initial weights of a model; a part whose weights cannot be downloaded starts from random weights.

    Returns:
        One sentence for each part without its weights.

    Raises:
        FileNotFoundError: a local checkpoint that does not exist.
        UserError: a local file that is no checkpoint, or without finite weights for this part.
    """
    warnings = []
    for part in pretrained_parts(cfg):
        checkpoint = str(part['init_cfg']['checkpoint'])
        if '://' not in checkpoint:
            if not Path(checkpoint).is_file():
                raise FileNotFoundError(f'no checkpoint at {checkpoint}: correct init_cfg, or train without it (--from-scratch).')
            _check_initial(checkpoint, part['init_cfg'].get('prefix') or '')
        elif reason := unreachable(checkpoint):
            part['init_cfg'] = None
            warnings.append(f'{checkpoint} is not available ({reason}): {part.get("type")} starts from random weights.')
    return warnings


def _check_initial(checkpoint: str, prefix: str) -> None:
    """Check a local file of an ``init_cfg``: MMEngine reads it after the data, and trains with NaN."""
    state = {key: value for key, value in read_checkpoint(checkpoint)['state_dict'].items() if key.startswith(prefix)}
    if not state:
        raise UserError(
            f'{checkpoint} has no tensor with the prefix {prefix!r}: correct init_cfg, or leave it out (--from-scratch).'
        )
    check_finite(state, checkpoint)


def slow_backbone(cfg: Config) -> str | None:
    """Let a pretrained backbone learn slowly where the schedule leaves ``backbone_lr`` open (None); returns a note."""
    groups = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    pretrained = any(part is cfg.model.get('backbone') for part in pretrained_parts(cfg))
    if groups.get('backbone_lr', 1) is not None or not pretrained:
        return None
    groups['backbone_lr'] = BACKBONE_LR
    return (
        f'the backbone starts from published weights and learns with {BACKBONE_LR:g} times the learning rate; for another factor '
        'give --cfg-options optim_wrapper.paramwise_cfg.backbone_lr=F.'
    )


def unreachable(url: str, timeout: float = TIMEOUT) -> str | None:
    """Download a checkpoint into torch's cache; return None, or the reason of the failure.

    No data from the server for ``timeout`` seconds is a failure.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        CheckpointLoader.load_checkpoint(url, map_location='cpu', logger=None)  # without MMEngine's line about it
    except Exception as error:  # network, server, file or format: the caller reports the reason
        return f'{type(error).__name__}: {" ".join(str(error).split())[:120]}'
    finally:
        socket.setdefaulttimeout(before)
    return None


def read_start(cfg: Config) -> dict[str, Any] | None:
    """Read the checkpoint ``load_from`` of a training, in any format of :func:`read_checkpoint`; None without one.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint, or, with ``resume``, one without the state of the optimizer and of the loop.
    """
    path = cfg.get('load_from')
    if not path:
        return None
    if cfg.get('resume'):
        content = _content(path)
        missing = [key for key in ('optimizer', 'message_hub') if key not in content]
        counts = {key: (content.get('meta') or {}).get(key) for key in ('epoch', 'iter')}
        missing += [f'meta.{key}' for key, value in counts.items() if not (type(value) is int and value >= 0)]
        if missing:
            raise UserError(
                f'{path} has no {", ".join(missing)}, so a training cannot continue from it; to start a training from its '
                f'weights, leave out --resume and give --cfg-options load_from={path}.'
            )
    return read_checkpoint(path)


def start_from(runner: QuietRunner, content: Mapping[str, Any]) -> str | None:
    """Check the content of :func:`read_start`, and let a training that does not resume start from its weights.

    A head with another number of classes then starts from random weights, as in MMEngine.

    Returns:
        A note on the tensors of the model that the file does not have in their shape; None if it has all.

    Raises:
        UserError: weights of another model, or weights that are not finite.
    """
    path, state = runner.cfg.load_from, content['state_dict']
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if runner.cfg.get('resume'):
        check_checkpoint(content, model, path)
        return None
    check_finite(state, path)
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    missing = [key for key in shapes_of(own) if 'data_preprocessor' not in key and key not in fitting]
    if not shapes_of(fitting):
        raise UserError(f'{path} has no tensor of the model of this config; give weights of the same network.')
    runner.start = dict(state_dict=fitting, meta={})
    others = f'{len(missing)} other tensors of the model start from random weights: {listed(missing, 4)}'
    return f'{path} has {len(fitting)} tensors of the model; {others}.' if missing else None


# Reading and fitting ------------------------------------------------------------------------------------------------------


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint in any format that this package writes: training, plain state dict, float16, .safetensors.

    Args:
        path: a file or a URL.

    Returns:
        A dict with ``state_dict``, floating-point tensors in float32, and ``meta``, which can be empty.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint.
    """
    content = _content(path)
    tensors = tensors_of(content.get('state_dict', content), path)
    return dict(state_dict={key: _single(value) for key, value in tensors.items()}, meta=content.get('meta') or {})


def _content(path: str) -> dict[str, Any]:
    return _download(path) if '://' in path else read(path)


def _download(url: str) -> dict[str, Any]:
    try:
        return CheckpointLoader.load_checkpoint(url, map_location='cpu')
    except UserError:
        raise
    except Exception as error:  # torch raises many types
        raise UserError(f'{url} is not a checkpoint that can be read ({type(error).__name__}).') from error


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def check_checkpoint(content: Mapping[str, Any], model: nn.Module, path: str) -> None:
    """Check that a checkpoint has all tensors of a model, in their shapes, and that they are finite.

    Tensors that the model does not have are ignored, as in MMEngine.

    Raises:
        UserError: see :func:`~tinynet_mm.mmlab.weights.check_fits` and :func:`~tinynet_mm.mmlab.reading.check_finite`.
    """
    expected = {key: shape for key, shape in shapes_of(model.state_dict()).items() if 'data_preprocessor' not in key}
    given = {key: shape for key, shape in shapes_of(content['state_dict']).items() if key in expected}
    fix = 'Give the config of its training (a copy is in its work directory).'
    check_fits(given, expected, path, 'the model of this config', fix)
    check_finite(content['state_dict'], path)


def adopt_checkpoint_classes(cfg: Config, content: Mapping[str, Any]) -> None:
    """Set the number of classes of all heads to that of a checkpoint that has the names of its classes."""
    if classes := _names(dataset_meta(content)):
        set_classes(cfg.model, len(classes))


def class_names(cfg: Config, meta: Mapping[str, Any] | None = None) -> list[str]:
    """Return the classes of a model: from a checkpoint's ``dataset_meta``, the config's data set, or the type of that data set.

    Empty if none of them names the classes.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
    kind = str(dataset.get('type'))
    named = DATASETS.get(kind if '.' in kind else f'{cfg.get("default_scope", "mmengine")}.{kind}')
    sources = (meta or {}, dataset.get('metainfo') or {}, getattr(named, 'METAINFO', {}))
    return next((names for source in sources if (names := _names(source))), [])


def dataset_meta(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The meta information of the data set in a checkpoint; mmdet 2 has the classes beside it."""
    meta = content['meta']
    return meta.get('dataset_meta') or {key: meta[key] for key in CLASSES if key in meta}


def _names(meta: Mapping[str, Any]) -> list[str]:
    """Return the classes of a data set's meta information; mmdet 2 spells the key ``CLASSES``, and one class can be a string."""
    names = next((meta[key] for key in CLASSES if meta.get(key)), ())
    return [names] if isinstance(names, str) else list(names)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_model(cfg: Config, seed: int | None = None) -> nn.Module:
    """Build the model of a config with random weights, in evaluation mode; equal seeds give equal weights.

    Raises:
        UserError: an entry of the config that MMEngine cannot build.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for part in walk(cfg.model):
        part.pop('init_cfg', None)
    with config_errors(), _seeded(seed):
        return MODELS.build(cfg.model).eval()


def load_weights(model: nn.Module, content: Mapping[str, Any], path: str) -> None:
    """Load the content of :func:`read_checkpoint` into a model, which can be wrapped for several processes.

    Raises:
        UserError: see :func:`check_checkpoint`.
    """
    inner: Any = model.module if is_model_wrapper(model) else model
    check_checkpoint(content, inner, path)
    load_state_dict(inner, content['state_dict'], strict=False)


def load_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """Build the model of a config, in evaluation mode, and load a checkpoint; ``model.dataset_meta`` names its classes.

    Raises:
        FileNotFoundError: no such checkpoint.
        UserError: the checkpoint of another model, or a device that is not available.
    """
    check_device(device)
    content = read_checkpoint(checkpoint)
    adopt_checkpoint_classes(cfg, content)
    model = build_model(cfg)
    load_weights(model, content, checkpoint)
    meta = dataset_meta(content)
    model.cfg, model.dataset_meta = cfg, dict(meta, classes=class_names(cfg, meta))  # type: ignore[assignment] # as mmdet does
    return model.to(device).eval()


def check_device(name: str) -> None:
    """Check that this machine and this build of torch have a device.

    Raises:
        UserError: they do not.
    """
    try:
        if torch.empty(0, device=name).is_meta:
            raise RuntimeError('it does not compute')
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f'--device {name} is not available ({reason}); leave it out, or give cpu.') from None
