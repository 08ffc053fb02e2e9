"""Export a trained classifier or detector as one verified file that runs without torch and MMLab.

    python tools/export.py configs/ssdlite_tinynet_d_coco.py best.pth --out model.onnx --data-root my_data
    python tools/export.py configs/imagenet/tinynet_e_in1k.py tinynet_e.pth --out model.onnx --preprocess --batch 0
    python tools/export.py CONFIG CHECKPOINT --out model.xml --int8 --data-root my_data --max-drop 1
    python tools/export.py CONFIG CHECKPOINT --out model.onnx --int8 --calibration photos/

The suffix selects the format: .onnx for ONNX Runtime, .xml for OpenVINO, .param for ncnn. The outputs of the file are compared
with those of the model, and with --data-root also its accuracy. A file that fails a check is not written.
tinynet_mm/deploy/spec.py describes the inputs and outputs; tinynet_mm.deploy.runtime runs the file.

--int8 calibrates on the training images of --data-root, or on the images of --calibration, and measures the loss on the split.
With --calibration alone there are no labels. Then the answers of the float model on these images are the labels: the best class
of each image, or the boxes with a score of 0.3 or more. The loss is 100 minus this agreement. It is larger than the loss of
accuracy, so --max-drop is 5 then: a detector that lost no accuracy had an agreement of 96 to 98.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm import __version__, cli

if TYPE_CHECKING:
    from tinynet_mm.deploy.evaluation import Evaluation
    from tinynet_mm.mmlab.trained import Trained

SUFFIXES = ('.onnx', '.xml', '.param')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('--out', type=cli.path, required=True, help='the file to write, .onnx, .xml or .param')
    parser.add_argument('--post', choices=('raw', 'decoded', 'nms'), help='outputs of a detector (default: decoded)')
    parser.add_argument('--preprocess', action='store_true', help='the file takes uint8 RGB images and normalises them')
    parser.add_argument('--batch', type=int, default=1, help='images in a batch, 0 for any number (default %(default)s)')
    parser.add_argument('--int8', action='store_true', help='quantise to int8, calibrated on images; see above')
    parser.add_argument('--calibration', type=cli.path, help='folder of images for --int8 (default: those of --data-root)')
    parser.add_argument('--max-drop', type=cli.points, help='largest loss of int8 in points (default 1, without --data-root 5)')
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='split for the accuracy (default %(default)s)')
    parser.add_argument('--limit', type=cli.positive, help='use only the first images of the split, or of each class')
    args = parser.parse_args(argv)
    if args.out.suffix not in SUFFIXES:
        parser.error(f'--out {args.out}: the suffix selects the format: {", ".join(SUFFIXES)}')
    if not 0 <= args.batch <= 1024:
        parser.error(f'--batch {args.batch}: give the number of images, up to 1024, or 0 for any number')
    if args.int8 and not (args.data_root or args.calibration):
        parser.error('--int8 needs --data-root, for calibration and accuracy, or images without labels in --calibration')
    if args.calibration and not args.int8:
        parser.error('--calibration is for --int8')
    if args.max_drop is None:
        args.max_drop = 1.0 if args.data_root else 5.0
    return args


def evaluation(args: argparse.Namespace, trained: 'Trained', files: list[Path]) -> 'Evaluation | None':
    """How a file is measured: on --data-root, or else by its agreement with the model on ``files``; None without both."""
    from tinynet_mm.deploy import agreement
    from tinynet_mm.deploy.evaluation import of_data_root
    from tinynet_mm.mmlab.inference import classes_of

    if args.data_root is None:
        return agreement.of_images(files, **trained.functions()) if files else None
    limits = dict(split=args.split, limit=args.limit)
    found = of_data_root(args.data_root, classes_of(trained.model), **trained.functions(), **limits)
    return replace(found, calibration=lambda: files) if files else found


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.data.folders import folder_images

    files = folder_images(args.calibration) if args.calibration else []
    from tinynet_mm.deploy.export import Options, check_target, export
    from tinynet_mm.mmlab.trained import load_trained

    options = Options(args.post, args.preprocess, args.batch, None, args.int8, args.max_drop)
    check_target(args.out, options)
    trained = load_trained(args.config, args.checkpoint, args.data_root, args.input_size, args.split, args.cfg_options, cli.note)
    options = replace(options, size=trained.size)
    measured = evaluation(args, trained, files)
    for line in export(trained.model, trained.pipeline, args.out, options, measured, **trained.about, version=__version__):
        print(line, flush=True)
    return 0


if __name__ == '__main__':
    cli.run(main)
