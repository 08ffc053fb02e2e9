"""Train a TinyNet detector on drawn shapes in about five minutes on a CPU: draw a data set, train, test, plot.

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

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'ssdlite_tinynet_e_coco.py'
# All shapes have one scale and are complete, and there are many images, so crops and zooms only slow this training down.
NO_CROPS = [f'train_dataloader.dataset.pipeline.2.{setting}' for setting in ('min_ious=None', 'expand_prob=0')]
RATE = ['optim_wrapper.optimizer.lr=0.002', 'param_scheduler.1.eta_min=2e-5']  # with which the README's result was measured


def call(*command: str) -> None:
    """Run a tool; print its command before and its time after. Exit with its status if it fails."""
    print(f'\n$ python {shlex.join(command)}', flush=True)
    started = time.monotonic()
    if code := subprocess.run([sys.executable, *command], cwd=ROOT).returncode:
        sys.exit(code)
    print(f'({time.monotonic() - started:.0f} s)', flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the steps; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/demo', help='folder of all results (default %(default)s)')
    parser.add_argument('--epochs', default='12', help='number of training epochs (default %(default)s)')
    args = parser.parse_args(argv)
    data, size = f'{args.out}/data', ('--input-size', '256')
    call('tools/make_shapes.py', data, '--train', '800')
    given = (f'configs/{CONFIG}', '--data-root', f'{data}/coco', *size)
    schedule = ('--schedule', 'short', '--epochs', args.epochs, '--work-dir', args.out)
    call('tools/train.py', *given, *schedule, '--cfg-options', 'train_cfg.val_interval=3', *NO_CROPS, *RATE)
    best = max((ROOT / args.out).glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    checkpoint = str(best.relative_to(ROOT)) if best.is_relative_to(ROOT) else str(best)
    call('tools/test.py', given[0], checkpoint, *given[1:], '--out', args.out)
    call('tools/plot_curves.py', args.out, '--out', f'{args.out}/curves.png')
    metrics = json.loads((ROOT / args.out / 'metrics.json').read_text())['metrics']
    print(f'\nmAP {metrics["coco/bbox_mAP"]:.3f}, mAP at IoU 0.5 {metrics["coco/bbox_mAP_50"]:.3f} on the test split.')
    print(f'pictures: {args.out}/detections.png (ground truth and prediction) and {args.out}/curves.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
