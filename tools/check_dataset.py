"""Check a data set before training; the exit status is 1 if a training on it fails or makes no sense.

python tools/check_dataset.py configs/ssdlite_tinynet_d_coco.py --data-root DIR    # also compares boxes and anchors
python tools/check_dataset.py configs/cifar10/tinynet_e_cifar10.py --data-root DIR # image folders of a classifier
python tools/check_dataset.py --data-root DIR
python tools/check_dataset.py ANNOTATIONS.json IMAGE_FOLDER
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tinynet_mm import cli

if TYPE_CHECKING:
    from tinynet_mm.data.check import Report


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(parser.add_argument('source', nargs='*', help='a config, or an annotation file and its image folder'))
    parser.add_argument('--data-root', type=cli.path, help='folder of the data set, in any layout that training supports')
    parser.add_argument('--input-size', type=cli.positive, help='side of the square input in pixels, for the anchors')
    args = parser.parse_args(argv)
    if len(args.source) > 2 or (len(args.source) == 2 and args.data_root) or not (args.source or args.data_root):
        parser.error('give a CONFIG, a --data-root, both, or ANNOTATIONS.json IMAGE_FOLDER')
    if len(args.source) != 1 and args.input_size:
        parser.error('--input-size needs a CONFIG, because it changes the anchors')
    return args


def reports(args: argparse.Namespace) -> Iterator['Report']:
    """A report for each annotation file or image folder of the arguments."""
    from tinynet_mm.data import check
    from tinynet_mm.mmlab import configs, editing

    if len(args.source) == 2:
        return iter([check.check_split(*args.source, progress=cli.progress)])
    if not args.source:
        return check.check_root(args.data_root, cli.progress)
    cfg = editing.prepare(configs.load_config(args.source[0]), args.data_root, args.input_size, note=cli.note)
    if configs.is_classifier(cfg):
        return check.check_class_folders(check.class_roots(cfg), cli.progress)
    return check.check_config(cfg, progress=cli.progress)


def main(argv: list[str] | None = None) -> int:
    """Print a report for each part of the data set; returns the exit status."""
    fatal = False
    for report in reports(parse_arguments(argv)):
        print(report, flush=True)
        fatal |= bool(report.fatal)
    print('This data set cannot be used: correct the fatal findings first.' if fatal else 'This data set can be used.')
    return int(fatal)


if __name__ == '__main__':
    cli.run(main)
