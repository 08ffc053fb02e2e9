"""Weights of our networks: recognise them, convert between timm's keys and ours, publish slim files.

Our backbones have timm's parameter names (ResNet: torchvision's), so layouts differ only in prefixes and in the name of the
classifier. timm and the authors' release have ``conv_stem.weight ... classifier.weight``; mmpretrain's ImageClassifier has
``backbone.conv_stem.weight ... head.fc.weight``. The canonical form in this module is timm's.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..archs import BASES, FAMILIES, PRESETS, preset
from ..cost import cost
from ..errors import UserError, listed
from ..files import write_bytes
from .reading import CLASSES, check_finite, read, tensors_of

LAYOUTS = {
    'ours': "an mmpretrain classifier's keys (backbone.*, head.fc.*)",
    'detector': "an mmdet detector's keys (backbone.*, bbox_head.*)",
    'timm': "timm's keys, which are also those of the authors' release",
    'lukemelas': 'the keys of the package efficientnet_pytorch (_conv_stem.weight, _blocks.0._bn1.weight, _fc.weight)',
}
Shapes = Mapping[str, torch.Size]
CLASSIFIERS = ('classifier', 'fc')  # timm: EfficientNet, TinyNet and GhostNet; ResNet


# Layouts ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Tensors under timm's keys, the ``layout`` of their file, and whether they are averaged weights."""

    tensors: dict[str, Tensor]
    layout: str
    averaged: bool = False
    meta: dict = field(default_factory=dict)

    @property
    def num_classes(self) -> int | None:
        """The number of outputs of the classifier; None without a classifier."""
        return next((len(self.tensors[f'{c}.weight']) for c in CLASSIFIERS if f'{c}.weight' in self.tensors), None)


def unpack(content: Mapping[str, Any], raw: bool = False, source: str | Path = 'the checkpoint') -> Weights:
    """Find the weights in the content of a checkpoint; the averaged ones if it has both, unless ``raw``.

    MMEngine's EMAHook saves the average as ``state_dict`` and the raw weights as ``ema_state_dict``; timm saves the average as
    ``state_dict_ema``.

    Raises:
        UserError: no tensors, or keys of an unknown layout.
    """
    state, averaged = _choose(content, raw)
    tensors = tensors_of(state, source)
    layout = _layout(tensors)
    return Weights(_canonical(tensors, layout), layout, averaged, content.get('meta') or {})


def _choose(content: Mapping[str, Any], raw: bool) -> tuple[Mapping[str, Any], bool]:
    if 'ema_state_dict' in content:
        swapped = {key: value for key, value in content['ema_state_dict'].items() if key.startswith('module.')}
        return (swapped, False) if raw else (content.get('state_dict', {}), True)
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
    if '_conv_stem.weight' in state:
        return 'lukemelas'
    known = '; '.join(LAYOUTS.values())
    raise UserError(f'the checkpoint has none of these layouts: {known}. Its keys are {listed(list(state), 3)}.')


