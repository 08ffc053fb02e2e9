"""Read checkpoint files without running the code that a pickle can contain."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import TRUST_ALL, TRUST_NONE, UserError, trusts_checkpoints
from ..files import check_names
from .versions import harmless

WEIGHTS = ('state_dict', 'ema_state_dict', 'state_dict_ema')  # entries of a checkpoint that hold weights
CLASSES = ('classes', 'CLASSES')  # keys of the class names; MMLab 1 wrote the second one
EXPANSION = 20  # largest ratio of the size of the weights in memory to that in the file; more is an attack
SUFFIXES = ('.pth', '.pt', '.ckpt', '.safetensors')


def read(path: str | Path, trust: bool = False, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read the content of a .pth or .safetensors file.

    Args:
        path: the file.
        trust: also run code from the pickle. Otherwise only tensors and plain values are accepted.
        map_location: of the tensors, as in ``torch.load``.

    Raises:
        FileNotFoundError: no such file.
        UserError: not a checkpoint, or a pickle with other objects than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}: train first, or pass the path of a {", ".join(SUFFIXES)} file.')
    try:
        _check_expansion(path)
        if path.suffix == '.safetensors':
            content = _read_safetensors(path)
        else:
            trusted = trust or trusts_checkpoints()
            content = (_load_anything if trusted else load_weights)(path, map_location)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(_why_not(path, error)) from error
    except Exception as error:  # torch and safetensors raise many types for files in other formats
        reason = f'not a checkpoint that can be read ({type(error).__name__})'
        raise UserError(f'{path} is {reason}; is it complete? Copy it again, or give another file.') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} contains a {type(content).__name__}, not a dict of weights; save model.state_dict().')
    _check_types(content, path)
    return content


def _check_expansion(path: Path) -> None:
    """Raise UserError for a .pth whose parts are compressed to a fraction of their size; torch does not compress them."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    size = path.stat().st_size
    if unpacked > EXPANSION * size:
        raise UserError(f'{path} has {size} bytes and unpacks to {unpacked}; use a checkpoint from another source.')


def _check_types(content: Mapping[str, Any], path: Path) -> None:
    """Raise UserError if weights, ``meta`` or the class names in it have types with which MMEngine does not save them."""
    meta = content.get('meta')
    about = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    parts = {key: content[key] for key in WEIGHTS if key in content}
    parts |= {key: value for key, value in (('meta', meta), ('meta.dataset_meta', about)) if value is not None}
    for key, value in parts.items():
        if not isinstance(value, Mapping):
            raise UserError(f'{path} is no checkpoint: {key} is a {type(value).__name__}, not a dict; give another file.')
    named = [(about or {}).get(key) for key in CLASSES] + [(meta or {}).get(CLASSES[1])]  # mmdet reads all three
    for names in named:
        if names is not None:
            check_names(names, path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Read the tensors, and the classes that :func:`~.weights.publish` writes into the metadata of the file."""
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        classes = (file.metadata() or {}).get('classes')
    return dict(state_dict=tensors, meta=dict(dataset_meta=dict(classes=json.loads(classes)))) if classes else tensors


def tensors_of(state: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without the prefix ``module.`` of wrapped models.

    Raises:
        UserError: no tensors, tensors that are not real numbers in memory, or views that repeat the content of the file.
    """
    found = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not found:
        raise UserError(f'{source} contains no weights; pass the checkpoint of a training, or a state dict.')
    if other := next((key for key, value in found.items() if not _is_plain(value)), None):
        raise UserError(f'{source}: {other} is a {found[other].dtype} tensor without plain numbers; save a float model again.')
    storages = [value.untyped_storage() for value in found.values()]
    stored = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    if (size := sum(value.nbytes for value in found.values())) > EXPANSION * max(stored, 1):
        raise UserError(f'{source}: {stored} bytes of weights are repeated to {size}; use a checkpoint from another source.')
    return {key.removeprefix('module.'): value for key, value in found.items()}


def _is_plain(value: Tensor) -> bool:
    return value.layout == torch.strided and not (value.is_meta or value.is_quantized or value.is_complex())


def check_finite(tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that all weights are finite.

    Raises:
        UserError: a tensor with NaN or infinite values.
    """
    if broken := first_not_finite(tensors):
        raise UserError(f'{source}: {broken} has values that are not finite, so the training failed; use an earlier checkpoint.')


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a NaN or infinite value, or None."""
    return next((name for name, value in tensors.items() if not value.isfinite().all()), None)


def load_weights(file: Any, map_location: Any = None) -> Any:
    """``torch.load`` of a path or file for tensors, plain values and MMEngine's loss curves.

    Raises:
        pickle.UnpicklingError: other objects.
    """
    allowed = torch.serialization.get_safe_globals()  # the context manager removes its types at exit: do not pass these
    with torch.serialization.safe_globals([kind for kind in harmless() if kind not in allowed]):
        return torch.load(file, map_location=map_location, weights_only=True)


def _load_anything(path: Path, map_location: Any) -> Any:
    forced = os.environ.pop(TRUST_NONE, None)
    try:
        return torch.load(path, map_location=map_location, weights_only=False)
    finally:
        if forced is not None:
            os.environ[TRUST_NONE] = forced


def _why_not(path: Path, error: Exception) -> str:
    if 'GLOBAL ' not in str(error):
        return f'{path} is not a checkpoint that can be read, or it contains more than weights; is it complete?'
    name = str(error).partition('GLOBAL ')[2].split(' ')[0].strip('`\'".,') or 'an object'
    return (
        f'{path} contains {name}; a pickle with more than tensors and plain values can run any code when it is loaded. '
        f'If you trust its source, allow it: --trust, or {TRUST_ALL}=1 in front of a command without this flag.'
    )
