"""Draw ImageNet-100 from ImageNet: seeded classes, 500 training and 50 validation images of each, as links.

    python tools/make_subset.py data/imagenet data/imagenet100 --seed 0

The list of images is written to subset.json in the target folder. The source is any folder with train/<class>/ and val/<class>/.
"""

import argparse

from tinynet_mm import cli


def main(argv: list[str] | None = None) -> int:
    """Write the subset and print its size; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=cli.path, help='folder with train/<class>/*.jpg and val/<class>/*.jpg')
    parser.add_argument('target', type=cli.path, help='folder of the subset')
    parser.add_argument('--classes', type=int, default=100, help='number of classes (default %(default)s)')
    parser.add_argument('--train', type=int, default=500, help='training images per class (default %(default)s)')
    parser.add_argument('--val', type=int, default=50, help='validation images per class (default %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random choice (default %(default)s)')
    parser.add_argument('--copy', action='store_true', help='copy the images instead of linking them')
    args = parser.parse_args(argv)
    from tinynet_mm.data.subsets import draw, make

    subset = draw(args.source, args.seed, args.classes, args.train, args.val)
    listing = make(subset, args.target, args.copy)
    train, val = subset.count().values()
    print(
        f'{len(subset.classes)} classes, {train} training and {val} validation images in {args.target}, listed in {listing.name}'
    )
    return 0


if __name__ == '__main__':
    cli.run(main)
