"""Convert a checkpoint between timm's keys and ours: the authors' files have those of timm; the layout is detected.

    python tools/convert_weights.py tinynet_e.pth ours_tinynet_e.pth --to ours
    python tools/convert_weights.py work_dirs/tinynet_e_in1k/epoch_450.pth tinynet_e.safetensors --to timm

Every key must fit; the others are listed. The averaged weights of a training are converted, or with --raw the raw weights.
"""

import argparse

from tinynet_mm import cli


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=cli.path, help='.pth or .safetensors of timm, of the authors, or of a training')
    parser.add_argument('target', type=cli.path, help='.pth or .safetensors to write')
    parser.add_argument(
        '--to', choices=['ours', 'timm'], required=True, help="the keys to write (the authors' files have timm's)"
    )
    parser.add_argument('--arch', help='the network, for instance tinynet_e; by default it is detected')
    parser.add_argument('--raw', action='store_true', help='the raw weights instead of the averaged ones')
    parser.add_argument('--trust', action='store_true', help='also run code from the pickle; only for files that you trust')
    args = parser.parse_args(argv)
    from tinynet_mm.mmlab.weights import convert

    print(convert(args.source, args.target, args.to, args.arch, args.raw, args.trust))
    return 0


if __name__ == '__main__':
    cli.run(main)
