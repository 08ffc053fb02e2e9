"""Train a TinyNet detector on drawn shapes on a CPU: draw a data set, train, test, plot.

    python tools/demo.py            # the command of `make demo`

Each step prints its command, so that you can repeat it on your own data.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

CONFIG = 'rtmdet_tinynet_e_coco'


def call(*command: str) -> None:
    """Run a command of tinynet; print it before and its time after. Exit with its status if it fails."""
    print(f'\n$ tinynet {shlex.join(command)}', flush=True)
    started = time.monotonic()
    if code := subprocess.run([sys.executable, '-m', 'tinynet_mm', *command]).returncode:
        sys.exit(code)
    print(f'({time.monotonic() - started:.0f} s)', flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the steps; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/demo', help='folder of all results (default %(default)s)')
    parser.add_argument('--epochs', default='12', help='number of training epochs (default %(default)s)')
    args = parser.parse_args(argv)
    data, size = f'{args.out}/data', ('--input-size', '256')
    call('shapes', data, '--train', '800')
    given = (CONFIG, '--data-root', f'{data}/coco', *size)
    schedule = ('--schedule', 'short', '--epochs', args.epochs, '--work-dir', args.out)
    call('train', *given, *schedule, '--from-scratch', '--cfg-options', 'train_cfg.val_interval=3')
    best = max(Path(args.out).glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    call('test', CONFIG, str(best), *given[1:], '--out', args.out)
    call('plot', args.out, '--out', f'{args.out}/curves.png')
    metrics = json.loads(Path(args.out, 'metrics.json').read_text())['metrics']
    print(f'\nmAP {metrics["coco/bbox_mAP"]:.3f}, mAP at IoU 0.5 {metrics["coco/bbox_mAP_50"]:.3f} on the test split.')
    print(f'pictures: {args.out}/detections.png (ground truth and prediction) and {args.out}/curves.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
