"""Time the class activation maps of a folder against the forward and backward passes that they need.

    python tools/benchmark_cam.py configs/ssdlite_tinynet_d_coco.py CHECKPOINT folder/ --out results/cam_speed.csv
    OMP_NUM_THREADS=1 python tools/benchmark_cam.py ...                           # the same with one thread of torch

The ratio is the time of the folder, with reading, detecting, drawing and writing, to the time of the passes, in each round.
Only single-stage detectors are supported. Without a checkpoint the weights are random.
"""

import argparse

from tinynet_mm import cli
from tinynet_mm.files import check_writable, read_csv, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', metavar='CONFIG [CHECKPOINT] IMAGE_OR_FOLDER')
    parser.add_argument('--method', default='auto', help='method of the maps (default %(default)s)')
    parser.add_argument('--data-root', type=cli.path, help='COCO-format set the checkpoint was trained on')
    parser.add_argument('--input-size', type=int, help='side of the square input in pixels')
    parser.add_argument('--images', type=cli.positive, default=16, help='images of the folder to use (default %(default)s)')
    parser.add_argument('--batch', type=cli.positive, default=4, help='images per batch (default %(default)s)')
    parser.add_argument('--rounds', type=cli.positive, default=5, help='rounds after one for warm-up (default %(default)s)')
    parser.add_argument('--out', type=cli.path, help='CSV file to which the row is appended')
    args = parser.parse_intermixed_args(argv)

    from tinynet_mm.bench import cam as bench
    from tinynet_mm.bench.clock import protocol
    from tinynet_mm.cam import tasks
    from tinynet_mm.mmlab.configs import config_name

    if args.out:
        check_writable(args.out)
    config, checkpoint, paths = tasks.split_paths(args.paths)
    files = tasks.image_files(paths)[: args.images]
    loaded = tasks.load(config, checkpoint, args.data_root, args.input_size, random_weights=True)
    (explainer,) = tasks.Method(args.method).explainers(loaded.model)
    found = bench.measure(explainer, loaded.cfg, files, args.batch, args.rounds)
    row = dict(config=config_name(config), method=explainer.name, **found, device='cpu', precision='fp32', **protocol())
    print('\n'.join(f'{key:20} {value}' for key, value in row.items()))
    if args.out:
        earlier = read_csv(args.out) if args.out.exists() else []
        columns = dict.fromkeys(key for each in (*earlier, row) for key in each)
        write_csv(args.out, [*earlier, row], list(columns))
    return 0


if __name__ == '__main__':
    cli.run(main)
