"""Measure the accuracy and the latency of a trained model in float and int8, in ONNX Runtime and OpenVINO.

    python tools/benchmark_int8.py configs/ssdlite_tinynet_d_lite_coco.py best.pth --data-root my_data --input-size 320
    python tools/benchmark_int8.py configs/cifar10/tinynet_e_lite_cifar10.py last.pth --data-root cifar10 --out int8.csv

The training images calibrate, and each file is measured on the split. Each runtime has a row of float and one of int8 with all
layers. If that one loses more than --max-drop points, the most sensitive blocks stay in float, 1, 2, 4, 8 or 16, and the first
file within --max-drop has a row too. The files run in turns, with one thread and one image. speedup is the ratio of the median of
float in the same runtime to that of int8; speedup_p10 and speedup_p90 are percentiles of the ratios of single runs. A speedup
below 1 means that int8 is slower on this machine.

The rows replace those of the same model, data, input size and machine in --out; other rows are kept.
"""

import argparse
from functools import partial
from pathlib import Path

from tinynet_mm import cli

SHOWN = ('variant', 'runtime', 'value_percent', 'drop_points', 'median_ms', 'p95_ms', 'processor_ms', 'speedup')
SHOWN = (*SHOWN, 'speedup_p10', 'speedup_p90', 'bytes')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='split for the accuracy (default %(default)s)')
    parser.add_argument('--limit', type=cli.positive, help='use only the first images of the split, or of each class')
    parser.add_argument('--max-drop', type=cli.points, default=1.0, help='largest loss of int8 in points (default %(default)s)')
    parser.add_argument('--runs', type=cli.positive, default=200, help='timed runs of each file (default %(default)s)')
    parser.add_argument('--warmup', type=int, default=20, help='runs before the timed ones (default %(default)s)')
    parser.add_argument('--out', type=cli.path, default=Path('results/int8.csv'), help='CSV file (default %(default)s)')
    args = parser.parse_args(argv)
    if not args.data_root:
        parser.error('--data-root is needed, for calibration and accuracy')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tabulate import tabulate

    from tinynet_mm.bench import int8
    from tinynet_mm.bench.latency import Protocol
    from tinynet_mm.deploy.evaluation import of_data_root
    from tinynet_mm.mmlab.inference import classes_of
    from tinynet_mm.mmlab.trained import load_trained

    int8.earlier_rows(args.out)
    trained = load_trained(args.config, args.checkpoint, args.data_root, args.input_size, args.split, args.cfg_options, cli.note)
    limits = dict(split=args.split, limit=args.limit)
    evaluation = of_data_root(args.data_root, classes_of(trained.model), **trained.functions(), **limits)
    protocol = Protocol(runs=args.runs, warmup=args.warmup)
    rounds = partial(cli.progress, title='rounds')
    rows = int8.compare(trained, evaluation, protocol, args.max_drop, partial(print, flush=True), rounds)
    rows = [dict(row, data=args.data_root.name, split=args.split) for row in rows]
    print(tabulate([[row[key] for key in SHOWN] for row in rows], SHOWN))
    print('{metric} of {images} images; {threads} thread, {runs} runs after {warmup}; load {load}; {machine}'.format(**rows[0]))
    print(f'written: {int8.update(args.out, rows)}')
    return 0


if __name__ == '__main__':
    cli.run(main)
