"""Export a trained classifier or detector as one verified file that runs without torch and MMLab.

    python tools/export.py configs/ssdlite_tinynet_d_coco.py best.pth --out model.onnx --data-root my_data
    python tools/export.py configs/imagenet/tinynet_e_in1k.py tinynet_e.pth --out model.onnx --preprocess --batch 0
    python tools/export.py CONFIG CHECKPOINT --out model.xml --int8 --data-root my_data --max-drop 1

The suffix selects the format: .onnx for ONNX Runtime, .xml for OpenVINO. The outputs of the file are compared with those of the
model, and with --data-root also its accuracy. A file that fails a check is not written. tinynet_mm/deploy/spec.py describes the
inputs and outputs; tinynet_mm.deploy.runtime runs the file.
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm import __version__, cli

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from tinynet_mm.deploy.evaluation import Evaluation

SUFFIXES = ('.onnx', '.xml')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('--out', type=Path, required=True, help='the file to write, .onnx or .xml')
    parser.add_argument('--post', choices=('raw', 'decoded', 'nms'), help='outputs of a detector (default: decoded)')
    parser.add_argument('--preprocess', action='store_true', help='the file takes uint8 RGB images and normalises them')
    parser.add_argument('--batch', type=int, default=1, help='images in a batch, 0 for any number (default %(default)s)')
    parser.add_argument('--int8', action='store_true', help='quantise to int8, calibrated on images of --data-root')
    parser.add_argument('--max-drop', type=float, default=1.0, help='largest loss of int8 in points (default %(default)s)')
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='split for the accuracy (default %(default)s)')
    parser.add_argument('--limit', type=cli.positive, help='use only the first images of the split, or of each class')
    args = parser.parse_args(argv)
    if args.out.suffix not in SUFFIXES:
        parser.error(f'--out {args.out}: the suffix selects the format: {" or ".join(SUFFIXES)}')
    if args.batch < 0:
        parser.error(f'--batch {args.batch}: give the number of images, or 0 for any number')
    if args.int8 and not args.data_root:
        parser.error('--int8 needs --data-root, for calibration and accuracy')
    if args.int8 and args.post in ('raw', 'nms'):
        parser.error(f'--int8 measures boxes and scores; export with --post decoded instead of {args.post}')
    return args


def load(args: argparse.Namespace) -> 'nn.Module':
    """The built model with its weights; its config is that of the command line."""
    from tinynet_mm.data.memory import read_from_files
    from tinynet_mm.mmlab import checkpoints, configs, editing

    cfg = configs.load_config(args.config)
    side = args.input_size if 'input_size' in cfg.model.get('bbox_head', {}) else None
    editing.prepare(cfg, args.data_root, side, (args.split,), cli.note)
    configs.merge_options(cfg, configs.parse_options(args.cfg_options))
    return checkpoints.load_model(read_from_files(cfg), args.checkpoint)


def about(args: argparse.Namespace, model: 'nn.Module', size: tuple[int, int]) -> dict:
    """The fields of the description on cost and origin."""
    import torch

    from tinynet_mm.mmlab.counting import count

    image = torch.zeros(1, 3, *size, device=next(model.parameters()).device)
    cost = count(model, lambda: model(image, mode='tensor'))
    file = Path(args.checkpoint)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ''
    return dict(macs=cost.macs, params=cost.params, config=Path(args.config).stem, checkpoint=digest, version=__version__)


def evaluation(args: argparse.Namespace, model: 'nn.Module') -> 'Evaluation | None':
    """The accuracy on the split of --data-root; None without --data-root."""
    if args.data_root is None:
        return None
    from tinynet_mm.data.coco import find_layout
    from tinynet_mm.deploy import evaluation as library
    from tinynet_mm.mmlab import inference

    classes = inference.classes_of(model)
    if not hasattr(model, 'bbox_head'):
        return library.of_classifier(lambda images: inference.classify(model, images), args.data_root, classes, args.limit)
    layout = find_layout(args.data_root)
    split = replace(layout.split(args.split), classes=tuple(classes))

    def detect(images: Sequence['np.ndarray']) -> list[tuple]:
        return [(found.boxes, found.scores, found.labels) for found in inference.detect(model, images)]

    return library.of_detector(detect, split, layout.split('train'), args.limit)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.deploy.export import Options, export
    from tinynet_mm.mmlab import configs

    model = load(args)
    pipeline = configs.test_pipeline(model.cfg)
    size = (args.input_size,) * 2 if args.input_size else configs.input_size(model.cfg)
    options = Options(args.post, args.preprocess, args.batch, size if args.input_size else None, args.int8, args.max_drop)
    for line in export(model, pipeline, args.out, options, evaluation(args, model), **about(args, model, size)):
        print(line, flush=True)
    return 0


if __name__ == '__main__':
    cli.run(main)
