"""Check a data set before training on it; exits with 1 if training fails on it or makes no sense.

python tools/check_dataset.py configs/ssdlite_tinynet_d_coco.py --data-root DIR    # also compares boxes and anchors
python tools/check_dataset.py configs/cifar10/tinynet_e_cifar10.py --data-root DIR # image folders of a classifier
python tools/check_dataset.py --data-root DIR
python tools/check_dataset.py ANNOTATIONS.json IMAGE_FOLDER
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.errors import printable


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


def reports(args: argparse.Namespace) -> Iterator:
    """A report for each annotation file or image folder that the arguments mean."""
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
    fatal = False
    for report in reports(parse_arguments(argv)):
        print(printable(str(report)), flush=True)
        fatal |= bool(report.fatal)
    print('This set cannot be used as it is.' if fatal else 'This set can be used.')
    return int(fatal)


if __name__ == '__main__':
    cli.run(main)
