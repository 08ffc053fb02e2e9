"""Check a COCO-format data set before training on it; exits 1 where training would fail or be meaningless.

python tools/check_dataset.py configs/ssdlite_tinynet_d_coco.py --data-root DIR    # also compares boxes and anchors
python tools/check_dataset.py --data-root DIR
python tools/check_dataset.py ANNOTATIONS.json IMAGE_FOLDER
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from tinynet_mm import cli
from tinynet_mm.data.check import Report, check_config, check_split
from tinynet_mm.data.coco import SPLITS, find_layout
from tinynet_mm.mmlab import configs, editing


def wrap(steps: Iterator, total: int) -> Iterator:
    return track(steps, 'reading images', total, transient=True, disable=not sys.stdout.isatty())


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', nargs='*', help='a config, or an annotation file and its image folder')
    parser.add_argument('--data-root', type=Path, help='folder of the set, in any layout that training takes')
    parser.add_argument('--input-size', type=int, help='side of the square input in pixels, for the comparison with anchors')
    args = parser.parse_args(argv)
    if len(args.source) > 2 or (len(args.source) == 2 and args.data_root) or not (args.source or args.data_root):
        parser.error('give a CONFIG, a --data-root, both, or ANNOTATIONS.json IMAGE_FOLDER')
    if len(args.source) != 1 and args.input_size:
        parser.error('--input-size needs a CONFIG, whose anchors it moves')
    return args


def reports(args: argparse.Namespace) -> Iterator[Report]:
    """A report for each annotation file that the arguments mean."""
    if len(args.source) == 2:
        yield check_split(*args.source, progress=wrap)
    elif args.source:
        yield from check_config(
            editing.prepare(configs.load_config(args.source[0]), args.data_root, args.input_size, note=cli.note), progress=wrap
        )
    else:
        layout = find_layout(args.data_root)
        for split in filter(None, (getattr(layout, name) for name in SPLITS)):
            yield check_split(split.ann_file, split.images, progress=wrap)


def main(argv: list[str] | None = None) -> int:
    fatal = False
    for report in reports(parse_arguments(argv)):
        print(report, flush=True)
        fatal |= bool(report.fatal)
    print('This set cannot be used as it is.' if fatal else 'This set can be used.')
    return int(fatal)


if __name__ == '__main__':
    cli.run(main)
