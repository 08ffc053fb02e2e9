"""Checkpoints: reading them without running code in them, timm's keys and ours, slim files to publish.

Our backbones have timm's parameter names (ResNet: torchvision's), so a layout is a matter of prefixes and of the classifier's
name: timm and the authors' release have ``conv_stem.weight ... classifier.weight``; mmpretrain's ImageClassifier has
``backbone.conv_stem.weight ... head.fc.weight``. The canonical form in this module is timm's.
"""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..archs import BASES, FAMILIES, PRESETS, preset
from ..cost import cost
from ..errors import UserError, listed
from ..files import write_bytes
from .versions import harmless

# Release v1.2.0 of huawei-noah/CV-Backbones, the authors' weights, as named in the registry of timm 1.0.31 (get_pretrained_cfg).
RELEASE = 'https://github.com/huawei-noah/CV-Backbones/releases/download/v1.2.0'
PUBLISHED = {name: f'{RELEASE}/{name}.pth' for name in ('tinynet_a', 'tinynet_b', 'tinynet_c', 'tinynet_d', 'tinynet_e')}

# torch's own switches for every torch.load of a process; :func:`tinynet_mm.errors.run` sets the second for all tools, because
# onedl-mmengine otherwise loads again, running what the pickle holds, whenever the safe way fails.
TRUST_ALL, TRUST_NONE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'

LAYOUTS = {
    'ours': "an mmpretrain classifier's keys (backbone.*, head.fc.*)",
    'detector': "an mmdet detector's keys (backbone.*, bbox_head.*)",
    'timm': "timm's keys, which are also those of the authors' release",
}
SUFFIXES = ('.pth', '.pt', '.ckpt', '.safetensors')
CLASSIFIERS = ('classifier', 'fc')  # timm: EfficientNet, TinyNet and GhostNet; ResNet


# Reading ----------------------------------------------------------------------------------------------------------------------


def read(path: str | Path, trust: bool = False) -> dict:
    """Content of a .pth or .safetensors file, on the CPU.

    Args:
        trust: run the code a pickle may hold. Without it only tensors and plain values are accepted, which is what weights are.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint, or one that holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}.')
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path)
        content = _load_anything(path) if trust or os.environ.get(TRUST_ALL) == '1' else _load_weights(path)
    except pickle.UnpicklingError as error:
        raise UserError(_why_not(path, error)) from error
    except Exception as error:  # torch and safetensors raise half a dozen types for files that are something else
        raise UserError(f'{path} is not a checkpoint that can be read ({type(error).__name__}).') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, and a dict of weights is needed; save model.state_dict().')
    return content


def _read_safetensors(path: Path) -> dict:
    """The tensors, with the classes that :func:`publish` writes into the file's metadata."""
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        classes = (file.metadata() or {}).get('classes')
    return dict(state_dict=tensors, meta=dict(dataset_meta=dict(classes=json.loads(classes)))) if classes else tensors


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a value that is not finite, None if there is none."""
    return next((name for name, value in state.items() if not value.isfinite().all()), None)


def _load_weights(path: Path):
    allowed = torch.serialization.get_safe_globals()  # leaving the context would forbid these too
    with torch.serialization.safe_globals([kind for kind in harmless() if kind not in allowed]):
        return torch.load(path, map_location='cpu', weights_only=True)


def _load_anything(path: Path):
    forced = os.environ.pop(TRUST_NONE, None)
    try:
        return torch.load(path, map_location='cpu', weights_only=False)
    finally:
        if forced is not None:
            os.environ[TRUST_NONE] = forced


def _why_not(path: Path, error: Exception) -> str:
    if 'GLOBAL ' not in str(error):
        return f'{path} is not a checkpoint that can be read, or it holds more than weights; is it complete?'
    name = str(error).partition('GLOBAL ')[2].split(' ')[0].strip('`\'".,') or 'an object'
    return (
        f'{path} holds {name}, and a pickle with more than tensors and plain values can run any code when it is loaded. '
        f'If you trust where it is from, allow it: --trust, or {TRUST_ALL}=1 in front of a command that has no such flag.'
    )


# Layouts ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Tensors under timm's keys, and what is known of them: the ``layout`` they came in, whether they are an average."""

    tensors: dict[str, Tensor]
    layout: str
    averaged: bool = False
    meta: dict = field(default_factory=dict)

    @property
    def num_classes(self) -> int | None:
        return next((len(self.tensors[f'{c}.weight']) for c in CLASSIFIERS if f'{c}.weight' in self.tensors), None)


