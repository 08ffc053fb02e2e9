"""What the command lines of the tools share: arguments, and notes and reports that are printed before the work starts."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction
from rich.progress import track

from .data.check import check_config
from .errors import run  # noqa: F401 (tools that load MMLab find it here)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, --data-root, --input-size, --cfg-options: what train, test and check_dataset have in common."""
    parser.add_argument('config', help='a config file, or a name like mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    parser.add_argument('--data-root', type=Path, help='folder of any COCO-format data set; classes are read from its files')
    parser.add_argument('--input-size', type=int, help='side of the square input in pixels: resizing, anchors, strides together')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='settings to change')


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Look at every file of a detector's splits before training; prints a report each, raises ValueError for what is fatal."""
    for report in check_config(cfg, splits, lambda steps, total: track(steps, 'looking at images', total, transient=True)):
        print(report, flush=True)
        report.stop_if_fatal()
