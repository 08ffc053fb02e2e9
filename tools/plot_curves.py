"""Draw learning curves from MMEngine's logs, of one or several trainings.

    python tools/plot_curves.py work_dirs/ssdlite_tinynet_e_coco                        # curves.png and curves.csv
    python tools/plot_curves.py work_dirs/a work_dirs/b --out a_b.pdf --keys loss,lr,bbox_mAP
    python tools/plot_curves.py work_dirs/a --watch                                     # redraw while it trains, until ctrl-C

Resumed trainings are joined, and validations are drawn at their epochs. A folder with several work directories draws all of them.
"""

import argparse
import time
from pathlib import Path

from tinynet_mm import cli, errors


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'work_dirs', nargs='+', type=cli.path, metavar='WORK_DIR', help='a work directory, a folder with several, or a log'
    )
    parser.add_argument(
        '--out',
        type=cli.path,
        default=Path('curves.png'),
        help='PNG, PDF or SVG by the suffix; a CSV file of the same name is written too',
    )
    parser.add_argument('--keys', help='keys separated by commas, like loss,lr,val/time,bbox_mAP (default: by the task)')
    parser.add_argument('--smoothing', type=float, default=0.6, help='weight of neighbours in the mean, 0 for none (default 0.6)')
    parser.add_argument('--watch', action='store_true', help='redraw when the log grows, until ctrl-C')
    return parser.parse_args(argv)


def draw(args: argparse.Namespace) -> str:
    """Draw once; returns the lines to print."""
    from tinynet_mm import plots

    keys = [key.strip() for key in args.keys.split(',') if key.strip()] if args.keys else None
    runs = plots.write_curves(args.work_dirs, args.out, keys, args.smoothing)
    notes = [f'note: {note}' for run in runs for note in run.notes]
    return '\n'.join([*notes, f'curves in {args.out}, numbers in {args.out.with_suffix(".csv")}'])


def watch(args: argparse.Namespace, seconds: float = 5.0) -> None:
    """Draw again when the logs grow; waits for the first line and the first validation."""
    from tinynet_mm import logs

    drawn = printed = None
    while True:
        state = logs.state(args.work_dirs)
        if state != drawn:
            try:
                message = draw(args)
            except errors.UserError as error:
                message = f'waiting: {error}'
            if message != printed:
                print(message, flush=True)
            drawn, printed = state, message
        time.sleep(seconds)


def main(argv: list[str] | None = None) -> int:
    """Draw the curves, once or until ctrl-C; returns the exit code."""
    args = parse_arguments(argv)
    from tinynet_mm import plots

    plots.check_suffix(args.out)
    plots.check_smoothing(args.smoothing)
    if not args.watch:
        print(draw(args))
        return 0
    try:
        watch(args)
    except KeyboardInterrupt:
        print(f'stopped watching; the last curves are in {args.out}')
    return 0


if __name__ == '__main__':
    errors.run(main)
