"""Detect objects in images or folders: boxes drawn, and all of them in one JSON file.

    python tools/predict.py work_dirs/x/ssdlite_tinynet_d_coco.py work_dirs/x/best_*.pth photo.jpg folder/ --out predictions

predictions.json has COCO's result fields (bbox as x, y, width, height in pixels of the image) with the file and class by name.
"""

import argparse
import json
import os
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.data import folders
from tinynet_mm.mmlab import checkpoints, configs
from tinynet_mm.mmlab.inference import predict_folder


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config file or package::name')
    parser.add_argument('checkpoint', help='a .pth file or a URL')
    parser.add_argument('images', nargs='+', type=Path, help='image files or folders')
    parser.add_argument('--out', type=Path, default=Path('predictions'), help='folder of results (default %(default)s)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='least score drawn and written (default %(default)s)')
    parser.add_argument('--device', default='cpu', help='cpu or cuda:0 (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    files = folders.image_files(args.images)
    model = checkpoints.load_model(configs.load_config(args.config), args.checkpoint, args.device)
    rows = predict_folder(model, files, args.out, args.score_thr)
    target = args.out / 'predictions.json'
    unfinished = target.with_suffix('.tmp')
    unfinished.write_text(json.dumps(rows, indent=1) + '\n')
    os.replace(unfinished, target)
    print(f'{len(rows)} objects in {len(files)} images: {target}, drawn in {args.out}')
    return 0


if __name__ == '__main__':
    cli.run(main)
