"""Draw ImageNet-100 from ImageNet: seeded classes, 500 training and 50 validation images of each, as links.

    python tools/make_subset.py data/imagenet data/imagenet100 --seed 0

What was drawn is written to subset.json beside it. Any folder with train/<class>/ and val/<class>/ serves.
"""

import argparse
from pathlib import Path

from tinynet_mm.data.subsets import draw, make
from tinynet_mm.errors import run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='folder with train/<class>/*.jpg and val/<class>/*.jpg')
    parser.add_argument('target', type=Path, help='where the subset goes')
    parser.add_argument('--classes', type=int, default=100)
    parser.add_argument('--train', type=int, default=500, help='training images of each class (default 500)')
    parser.add_argument('--val', type=int, default=50, help='validation images of each class (default 50)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--copy', action='store_true', help='copy the images, to take the subset elsewhere')
    args = parser.parse_args(argv)
    subset = draw(args.source, args.seed, args.classes, args.train, args.val)
    listing = make(subset, args.target, args.copy)
    train, val = subset.count().values()
    print(
        f'{len(subset.classes)} classes, {train} training and {val} validation images in {args.target}, listed in {listing.name}'
    )
    return 0


if __name__ == '__main__':
    run(main)
