"""Write the files that check a port of the runtime: input, outputs of the network and the final result of one image.

    python tools/make_golden.py model.onnx photo.jpg --out golden

OUT/golden.npz holds the arrays and OUT/README.txt says what they are.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.errors import printable


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=cli.path, help='an .onnx, .xml or .param file from tools/export.py')
    parser.add_argument('image', type=cli.path, help='an image file')
    parser.add_argument('--out', type=cli.path, default=Path('golden'), help='folder of results (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the golden files; returns 0."""
    args = parse_arguments(argv)
    from tinynet_mm.deploy.golden import write_golden

    print(printable(f'input and outputs: {write_golden(args.model, args.image, args.out)}'))
    return 0


if __name__ == '__main__':
    cli.run(main)
