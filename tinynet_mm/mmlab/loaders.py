"""Loaders of checkpoints for MMEngine that do not run the code that a pickle can contain.

MMEngine 0.10.7 loads a pickle as torch does by default, and onedl-mmengine 0.10.12 loads it again without a check if safe loading
fails. Its list of allowed functions has the plain ``getattr``, with which a pickle calls any function. Here every scheme of
``CheckpointLoader`` that needs no further package reads with :mod:`.reading`: ``load_from``, ``resume``, ``init_cfg`` and
``DetInferencer`` all use it. The text of a config in a checkpoint is read by :mod:`.texts`.
"""

import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from ..errors import UserError, trusts_checkpoints
from .processes import first
from .reading import load_weights, read

HASH = re.compile(r'-(?=\d*[a-f])([0-9a-f]{8,64})\.\w+$')  # of the content, at the end of a file name; digits alone are a date


def install() -> None:
    """Replace MMEngine's loaders of files and URLs; those of model zoos call the loader of URLs."""
    from mmengine.runner import checkpoint

    loader: Any = checkpoint.CheckpointLoader
    loader.register_scheme('', load_from_file, force=True)
    loader.register_scheme(('http://', 'https://'), load_from_url, force=True)
    module: Any = checkpoint
    module.load_from_local, module.load_from_http = load_from_file, load_from_url
    if hasattr(checkpoint, '_safe_torch_load'):  # of the forks, for open-mmlab://, pavi:// and s3://
        module._safe_torch_load = load_weights
    _install_reader_of_texts()


def _install_reader_of_texts() -> None:
    """Replace ``Config.fromstring``, with which MMEngine runs the text of a config in a checkpoint."""
    from mmengine.config import Config  # here, since an old mmengine without it is reported later

    run_text = Config.fromstring

    @functools.wraps(run_text)
    def fromstring(cfg_str: str, file_format: str) -> Config:
        if file_format != '.py' or trusts_checkpoints():
            return run_text(cfg_str, file_format)
        from .texts import config_of  # here, since it may be what imports MMEngine

        return config_of(cfg_str)

    Config.fromstring = staticmethod(fromstring)


def load_from_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local checkpoint, also a .safetensors file.

    Raises:
        FileNotFoundError, UserError: see :func:`~.reading.read`.
    """
    return read(os.path.expanduser(filename), map_location=map_location)


def load_from_url(
    filename: str, map_location: Any = None, model_dir: str | None = None, progress: bool = False
) -> dict[str, Any]:
    """Load a checkpoint from a server through torch's cache; of several processes only the first one downloads.

    Args:
        filename: the URL.
        map_location: as in ``torch.load``.
        model_dir: folder of the download; torch's cache by default.
        progress: whether torch shows a progress bar.

    Raises:
        OSError: the server or the network fails. On other processes than the first one this is a RepeatedError.
        UserError: the content, also one in the cache, does not have the hash in the file name, or see :func:`~.reading.read`.
    """
    path = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints') / Path(urlsplit(filename).path).name
    first(lambda: _download(filename, path, progress))
    return read(path, map_location=map_location)


def _download(url: str, path: Path, progress: bool) -> None:
    expected = HASH.search(path.name)
    if path.exists():
        if expected and not _digest(path).startswith(expected[1]):
            raise UserError(f'{path} does not have the hash in its name: delete it, and it is downloaded again from {url}.')
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), expected and expected[1], progress)
    except RuntimeError as error:  # the content has another hash; torch has removed the file
        raise UserError(f'{url}: the content does not have the hash in its name, so it was not kept; try again.') from error


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
