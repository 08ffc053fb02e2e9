"""Command-line arguments that the tools share, and the notes and reports they print before the work starts.

This module imports the standard library only, so that ``--help`` and wrong arguments answer before torch and MMLab are loaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import run  # noqa: F401 (tools call cli.run)

if TYPE_CHECKING:
    from mmengine.config import Config


class DictAction(argparse.Action):
    """Collects ``KEY=VALUE`` arguments in a dict, with the values that MMEngine's action of the same name gives.

    MMEngine's own class is not used because its import loads torch.
    """

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        """Add the arguments to the dict; a text without ``=`` or with unequal brackets ends the program with the usage."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, mark, value = text.partition('=')
            if not mark or not key:
                parser.error(f'argument {option}: {text!r} is not KEY=VALUE')
            if any(value.count(left) != value.count(right) for left, right in ('()', '[]')):
                parser.error(f'argument {option}: {text!r} has unequal brackets')
            options[key] = parse_value(value)
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """``'1'`` as int, ``'a,b'`` and ``'[a,b]'`` as list, ``'(1,2)'`` as tuple, ``true``, ``None`` and text as such."""
    text = text.strip('\'"').replace(' ', '')
    if text[:1] + text[-1:] in ('()', '[]') and len(text) > 1:
        values = [parse_value(part) for part in _split(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    return [parse_value(part) for part in _split(text)] if ',' in text else _scalar(text)


def _split(text: str) -> Iterator[str]:
    """The parts between the commas that are outside of brackets; one comma at the end adds no part."""
    start = depth = 0
    for index, char in enumerate(text):
        depth += (char in '([') - (char in ')]')
        if char == ',' and not depth:
            yield text[start:index]
            start = index + 1
    if start < len(text):
        yield text[start:]


def _scalar(text: str) -> int | float | bool | str | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    words = {'true': True, 'false': False}
    return None if text == 'None' else words.get(text.lower(), text)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, --data-root, --input-size and --cfg-options, which train and test have in common."""
    parser.add_argument('config', help='a config file, or a name like mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    parser.add_argument('--data-root', type=Path, help='folder of any COCO-format data set; classes are read from its files')
    parser.add_argument('--input-size', type=int, help='side of the square input in pixels: resizing, anchors, strides together')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='settings to change')


def note(text: str) -> None:
    """Print a note on what was assumed."""
    print(f'note: {text}', flush=True)


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Check every file of a detector's splits before training and print a report for each.

    Raises:
        FileNotFoundError, UserError: a file is missing, or a finding is fatal.
    """
    from tqdm import tqdm

    from .data.check import check_config

    def progress(steps: Any, total: int) -> Any:
        return tqdm(steps, 'checking images', total, unit='image', leave=False, disable=None)

    for report in check_config(cfg, splits, progress):
        print(report, flush=True)
        report.stop_if_fatal()
