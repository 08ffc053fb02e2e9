"""Detect objects in images or folders; draws the boxes and writes all of them to one JSON file.

    python tools/predict.py work_dirs/x/ssdlite_tinynet_d_coco.py work_dirs/x/best_*.pth photo.jpg folder/ --out predictions

predictions.json has the fields of COCO results (bbox as x, y, width, height in pixels of the image), with the names of file and
class. Unreadable images are listed at the end, and the exit status is then 1.
"""

import argparse
import sys
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.errors import printable
from tinynet_mm.files import write_json


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config file or package::name')
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('images', nargs='+', type=Path, help='image files or folders')
    parser.add_argument('--out', type=Path, default=Path('predictions'), help='folder of results (default %(default)s)')
    parser.add_argument('--score-thr', type=cli.probability, default=0.3, help='minimum score, 0 to 1 (default %(default)s)')
    parser.add_argument('--device', default='cpu', help='cpu or cuda:0 (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the drawn images and predictions.json; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.data.folders import image_files
    from tinynet_mm.mmlab import checkpoints, configs, inference

    files = image_files(args.images)
    model = checkpoints.load_model(configs.load_config(args.config), args.checkpoint, args.device)
    rows, broken = inference.predict_folder(model, files, args.out, args.score_thr)
    target = write_json(args.out / 'predictions.json', rows, indent=1)
    print(printable(f'{len(rows)} objects in {len(files) - len(broken)} images: {target}, drawn in {args.out}'))
    for sentence in broken:
        print(f'error: {printable(sentence)}', file=sys.stderr)
    return int(bool(broken))


if __name__ == '__main__':
    cli.run(main)
