"""Find the network for a budget: resolution, width and depth by the tiny formula (section 3.2 of the TinyNet paper).

    python tools/formula.py --budget 75M
    python tools/formula.py --budget 1.8G --base resnet50 --write-configs my_configs
    python tools/formula.py --latency-ms 5 --threads 1 --runtime openvino
    python tools/formula.py --latency-ms 55 --config configs/ssdlite_tinynet_d_coco.py
    python tools/formula.py --budget 75M --frontier front.csv --save formula.json
    python tools/formula.py --published results/formula_published.csv

The formula is fitted to the five published TinyNets, or to the front of a sweep. A budget is a number of multiply-adds (75M),
parameters or activations, or milliseconds in a runtime on this machine, which takes some minutes to measure. Milliseconds are
those of a bare classifier, or of the model of --config with its backbone replaced. A detector keeps the input size of its config:
r then selects depth and width only.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm import cli

if TYPE_CHECKING:
    from tinynet_mm.archs import Arch
    from tinynet_mm.bench.targets import Target
    from tinynet_mm.formula import Solution, TinyFormula
    from tinynet_mm.formula.solve import Meter

RUNTIMES = ('onnx', 'openvino', 'ncnn', 'eager', 'compile', 'onnx-int8', 'openvino-int8')
BASE, CLASSES = 'efficientnet_b0', 1000


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line ``argv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--budget', dest='macs', help='multiply-adds, like 75M or 1.8G')
    budget.add_argument('--params', help='parameters, like 3M')
    budget.add_argument('--activations', help='elements that convolutions and linear layers write for one image, like 2M')
    budget.add_argument('--latency-ms', type=float, help='milliseconds for one image on this machine')
    budget.add_argument(
        '--published',
        type=cli.path,
        metavar='CSV',
        help='only write a table of the published TinyNets and the formula fitted to them',
    )
    parser.add_argument('--base', help='efficientnet_b0 (default), resnet50, ghostnet_a, or a table (.json)')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--frontier', type=cli.path, help='fit to this front of a sweep (CSV with r, d, and c or macs)')
    source.add_argument('--formula', type=cli.path, help='use this formula, written by --save')
    parser.add_argument('--save', type=cli.path, help='save the formula (.json)')
    parser.add_argument('--classes', type=int, default=CLASSES, help='classes of the classifier, which is part of the cost')
    parser.add_argument('--config', help='classifier or detector to measure for --latency-ms; sets --base')
    parser.add_argument('--runtime', choices=RUNTIMES, help='runtime for --latency-ms (default onnx)')
    parser.add_argument('--threads', type=int, default=1, help='threads for --latency-ms')
    parser.add_argument('--extrapolate', action='store_true', help='allow budgets outside the fitted range')
    parser.add_argument('--write-configs', type=cli.path, metavar='DIR', help='write configs for ImageNet and two detectors')
    args = parser.parse_args(argv)
    if args.latency_ms is None and (args.config or args.runtime):
        parser.error('--config and --runtime are for budgets in milliseconds; give --latency-ms')
    return args


def load_formula(args: argparse.Namespace, base: 'Arch', classes: int) -> 'tuple[TinyFormula, str]':
    """The formula that the arguments choose, and its source in words."""
    from tinynet_mm.cost import cost
    from tinynet_mm.files import read_csv
    from tinynet_mm.formula import TinyFormula

    if args.formula:
        return TinyFormula.load(args.formula), f'read from {args.formula}'
    if not args.frontier:
        return TinyFormula.published(), 'fitted to the five published TinyNets (--frontier fits one to your sweep)'
    rows = read_csv(args.frontier, ('r', 'd'))
    formula = TinyFormula.fit(rows, None if 'c' in rows[0] else cost(base, classes=classes).macs)
    return formula, f'fitted to the {len(rows)} networks of {args.frontier}'


def find_target(args: argparse.Namespace) -> 'Target':
    """What --latency-ms is measured on; its packages and threads are checked first (only measuring loads torch)."""
    from tinynet_mm.bench.targets import bare_classifier, of_config
    from tinynet_mm.deploy.latency import check_runtime
    from tinynet_mm.formula.bases import load_base

    check_runtime(args.runtime or RUNTIMES[0])
    if args.config:
        return of_config(args.config, args.base, args.classes)
    return bare_classifier(load_base(args.base or BASE), args.classes)


def latency_meter(args: argparse.Namespace, target: 'Target') -> 'Meter':
    """The meter of milliseconds; prints a line for each network that it measures."""
    from tinynet_mm.deploy import latency

    def note(text: str) -> None:
        print(f'measuring: {text}', file=sys.stderr, flush=True)

    return latency.latency_meter(target.build, args.runtime or RUNTIMES[0], args.threads, target.name, note)


def cost_meter(args: argparse.Namespace) -> 'tuple[int, Meter]':
    """The budget that is counted, and its meter."""
    from tinynet_mm.formula.budget import parse_budget
    from tinynet_mm.formula.solve import cost_meter

    quantity = next(name for name in ('macs', 'params', 'activations') if getattr(args, name) is not None)
    return parse_budget(getattr(args, quantity)), cost_meter(quantity, args.classes)


def measured(args: argparse.Namespace, solution: 'Solution', target: 'Target') -> list[str]:
    """Lines with the measured times of the network, of that of the config, and of the published neighbours of a classifier."""
    from tinynet_mm.bench.targets import contenders
    from tinynet_mm.deploy.latency import compare
    from tinynet_mm.formula.report import timings

    found = compare(contenders(target, solution), args.runtime or RUNTIMES[0], args.threads)
    return timings({name: latency.row() for name, latency in found.items()})


def write_published(path: Path) -> int:
    """Print and write the table of the published TinyNets and the formula; returns the exit status."""
    from tinynet_mm.files import write_csv
    from tinynet_mm.paper.comparison import published_lines, published_table

    rows = published_table()
    print('\n'.join(published_lines(rows)))
    print(f'written: {write_csv(path, rows)}')
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    args = parse_arguments(argv)
    if args.published:
        return write_published(args.published)
    from tinynet_mm.formula.bases import load_base
    from tinynet_mm.formula.configs import check_classes, write_configs
    from tinynet_mm.formula.report import compare_published, describe, warnings

    target = find_target(args) if args.latency_ms is not None else None
    base, classes = (target.base, target.classes) if target else (load_base(args.base or BASE), args.classes)
    if args.write_configs:
        check_classes(classes)
    formula, source = load_formula(args, base, classes)
    budget, meter = (args.latency_ms, latency_meter(args, target)) if target else cost_meter(args)
    solution = formula.solve(budget, base, meter, args.extrapolate, classes)
    lines = describe(solution, formula, source) + ([] if target and target.detector else compare_published(solution))
    print('\n'.join(lines + (measured(args, solution, target) if target else [])))
    for warning in warnings(solution, formula):
        print(f'warning: {warning}', file=sys.stderr)
    written = [formula.save(args.save)] if args.save else []
    written += write_configs(solution, args.write_configs, classes) if args.write_configs else []
    for path in written:
        print(f'written: {path}')
    return 0


if __name__ == '__main__':
    cli.run(main)
