"""Time networks in several runtimes on the CPU of this machine: the protocol is that of table 4 of the TinyNet paper.

    python tools/latency.py tinynet_a tinynet_e timm:lcnet_050 --runtime eager,onnx,openvino
    python tools/latency.py configs/ssdlite_tinynet_d_coco.py torchvision:mobilenet_v2 --runs 200 --out latency.csv
    python tools/latency.py configs/ssdlite_tinynet_e_coco.py@320    # a detector with another input size
    python tools/latency.py detector.onnx detector.xml --image photo.jpg

A MODEL is a preset, timm:NAME, torchvision:NAME, a config (.py or package::name), or a file from tools/export.py (.onnx, .xml,
.param). All networks and runtimes take turns. mean_ms is the time of one batch; with --image, that of an exported detector from
the image file to boxes, and its parts are pre_ms, network_ms and post_ms. roof_ms is the time of the multiply-adds of the network
at the rate of a float32 matrix product in the same run (median), and times_roof is the median of the network divided by it.
Without torch, exported files are timed, and these two columns are empty. The int8 runtimes calibrate on random images: the times
are those of int8, the outputs are of no use.
"""

import argparse
from functools import partial
from importlib.util import find_spec

from tinynet_mm import cli

SHOWN = ('model', 'runtime', 'precision', 'mean_ms', 'median_ms', 'p95_ms', 'processor_ms', 'pre_ms', 'network_ms', 'post_ms')
SHOWN = (*SHOWN, 'roof_ms', 'times_roof')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(parser.add_argument('models', nargs='*', metavar='MODEL', help='networks to time'))
    known = 'some of eager, compile, onnx, openvino, ncnn, onnx-int8, openvino-int8 (default %(default)s)'
    parser.add_argument('--runtime', default='eager,onnx,openvino', help=known)
    parser.add_argument('--threads', type=cli.positive, default=1, help='threads inside an operator (default %(default)s)')
    parser.add_argument('--batch', type=cli.positive, default=1, help='images in a batch (default %(default)s)')
    parser.add_argument('--runs', type=cli.positive, default=1000, help='timed runs of each contender (default %(default)s)')
    parser.add_argument('--warmup', type=int, default=50, help='runs before the timed ones (default %(default)s)')
    parser.add_argument('--image', type=cli.path, help='image file for the time from file to boxes of exported detectors')
    parser.add_argument(
        '--reference', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help="also time mmdet's inference_detector on --image"
    )
    parser.add_argument('--out', type=cli.path, help='CSV file for the table with its protocol')
    args = parser.parse_args(argv)
    if not args.models and not args.reference:
        parser.error('give at least one MODEL, or --reference')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tabulate import tabulate

    from tinynet_mm.bench import exported
    from tinynet_mm.files import check_writable, write_csv

    if args.out:
        check_writable(args.out)
    protocol = exported.Protocol(args.threads, args.batch, args.runs, args.warmup, args.image)
    runtimes = list(dict.fromkeys(filter(None, args.runtime.split(','))))
    progress = partial(cli.progress, title='rounds')
    if all(map(exported.is_file, args.models)) and not args.reference and find_spec('torch') is None:
        rows = exported.compare_files(args.models, runtimes, protocol, cli.note, progress)
    else:
        from tinynet_mm.bench.latency import compare

        reference = tuple(args.reference) if args.reference else None
        rows = compare(args.models, runtimes, protocol, reference, cli.note, progress)
    print(tabulate([[row[key] for key in SHOWN] for row in rows], SHOWN))
    first = rows[0]
    product = f'matrix product {first["gemm_gmacs_per_s"]} GMACs/s' if first['gemm_gmacs_per_s'] else 'no roof without torch'
    print('{threads} thread(s), batch {batch}, {runs} runs after {warmup}; {0}; load {load}; {machine}'.format(product, **first))
    if args.out:
        print(f'written: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    cli.run(main)