def _canonical(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    if layout == 'timm':
        return dict(state)
    if layout == 'lukemelas':
        return _from_lukemelas(state)
    tensors = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    classifier = 'fc' if 'conv1.weight' in tensors else 'classifier'
    for kind in ('weight', 'bias'):
        if f'head.fc.{kind}' in state:
            tensors[f'{classifier}.{kind}'] = state[f'head.fc.{kind}']
    return tensors


# parts of a network and of its blocks, in efficientnet_pytorch and in timm
ENDS = dict(_conv_stem='conv_stem', _bn0='bn1', _conv_head='conv_head', _bn1='bn2', _fc='classifier')
SEPARABLE = dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2')
INVERTED = dict(_expand_conv='conv_pw', _bn0='bn1', _depthwise_conv='conv_dw', _bn1='bn2', _project_conv='conv_pwl', _bn2='bn3')
SQUEEZE = dict(_se_reduce='se.conv_reduce', _se_expand='se.conv_expand')


def _from_lukemelas(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of efficientnet_pytorch. It numbers the blocks through; a stage begins where their width changes."""
    widths = [len(value) for key, value in state.items() if key.endswith('._project_conv.weight')]
    places = [(0, 0)]
    for before, width in zip(widths, widths[1:]):
        stage, block = places[-1]
        places.append((stage, block + 1) if width == before else (stage + 1, 0))
    renamed = {}
    for key, value in state.items():
        owner, _, rest = key.partition('.')
        if owner != '_blocks':
            renamed[f'{ENDS.get(owner, owner)}.{rest}'] = value
            continue
        number, part, kind = rest.split('.', 2)
        parts = (INVERTED if f'_blocks.{number}._expand_conv.weight' in state else SEPARABLE) | SQUEEZE
        renamed['blocks.{}.{}.'.format(*places[int(number)]) + f'{parts.get(part, part)}.{kind}'] = value
    return renamed


def to_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's keys to the keys of mmpretrain's ImageClassifier with one of our backbones."""
    renamed = {}
    for key, value in tensors.items():
        owner, _, rest = key.partition('.')
        renamed[f'head.fc.{rest}' if owner in CLASSIFIERS else f'backbone.{key}'] = value
    return renamed


# Which network ----------------------------------------------------------------------------------------------------------------


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each tensor, without the batch counters of norms, which timm's older files lack."""
    return {key: value.shape for key, value in tensors.items() if not key.endswith('num_batches_tracked')}


def backbone_shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of a backbone under timm's keys; the classifier is left out."""
    return {key: shape for key, shape in shapes_of(tensors).items() if key.split('.')[0] not in CLASSIFIERS}


def expected_shapes(name: str) -> dict[str, torch.Size]:
    """Return the shapes of our backbone of a preset, under timm's keys."""
    arch = preset(name)
    with torch.device('meta'):
        return backbone_shapes(MODELS.get(FAMILIES[arch.family].backbone)(arch, out_indices=(-1,)).state_dict())


def identify(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the preset whose backbone has exactly these keys and shapes, or None."""
    given = backbone_shapes(tensors)
    family = 'resnet' if 'conv1.weight' in given else 'ghostnet' if any('.ghost1.' in key for key in given) else 'efficientnet'
    params = sum(shape.numel() for key, shape in given.items() if 'running_' not in key)
    names = (name for name, (base, _) in PRESETS.items() if BASES[base].family == family)
    same_size = (name for name in names if cost(preset(name), classes=0).params == params)
    return next((name for name in same_size if expected_shapes(name) == given), None)


def check_fits(given: Shapes, expected: Shapes, source: str | Path, network: str, fix: str) -> None:
    """Check that a checkpoint has exactly the tensors of a network.

    Args:
        given: the shapes of the checkpoint, by key.
        expected: the shapes of the network, by key.
        source: the checkpoint in the message.
        network: the network in the message.
        fix: the last sentence of the message.

    Raises:
        UserError: missing or unexpected keys, or other shapes, with examples of each.
    """
    other = [f'{k} is {tuple(given[k])}, not {tuple(expected[k])}' for k in expected if k in given and given[k] != expected[k]]
    problems = {
        'of another shape': other,
        'missing': [key for key in expected if key not in given],
        'unexpected': [key for key in given if key not in expected],
    }
    if any(problems.values()):
        found = '; '.join(f'{len(keys)} {what}: {listed(keys, 4)}' for what, keys in problems.items() if keys)
        raise UserError(f'{source} does not fit {network}, which has {len(expected)} tensors: {found}. {fix}')


def check_preset(tensors: Mapping[str, Tensor], name: str, source: str | Path) -> None:
    """Check that a backbone under timm's keys is that of the preset ``name``.

    Raises:
        UserError: see :func:`check_fits`; the message names the preset that fits.
    """
    known = identify(tensors)
    fix = f'It is {known}: give that name.' if known else 'It is none of our presets.'
    check_fits(backbone_shapes(tensors), expected_shapes(name), source, name, fix)


# Writing ----------------------------------------------------------------------------------------------------------------------


def convert(source: Path, target: Path, to: str, name: str | None = None, raw: bool = False, trust: bool = False) -> str:
    """Rewrite a checkpoint under other keys.

    Args:
        source: .pth or .safetensors, in any of ``LAYOUTS``.
        target: .pth, or .safetensors, which contains only the tensors.
        to: 'ours' or 'timm' (the authors' files have timm's keys too).
        name: the expected preset; None accepts any preset that fits exactly.
        raw: the raw weights instead of the averaged ones.
        trust: see :func:`read`.

    Returns:
        One sentence on the layout of the source and on the file that was written.

    Raises:
        UserError: an unknown layout, or keys that do not fit.
    """
    weights = unpack(read(source, trust), raw, source)
    known = name or identify(weights.tensors)
    if known is None:
        raise UserError(f'{source} fits none of our presets; give the name of its network (--arch) to see the keys that differ.')
    check_preset(weights.tensors, known, source)
    content: dict[str, Any] = dict(weights.tensors)
    if to == 'ours':
        content = dict(state_dict=to_ours(weights.tensors), meta=_slim_meta(weights.meta))
    write_bytes(target, _serialise(content, Path(target).suffix), durable=True)
    kind = 'averaged weights' if weights.averaged else 'weights'
    return f'{source}: {LAYOUTS[weights.layout]}; {kind} of {known}, {weights.num_classes or "no"} classes. Written to {target}.'


def _serialise(content: dict[str, Any], suffix: str) -> bytes:
    """Return the bytes of a .pth, or of a .safetensors with only the tensors and the classes."""
    if suffix == '.safetensors':
        from safetensors.torch import save

        tensors = content.get('state_dict', content)
        named = content.get('meta', {}).get('dataset_meta') or {}
        classes = next((named[key] for key in CLASSES if named.get(key)), None)
        about = {'format': 'pt'} | ({'classes': json.dumps(list(classes))} if classes else {})
        return save({key: value.detach().clone().contiguous() for key, value in tensors.items()}, metadata=about)
    if suffix not in ('.pth', '.pt'):
        raise UserError(f'{suffix or "no suffix"}: weights are written as .pth or .safetensors.')
    buffer = io.BytesIO()  # torch writes the name of a file into it; from a buffer, equal weights give equal files
    torch.save(content, buffer)
    return buffer.getvalue()


def _slim_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the classes and the length of a training. Its config is left out, because it contains paths and the seed."""
    return {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter', 'mmengine_version') if key in meta}


def publish(source: Path, folder: Path, name: str | None = None, raw: bool = False, trust: bool = False) -> list[Path]:
    """Write slim files of a training checkpoint: weights and classes; no optimizer, no config, one set of weights.

    Args:
        source: the checkpoint.
        folder: the folder of ``{name}-{first 8 digits of SHA-256}.pth`` and ``.safetensors``, the names that torch.hub checks.
        name: stem of the files; by default that of ``source``.
        raw: the raw weights instead of the averaged ones.
        trust: see :func:`read`.

    Returns:
        The .pth and the .safetensors file. Both were read back, the first under ``weights_only=True``.

    Raises:
        FileNotFoundError: no such checkpoint.
        UserError: no weights, weights that are not finite, a name with a folder, or a file that reads back differently.
    """
    content = read(source, trust)
    state = {key: value.detach().clone() for key, value in tensors_of(_choose(content, raw)[0], source).items()}
    check_finite(state, source)
    name = name or Path(source).stem
    if Path(name).name != name:
        raise UserError(f'--name {name}: give a file name without a folder; --out-dir is the folder.')
    slim = dict(state_dict=state, meta=_slim_meta(content.get('meta') or {}))
    return [_write_slim(slim, Path(folder), name, suffix) for suffix in ('.pth', '.safetensors')]


def _write_slim(slim: dict[str, Any], folder: Path, name: str, suffix: str) -> Path:
    data = _serialise(slim, suffix)
    path = folder / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}'
    write_bytes(path, data, durable=True)
    again = read(path)
    if set(again.get('state_dict', again)) != set(slim['state_dict']):
        raise UserError(f'{path}: the file reads back differently from what was written; is the disk full?')
    return path