def unpack(content: Mapping, raw: bool = False) -> Weights:
    """Find the weights in a checkpoint's content; the averaged ones where it has both, unless ``raw`` is asked for.

    MMEngine's EMAHook saves the average as ``state_dict`` and the raw weights as ``ema_state_dict``; timm saves the average as
    ``state_dict_ema``.
    """
    state, averaged = _choose(content, raw)
    state = {key.removeprefix('module.'): value for key, value in state.items() if isinstance(value, Tensor)}
    layout = _layout(state)
    return Weights(_canonical(state, layout), layout, averaged, content.get('meta') or {})


def _choose(content: Mapping, raw: bool) -> tuple[Mapping, bool]:
    if 'ema_state_dict' in content:
        swapped = {key: value for key, value in content['ema_state_dict'].items() if key.startswith('module.')}
        return (swapped, False) if raw else (content['state_dict'], True)
    if not raw and 'state_dict_ema' in content:
        return content['state_dict_ema'], True
    for key in ('state_dict', 'model'):
        if isinstance(content.get(key), Mapping):
            return content[key], False
    return content, False


def _layout(state: Mapping[str, Tensor]) -> str:
    if any(key.startswith('backbone.') for key in state):
        return 'detector' if any(key.startswith('bbox_head.') for key in state) else 'ours'
    if 'conv_stem.weight' in state or 'conv1.weight' in state:
        return 'timm'
    example = ', '.join(list(state)[:3]) or 'nothing'
    raise UserError(f'the checkpoint is none of {"; ".join(LAYOUTS.values())}: it holds {example}.')


