"""Fit a tiny formula to your own data: sample networks, train them, fit the formula to the best ones, compare, report.

    python tools/sweep.py sample  DIR --config configs/sweep/cifar10.py -n 24 --data-root data/cifar10
    python tools/sweep.py run     DIR --jobs 2                       # can be killed; the same command trains the rest
    python tools/sweep.py collect DIR
    python tools/sweep.py fit     DIR
    python tools/sweep.py compare DIR --budgets 0.5 0.25 --seeds 3   # then run and collect again
    python tools/sweep.py report  DIR

`run --engine ray` uses Ray instead of processes of this machine.
"""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from tinynet_mm import cli
from tinynet_mm.errors import UserError

if TYPE_CHECKING:
    from tinynet_mm.sweep.folder import Sweep

RECIPE = 'configs/sweep/cifar10.py'


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest='stage', required=True)
    commands = {name: stages.add_parser(name) for name in STAGES}
    for command in commands.values():
        command.add_argument('directory', type=cli.path, help='directory of the sweep')
    add = commands['sample'].add_argument
    add('--config', help=f'training recipe with its base network (default {RECIPE})')
    add('-n', '--count', type=int, default=24, help='networks to draw (default %(default)s)')
    add('--seed', type=int, default=0, help='seed of the draws and of the trainings (default %(default)s)')
    add('--budget', type=float, metavar='C', help='all networks at C times the MACs of the base (figure 2), not over the band')
    add('--band', type=float, nargs=2, default=(0.03, 1.05), metavar=('LOW', 'HIGH'), help='MACs as shares of the base')
    add('--add', action='store_true', help='draw more networks for an existing sweep')
    add('--data-root', type=cli.path, help='folder with train/CLASS/*.jpg and val/CLASS/*.jpg')
    cli.add_cfg_options(commands['sample'])
    add = commands['run'].add_argument
    add('--jobs', type=int, default=1, help='parallel trials on this machine, one thread each (default %(default)s)')
    add('--engine', choices=['local', 'ray'], default='local', help="ray needs: pip install 'ray==2.58.0'")
    add('--address', help='a Ray cluster, for instance auto or HOST:6379; without it Ray runs on this machine')
    add('--gpus-per-trial', type=float, default=0.0, help='with Ray: GPUs of a trial; with 0.25, four trials share a GPU')
    add(
        '--max-retries', type=int, default=3, help='with Ray: restarts of a trial whose worker or node died (default %(default)s)'
    )
    commands['fit'].add_argument('--share', type=float, default=0.2, help='best share of the networks (default %(default)s)')
    add = commands['compare'].add_argument
    add('--budgets', type=float, nargs='+', default=[0.5, 0.25], metavar='C', help='shares of the MACs of the base')
    add('--seeds', type=int, default=3, help='trainings of every network (default %(default)s)')
    return parser.parse_args(argv)


def _sample(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.mmlab import configs, editing
    from tinynet_mm.sweep import plan

    extends = args.add and (sweep.path / 'samples.csv').exists()
    if extends and (args.config or args.data_root or args.cfg_options):
        raise UserError(f'{sweep.path} has its recipe already; with --add, leave out --config, --data-root and --cfg-options.')
    if extends:
        cfg = sweep.recipe()
    else:
        cfg = configs.merge_options(configs.load_config(args.config or RECIPE), configs.parse_options(args.cfg_options))
    rows = plan.sample(
        sweep, editing.prepare(cfg, args.data_root, note=cli.note), args.count, args.seed, args.budget, tuple(args.band), args.add
    )
    shares = [row['c'] for row in rows]
    print(f'{len(rows)} networks of {min(shares):.3f} to {max(shares):.3f} of the MACs of the base: {sweep.path}/samples.csv')
    return 0


def _run(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.sweep import engines
    from tinynet_mm.sweep.trial import pending

    if args.engine == 'local' and (args.address or args.gpus_per_trial):
        raise UserError('--address and --gpus-per-trial need --engine ray; without Ray, use --jobs.')
    folders, remarks = pending(sweep)
    for remark in remarks:
        print(f'warning: {remark}', file=sys.stderr)
    ray = partial(engines.on_ray, address=args.address, gpus_per_trial=args.gpus_per_trial, retries=args.max_retries)
    macs = {str(row['name']): row['macs'] for row in sweep.samples()}
    progress = engines.Progress({folder.name: macs[folder.name] for folder in folders})
    print(f'{len(folders)} networks to train; logs: {sweep.path}/trials/NAME', flush=True)
    try:
        for outcome in (ray if args.engine == 'ray' else engines.local)(folders, args.jobs):
            print(progress.line(outcome), flush=True)
    except KeyboardInterrupt:
        print('stopped; the same command trains the rest.', file=sys.stderr)
        return 130
    if progress.unfinished:
        print(f'not done: {", ".join(progress.unfinished)}; logs: {sweep.path}/trials; the same command tries them again')
        return 1
    print(f'all done; results: {sweep.path}/trials')
    return 0


def _collect(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.sweep import results

    collected = results.collect(sweep)
    for remark in collected.remarks:
        print(f'warning: {remark}', file=sys.stderr)
    missing = f', {collected.missing} not done' if collected.missing else ''
    print(f'{len(collected.rows)} trained networks{missing}: {sweep.path}/rows.csv')
    return 0


def _fit(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.sweep import results

    fitted = results.fit(sweep, args.share)
    ranks = ', '.join(f'{name} {value}' for name, value in fitted.spearman.items())
    print(f'front of {len(fitted.front)} networks; rank correlation with MACs (Spearman, 95 % interval): {ranks}')
    print(f'error of the fit: {fitted.error}\n{sweep.path}/front.csv, {sweep.path}/formula.json')
    return 0


def _compare(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.sweep import plan

    added, left_out = plan.compare(sweep, args.budgets, plan.free_seeds(sweep, args.seeds))
    for note in plan.remarks(added):
        print(f'note: {note}')
    for row in left_out:
        print(f'left out: {row["method"]} at {row["target"]:g}: {row["reason"]}')
    print(f'{len(added)} trainings added to {sweep.path}/samples.csv; train them with: tools/sweep.py run {sweep.path}')
    return 0


def _write_report(sweep: 'Sweep', args: argparse.Namespace) -> int:
    from tinynet_mm.sweep import report

    page, notes = report.write(sweep)
    for note in notes:
        print(f'note: {note}')
    print(f'figures and page: {page}')
    return 0


STAGES = dict(sample=_sample, run=_run, collect=_collect, fit=_fit, compare=_compare, report=_write_report)


def main(argv: list[str] | None = None) -> int:
    """Run one stage of the sweep; returns the exit code."""
    args = parse_arguments(argv)
    from tinynet_mm.sweep.folder import Sweep

    return STAGES[args.stage](Sweep(args.directory), args)


if __name__ == '__main__':
    cli.run(main)
