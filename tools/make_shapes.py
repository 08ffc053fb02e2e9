"""Write the built-in data: a COCO-format detection set (OUT/coco) and an ImageNet-style folder (OUT/imagenet) of drawn shapes.

    python tools/make_shapes.py data/shapes

The same seed gives the same bytes. Takes a few seconds.
"""

import argparse
from dataclasses import fields
from pathlib import Path

from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import run

HELP = {
    'seed': 'seed of every picture',
    'train': 'detection pictures to train on',
    'val': 'detection pictures to validate on',
    'test': 'detection pictures to test on',
    'size': 'side of a detection picture in pixels',
    'class_train': 'classification pictures a class to train on',
    'class_val': 'classification pictures a class to validate on',
    'class_size': 'side of a classification picture in pixels',
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='folder to write; it must be empty, absent or hold the same set')
    for field in fields(ShapesSpec):
        text = f'{HELP[field.name]} (default %(default)s)'
        parser.add_argument('--' + field.name.replace('_', '-'), type=int, default=field.default, metavar='N', help=text)
    options = vars(parser.parse_args(argv))
    out = options.pop('out')
    for part in make_shapes(out, ShapesSpec(**options)):
        print(part, flush=True)
    print(f'detection: {out / "coco"}\nclassification: {out / "imagenet"}')
    return 0


if __name__ == '__main__':
    run(main)
