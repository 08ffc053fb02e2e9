"""Write slim files of a training checkpoint: weights and classes, as .pth and .safetensors with the SHA-256 in their names.

    python tools/publish.py work_dirs/tinynet_e_in1k/epoch_450.pth --name tinynet_e_in1k --out-dir weights

The files contain the averaged weights, if the checkpoint has some. The .pth loads with torch.load(weights_only=True).
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=cli.path, help='checkpoint of a training, .pth')
    parser.add_argument('--out-dir', type=cli.path, default=Path('weights'), help='folder of the files (default weights)')
    parser.add_argument('--name', help='file name before the hash (default that of the checkpoint)')
    parser.add_argument('--raw', action='store_true', help='the raw weights instead of the averaged ones')
    parser.add_argument('--trust', action='store_true', help='also run code from the pickle; only for files that you trust')
    args = parser.parse_args(argv)
    from tinynet_mm.mmlab.weights import publish

    before = args.checkpoint.stat().st_size if args.checkpoint.exists() else 0
    for path in publish(args.checkpoint, args.out_dir, args.name, args.raw, args.trust):
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB (the checkpoint has {before / 1e6:.1f} MB)')
    return 0


if __name__ == '__main__':
    cli.run(main)
