"""Detect objects in images, folders or a video; draws the boxes, and writes those of images to one JSON file.

    python tools/predict.py model.onnx photo.jpg folder/ --out predictions
    python tools/predict.py model.onnx --video 0                                            # a file, or the number of a camera
    python tools/predict.py work_dirs/x/ssdlite_tinynet_d_coco.py work_dirs/x/best_*.pth photo.jpg
    python tools/predict.py model.onnx aerial.jpg --tile 640                                # small objects in a large image

MODEL is a file from tools/export.py, which runs without torch, or a config, which a checkpoint follows. predictions.json has the
fields of COCO results (bbox as x, y, width, height in pixels of the image), with the names of file and class. Unreadable images
are listed at the end, and the exit status is then 1. The drawn video is OUT/video.mp4; ctrl-C ends it.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm import cli
from tinynet_mm.errors import printable
from tinynet_mm.files import write_json

if TYPE_CHECKING:
    from tinynet_mm.deploy.predict import Detect

USAGE = '%(prog)s MODEL [CHECKPOINT] (IMAGE ... | --video FILE) [options]'


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(usage=USAGE, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(parser.add_argument('model', help='an .onnx, .xml or .param file, or a config file or package::name'))
    words = 'after a config first its checkpoint (.pth, .safetensors or a URL); image files or folders'
    parser.add_argument('inputs', nargs='*', metavar='input', help=words)
    parser.add_argument('--video', metavar='FILE', help='detect in a video file or, with a number, the frames of a camera')
    parser.add_argument('--out', type=cli.path, default=Path('predictions'), help='folder of results (default %(default)s)')
    parser.add_argument('--score-thr', type=cli.probability, default=0.3, help='minimum score, 0 to 1 (default %(default)s)')
    parser.add_argument('--tile', type=cli.positive, metavar='PIXELS', help='also detect in tiles of this side, and merge')
    parser.add_argument('--tile-overlap', type=cli.probability, metavar='SHARE', help='overlap of the tiles (default 0.2)')
    parser.add_argument('--device', default='cpu', help='cpu or cuda:0 (default %(default)s)')
    parser.add_argument('--threads', type=cli.positive, default=1, help='threads that run an exported file (default %(default)s)')
    args = parser.parse_args(argv)
    args.exported = args.model.endswith(('.onnx', '.xml', '.param'))
    if not args.exported and not args.inputs:
        parser.error('a config needs a checkpoint: MODEL CHECKPOINT IMAGE ...')
    args.checkpoint = None if args.exported else args.inputs.pop(0)
    if bool(args.inputs) == bool(args.video):
        parser.error('give images or folders, or --video FILE')
    if args.tile_overlap is not None and not args.tile:
        parser.error('--tile-overlap needs --tile')
    return args


def detector(args: argparse.Namespace) -> 'Detect':
    """The callable that detects in a list of images, also in tiles of them."""
    detect = untiled(args)
    if not args.tile:
        return detect
    from tinynet_mm.deploy.tiles import tiled

    return tiled(detect, args.tile, 0.2 if args.tile_overlap is None else args.tile_overlap)


def untiled(args: argparse.Namespace) -> 'Detect':
    """The callable that detects in complete images."""
    from tinynet_mm.deploy.runtime import Detections, Detector

    if args.exported:
        return Detector(args.model, args.threads, args.device, args.score_thr).detect
    from tinynet_mm.mmlab import checkpoints, configs, inference

    model = checkpoints.load_model(configs.load_config(args.model), args.checkpoint, args.device)
    classes = tuple(inference.classes_of(model))
    return lambda images: [
        Detections(f.boxes, inference.scores_of(f), f.labels, classes) for f in inference.detect(model, images, args.score_thr)
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the drawn images and predictions.json, or the drawn video; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.data.folders import image_files
    from tinynet_mm.deploy.predict import predict_folder, predict_video

    if args.video:
        target = args.out / 'video.mp4'
        count, rate = predict_video(detector(args), args.video, target)
        print(printable(f'{count} frames, {rate:.1f} frames a second from reading to writing: {target}'))
        return 0
    files = image_files([Path(name) for name in args.inputs])
    rows, broken = predict_folder(detector(args), files, args.out)
    target = write_json(args.out / 'predictions.json', rows, indent=1)
    print(printable(f'{len(rows)} objects in {len(files) - len(broken)} images: {target}, drawn in {args.out}'))
    for sentence in broken:
        print(f'error: {printable(sentence)}', file=sys.stderr)
    return int(bool(broken))


if __name__ == '__main__':
    cli.run(main)
