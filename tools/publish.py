"""Make slim files of a training checkpoint: weights, classes and config; a .pth and a .safetensors, SHA-256 in their names.

    python tools/publish.py work_dirs/tinynet_e_in1k/epoch_450.pth --name tinynet_e_in1k --out-dir weights

Averaged weights are taken where there are any. The .pth loads under torch.load(weights_only=True).
"""

import argparse
from pathlib import Path

from tinynet_mm.errors import run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path, help='.pth of a training here')
    parser.add_argument('--out-dir', type=Path, default=Path('weights'), help='where the files go (default weights)')
    parser.add_argument('--name', help="what they are called before the hash (default the checkpoint's name)")
    parser.add_argument('--raw', action='store_true', help='the raw weights, not their average')
    parser.add_argument('--trust', action='store_true', help='run what a pickle holds beside tensors; only for files you trust')
    args = parser.parse_args(argv)
    from tinynet_mm.mmlab.weights import publish

    before = args.checkpoint.stat().st_size if args.checkpoint.exists() else 0
    for path in publish(args.checkpoint, args.out_dir, args.name, args.raw, args.trust):
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB (the checkpoint has {before / 1e6:.1f} MB)')
    return 0


if __name__ == '__main__':
    run(main)
