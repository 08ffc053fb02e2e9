"""Draw the built-in data set of shapes: detection in COCO format (OUT/coco) and class folders like ImageNet (OUT/imagenet).

    python tools/make_shapes.py data/shapes

The same seed gives the same bytes. The command needs a few seconds.
"""

import argparse
from dataclasses import fields

from tinynet_mm import cli
from tinynet_mm.data.shapes import ShapesSpec, make_shapes

HELP = {
    'seed': 'seed of all pictures',
    'train': 'number of detection pictures for training',
    'val': 'number of detection pictures for validation',
    'test': 'number of detection pictures for testing',
    'size': 'side of a detection picture in pixels',
    'class_train': 'number of classification pictures per class for training',
    'class_val': 'number of classification pictures per class for validation',
    'class_size': 'side of a classification picture in pixels',
}


def main(argv: list[str] | None = None) -> int:
    """Draw the data set and print its folders; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=cli.path, help='folder to write; it is new or empty, or contains the same data set')
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
    cli.run(main)
