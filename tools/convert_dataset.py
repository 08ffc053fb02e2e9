"""Convert a data set in Pascal VOC, YOLO, LabelMe or CVAT format to COCO files; the images stay where they are.

    python tools/convert_dataset.py my_data                        # writes my_data/tinynet_coco/annotations/{train,val,test}.json
    python tools/convert_dataset.py my_data --out coco --val-share 0.1

tools/train.py and the other tools with --data-root do the same by themselves. A set in COCO format with train only is divided.
"""

import argparse

from tinynet_mm import cli
from tinynet_mm.errors import UserError, printable


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=cli.path, help='folder of the data set')
    parser.add_argument('--out', type=cli.path, help='folder of the COCO files (default: ROOT/tinynet_coco)')
    cli.add_val_share(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the files and print where they are; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.data.coco import find_layout

    sentences: list[str] = []
    layout = find_layout(args.root, args.val_share, args.out, hold_out=True, note=sentences.append)
    if not sentences and layout.root == args.root:
        raise UserError(f'{args.root} is in COCO format already; use it with --data-root.')
    print(printable('\n'.join(sentences or [f'{layout.root} has the converted files; {args.root} is unchanged.'])))
    return 0


if __name__ == '__main__':
    cli.run(main)