def _canonical(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    if layout == 'timm':
        return dict(state)
    tensors = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    classifier = 'fc' if 'conv1.weight' in tensors else 'classifier'
    for kind in ('weight', 'bias'):
        if f'head.fc.{kind}' in state:
            tensors[f'{classifier}.{kind}'] = state[f'head.fc.{kind}']
    return tensors


def to_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's keys -> the keys of mmpretrain's ImageClassifier around our backbones."""
    renamed = {}
    for key, value in tensors.items():
        owner, _, rest = key.partition('.')
        renamed[f'head.fc.{rest}' if owner in CLASSIFIERS else f'backbone.{key}'] = value
    return renamed


# Which network ----------------------------------------------------------------------------------------------------------------


def expected_shapes(name: str) -> dict[str, torch.Size]:
    """Shapes of our backbone of a preset, by timm's keys; without the classifier, the counters of norms left out."""
    arch = preset(name)
    with torch.device('meta'):
        return _shapes(MODELS.get(FAMILIES[arch.family].backbone)(arch, out_indices=(-1,)).state_dict())


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """timm's older files lack ``num_batches_tracked``, which only a norm without momentum uses."""
    kept = (key for key in tensors if not key.endswith('num_batches_tracked') and key.split('.')[0] not in CLASSIFIERS)
    return {key: tensors[key].shape for key in kept}


def identify(tensors: Mapping[str, Tensor]) -> str | None:
    """The preset whose backbone has exactly these keys and shapes, or None."""
    given = _shapes(tensors)
    family = 'resnet' if 'conv1.weight' in given else 'ghostnet' if any('.ghost1.' in key for key in given) else 'efficientnet'
    params = sum(shape.numel() for key, shape in given.items() if 'running_' not in key)
    names = (name for name, (base, _) in PRESETS.items() if BASES[base].family == family)
    fitting = (name for name in names if cost(preset(name), classes=0).params == params)
    return next((name for name in fitting if expected_shapes(name) == given), None)


def check_fits(tensors: Mapping[str, Tensor], name: str) -> None:
    """ValueError that lists what does not fit our network ``name``: missing and unexpected keys, other widths."""
    given, expected = _shapes(tensors), expected_shapes(name)
    other = [f'{k} is {tuple(given[k])}, not {tuple(expected[k])}' for k in expected if k in given and given[k] != expected[k]]
    problems = {
        'of another width': other,
        'missing': [k for k in expected if k not in given],
        'unexpected': [k for k in given if k not in expected],
    }
    if not any(problems.values()):
        return
    found = '; '.join(f'{len(keys)} {what}: {listed(keys, 4)}' for what, keys in problems.items() if keys)
    known = identify(tensors)
    fix = f'It is {known}: give that name.' if known else 'It is none of our presets.'
    raise UserError(f'the checkpoint does not fit {name}: {found}. {fix}')


# Writing ----------------------------------------------------------------------------------------------------------------------


def convert(source: Path, target: Path, to: str, name: str | None = None, raw: bool = False, trust: bool = False) -> str:
    """Rewrite a checkpoint under other keys; returns one sentence on what it was and what was written.

    Args:
        target: .pth, or .safetensors, which holds the tensors only.
        to: 'ours', or 'timm' (the authors' files have timm's keys too).
        name: the network it should be; None accepts any preset it fits exactly.
        raw, trust: see :func:`unpack` and :func:`read`.

    Raises:
        UserError: unknown layout; keys that do not fit, all named.
    """
    weights = unpack(read(source, trust), raw)
    known = name or identify(weights.tensors)
    if known is None:
        raise UserError(f'{source} fits none of our presets; name the network it should be (--arch), to see which keys differ.')
    check_fits(weights.tensors, known)
    if to == 'ours':
        content = dict(state_dict=to_ours(weights.tensors), meta=_slim_meta(weights.meta))
    else:
        content = weights.tensors
    write_bytes(target, _bytes(content, Path(target).suffix), durable=True)
    kind = 'averaged weights' if weights.averaged else 'weights'
    return f'{source}: {LAYOUTS[weights.layout]}; {kind} of {known}, {weights.num_classes or "no"} classes. Written to {target}.'


def _bytes(content: dict, suffix: str) -> bytes:
    """A .pth, or only the tensors as .safetensors."""
    if suffix == '.safetensors':
        from safetensors.torch import save

        tensors = content.get('state_dict', content)
        classes = content.get('meta', {}).get('dataset_meta', {}).get('classes')
        about = {'format': 'pt'} | ({'classes': json.dumps(list(classes))} if classes else {})
        return save({key: value.detach().clone().contiguous() for key, value in tensors.items()}, metadata=about)
    if suffix not in ('.pth', '.pt'):
        raise UserError(f'{suffix or "no suffix"}: weights are written as .pth or .safetensors.')
    buffer = io.BytesIO()  # torch writes a file's name into it; through a buffer equal weights give equal files
    torch.save(content, buffer)
    return buffer.getvalue()


def _slim_meta(meta: Mapping) -> dict:
    """The classes and the length of a training. Its config, which holds paths and the seed, is not kept: it is published as a
    file, without them."""
    return {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter', 'mmengine_version') if key in meta}


def publish(source: Path, folder: Path, name: str | None = None, raw: bool = False, trust: bool = False) -> list[Path]:
    """Slim files of a checkpoint of ours: weights, classes and config, no optimizer, no averages beside the raw weights.

    Args:
        folder: where ``{name}-{first 8 of SHA-256}.pth`` and ``.safetensors`` are written, as torch.hub names and checks them.
        name: stem of the files; by default the one of ``source``.
        raw: the raw weights instead of the averaged ones.

    Returns:
        The .pth and the .safetensors file. Both were read back, the first under ``weights_only=True``.
    """
    content = read(source, trust)
    state, _ = _choose(content, raw)
    state = {key.removeprefix('module.'): value.detach().clone() for key, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f'{source} holds no weights; give a checkpoint of a training.')
    if broken := first_not_finite(state):
        raise UserError(f'{source}: {broken} holds values that are not finite; publish an earlier checkpoint.')
    name = name or Path(source).stem
    if Path(name).name != name:
        raise UserError(f'--name {name}: give a file name without a folder; --out-dir is the folder.')
    slim = dict(state_dict=state, meta=_slim_meta(content.get('meta') or {}))
    written = []
    for suffix in ('.pth', '.safetensors'):
        data = _bytes(slim, suffix)
        path = Path(folder) / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}'
        write_bytes(path, data, durable=True)
        again = read(path)
        if set(again.get('state_dict', again)) != set(state):
            raise UserError(f'{path}: what was read back is not what was written; is the disk full?')
        written.append(path)
    return written
