"""Shared parts of the command lines: arguments, and the notes and reports that a tool prints before its work.

Imports only the standard library, because the tools parse arguments before torch and MMLab are imported.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import run as run  # for the tools

if TYPE_CHECKING:
    from mmengine.config import Config


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, --data-root, --input-size and --cfg-options."""
    words = 'a config file, a name like rtmdet_tinynet_e_coco, or mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
    completes_configs(parser.add_argument('config', help=words))
    parser.add_argument('--data-root', type=path, help='folder of a data set: COCO, VOC, YOLO, LabelMe, CVAT')
    parser.add_argument('--input-size', type=positive, help='side of the square input in pixels; changes resizing and anchors')
    add_cfg_options(parser)


def completes_configs(argument: Any, others: Iterable[str] = ()) -> None:
    """Let the shell complete an argument by our configs, files, and ``others``, with argcomplete."""

    def complete(prefix: str, **_: object) -> list[str]:
        from argcomplete.completers import FilesCompleter

        from .mmlab.registration import shipped_configs

        return [*shipped_configs(), *others, *FilesCompleter()(prefix)]

    argument.completer = complete


def add_val_share(parser: argparse.ArgumentParser) -> None:
    """Add --val-share."""
    words = 'share of the images to hold out from a set without val and test (default: that of an earlier call, or 0.2)'
    parser.add_argument('--val-share', type=fraction, metavar='S', help=words)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options; :func:`tinynet_mm.mmlab.configs.parse_options` turns its value into a dict."""
    parser.add_argument('--cfg-options', nargs='+', type=_pair, default=[], metavar='KEY=VALUE', help='settings to change')


def _pair(text: str) -> str:
    key, mark, _ = text.partition('=')
    if not (key and mark):
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE, for instance optim_wrapper.optimizer.lr=0.001')
    return text


def _ascii(text: str) -> str:
    """Return a number as it is given; ``int`` and ``float`` also read digits of other scripts."""
    if not text.isascii():
        raise argparse.ArgumentTypeError(f'{text} is not a number in the digits 0 to 9')
    return text


def probability(text: str) -> float:
    """Parse a number from 0 to 1, for ``type=``; argparse reports other values."""
    value = float(_ascii(text))
    if not 0 <= value <= 1 or math.isnan(value):
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def fraction(text: str) -> float:
    """Parse a number between 0 and 1, without both, for ``type=``; argparse reports other values."""
    value = float(_ascii(text))
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not above 0 and below 1')
    return value


def points(text: str) -> float:
    """Parse a number of percentage points, 0 to 100, for ``type=``; argparse reports other values."""
    value = float(_ascii(text))
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 100')
    return value


def positive(text: str) -> int:
    """Parse a whole number above 0, for ``type=``; argparse reports other values."""
    value = int(_ascii(text))
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number above 0')
    return value


def count(text: str) -> int:
    """Parse a whole number, 0 or above, for ``type=``; argparse reports other values."""
    value = int(_ascii(text))
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number, 0 or above')
    return value


def path(text: str) -> Path:
    """Parse a path, for ``type=``; argparse reports an empty one, for instance of a shell variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty; give a path, or . for the current folder')
    return Path(text)


def note(text: str) -> None:
    """Print one note for the user."""
    print(f'note: {text}', flush=True)


def progress(steps: Iterable, total: int | None = None, title: str = 'images') -> Iterable:
    """Yield ``steps``, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(steps, total=total, unit=f' {title}', leave=False, disable=None)


def check_data(cfg: 'Config', splits: Sequence[str]) -> None:
    """Check every file of a detector's splits before training, and print a report for each split.

    Raises:
        UserError: a finding that stops a training, see :mod:`tinynet_mm.data.check`.
    """
    from .data.check import check_config

    for report in check_config(cfg, splits, progress):
        report.stop_if_fatal()
        print(report, flush=True)
