"""Write model-index.yml and the metafiles from the configs, with recounted parameters and multiply-adds.

    python tools/make_index.py

Run it after a config is added or changed; a test fails if the index is out of date.
"""

import argparse
import sys
from pathlib import Path

from tinynet_mm import cli


def main(argv: list[str] | None = None) -> None:
    """Write the files and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--root', type=cli.path, default=Path(__file__).resolve().parent.parent, help='the checkout')
    root = parser.parse_args(argv).root
    from tinynet_mm.mmlab.index import write_index

    for path in write_index(root):
        print(f'wrote {path}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
