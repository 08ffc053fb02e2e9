"""Load and evaluate a drawn detection set of COCO's size: mmdet's SSDLite config and ours, pycocotools and faster-coco-eval.

    python tools/benchmark_large.py --out results/large.csv                      # 118,000 images, 860,000 boxes
    python tools/benchmark_large.py --images 1000 --boxes 8000 --rounds 1

It writes seconds to the first batch, memory of the main process and of the workers, the time of the data check, and the time
and the largest difference of the evaluations (5,000 images). The full size needs 3 GB of memory, 2 GB of disk and about an hour.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.errors import run
from tinynet_mm.files import check_writable, write_csv

MMDET = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/ssdlite_mobilenetv2_coco.py', help='our config (default %(default)s)')
    parser.add_argument('--images', type=cli.positive, default=118_000, help='default %(default)s')
    parser.add_argument('--boxes', type=cli.positive, default=860_000, help='default %(default)s')
    parser.add_argument('--rounds', type=cli.positive, default=3, help='default %(default)s')
    parser.add_argument('--batch', type=cli.positive, default=24, help='images of a batch (default %(default)s)')
    parser.add_argument('--workers', type=cli.positive, default=2, help='processes that load (default %(default)s)')
    parser.add_argument('--detections', type=cli.positive, default=100, help='detections of an image (default %(default)s)')
    parser.add_argument('--out', type=cli.path, default=Path('large.csv'), help='CSV file (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the CSV and print its rows; returns the exit status."""
    args = parse_arguments(argv)
    check_writable(args.out)
    from tinynet_mm.bench import large

    with tempfile.TemporaryDirectory() as folder:
        root = large.make_set(Path(folder) / 'set', args.images, args.boxes)
        contenders, turns = dict(mmdet=MMDET, ours=args.config), partial(cli.progress, title='rounds')
        rows = large.compare_loading(contenders, root, args.rounds, args.batch, args.workers, turns)
        checked = large.in_process(large.check, root)
        rows += [dict(contender='data check', measure=name, median=round(value, 1)) for name, value in checked.items()]
        small = large.make_set(Path(folder) / 'val', args.images // 24 + 1, max(args.boxes // 24, large.CLASSES))
        rows += large.compare_evaluation(small, args.detections, args.rounds)
    sizes = dict(images=args.images, boxes=args.boxes, batch=args.batch, workers=args.workers, rounds=args.rounds)
    rows = large.rows_with_protocol(rows, **sizes)
    write_csv(args.out, rows)
    for row in rows:
        print('{contender:<17} {measure:<15} {median:>8} ({least} to {most})   ratio {ratio} {difference}'.format(**row))
    print(f'written: {args.out}')
    return 0


if __name__ == '__main__':
    run(main)
