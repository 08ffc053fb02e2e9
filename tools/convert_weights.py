"""Rewrite a checkpoint between timm's keys, which are also the authors', and ours; says which it was given.

    python tools/convert_weights.py tinynet_e.pth ours_tinynet_e.pth --to ours
    python tools/convert_weights.py work_dirs/tinynet_e_in1k/epoch_450.pth tinynet_e.safetensors --to timm

Every key has to fit; those that do not are listed. A training checkpoint gives its averaged weights, or with --raw the others.
"""

import argparse
from pathlib import Path

from tinynet_mm.errors import run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='.pth or .safetensors of timm, of the authors, or of a training here')
    parser.add_argument('target', type=Path, help='.pth or .safetensors to write')
    parser.add_argument('--to', choices=['ours', 'timm'], required=True, help="whose keys to write (the authors have timm's)")
    parser.add_argument('--arch', help='the network it should be, such as tinynet_e; without it, it is recognised')
    parser.add_argument('--raw', action='store_true', help='the raw weights of a training checkpoint, not their average')
    parser.add_argument('--trust', action='store_true', help='run what a pickle holds beside tensors; only for files you trust')
    args = parser.parse_args(argv)
    from tinynet_mm.mmlab.weights import convert

    print(convert(args.source, args.target, args.to, args.arch, args.raw, args.trust))
    return 0


if __name__ == '__main__':
    run(main)
