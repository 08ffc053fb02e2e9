"""Find the network for a budget: resolution, width and depth by the tiny formula (section 3.2 of the TinyNet paper).

    python tools/formula.py --budget 75M
    python tools/formula.py --budget 1.8G --base resnet50 --write-configs my_configs
    python tools/formula.py --latency-ms 5 --threads 1
    python tools/formula.py --budget 75M --frontier front.csv --save formula.json
    python tools/formula.py --published results/formula_published.csv

The formula is fitted to the five published TinyNets, or to the front of a sweep. A budget is a number of multiply-adds (75M),
parameters or activations, or milliseconds in ONNX Runtime on this machine, which takes one or two minutes to measure.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm.errors import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinynet_mm.archs import Arch
    from tinynet_mm.formula import Solution, TinyFormula
    from tinynet_mm.models import Classifier


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line ``argv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--budget', dest='macs', help='multiply-adds, like 75M or 1.8G')
    budget.add_argument('--params', help='parameters, like 3M')
    budget.add_argument('--activations', help='elements that convolutions and linear layers write for one image, like 2M')
    budget.add_argument('--latency-ms', type=float, help='milliseconds for one image in ONNX Runtime on this machine')
    budget.add_argument(
        '--published', type=Path, metavar='CSV', help='only write a table of the published TinyNets and the formula'
    )
    parser.add_argument('--base', default='efficientnet_b0', help='efficientnet_b0, resnet50, ghostnet_a, or a table (.json)')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--frontier', type=Path, help='fit to this front of a sweep (CSV with r, d, and c or macs)')
    source.add_argument('--formula', type=Path, help='use this formula, written by --save')
    parser.add_argument('--save', type=Path, help='save the formula (.json)')
    parser.add_argument('--classes', type=int, default=1000, help='classes of the classifier, which is part of the cost')
    parser.add_argument('--threads', type=int, default=1, help='threads for --latency-ms')
    parser.add_argument('--extrapolate', action='store_true', help='allow budgets outside the fitted range')
    parser.add_argument('--write-configs', type=Path, metavar='DIR', help='write an ImageNet and an SSDLite config')
    return parser.parse_args(argv)


def load_formula(args: argparse.Namespace, base: 'Arch') -> 'tuple[TinyFormula, str]':
    """The formula that the arguments choose, and its source in words."""
    from tinynet_mm.cost import cost
    from tinynet_mm.files import read_csv
    from tinynet_mm.formula import TinyFormula

    if args.formula:
        return TinyFormula.load(args.formula), f'read from {args.formula}'
    if not args.frontier:
        return TinyFormula.published(), 'fitted to the five published TinyNets (--frontier fits one to your sweep)'
    rows = read_csv(args.frontier, ('r', 'd'))
    formula = TinyFormula.fit(rows, None if 'c' in rows[0] else cost(base, classes=args.classes).macs)
    return formula, f'fitted to the {len(rows)} networks of {args.frontier}'


def solve(args: argparse.Namespace, formula: 'TinyFormula', base: 'Arch') -> 'Solution':
    """Solve by counting, or for milliseconds by measuring (only measuring loads torch)."""
    from tinynet_mm.formula.budget import parse_budget
    from tinynet_mm.formula.solve import cost_meter

    if args.latency_ms is None:
        quantity = next(name for name in ('macs', 'params', 'activations') if getattr(args, name))
        budget, meter = parse_budget(getattr(args, quantity)), cost_meter(quantity, args.classes)
        return formula.solve(budget, base, meter, args.extrapolate, args.classes)
    from tinynet_mm.deploy.latency import latency_meter

    print('measuring networks on this machine ...', file=sys.stderr, flush=True)
    meter = latency_meter(builder(args), args.threads)
    return formula.solve(args.latency_ms, base, meter, args.extrapolate, args.classes)


def builder(args: argparse.Namespace) -> 'Callable[[Arch], Classifier]':
    """A function that builds the classifier of a network."""
    from mmengine.registry import MODELS

    from tinynet_mm.formula.configs import backbone
    from tinynet_mm.models import Classifier

    return lambda arch: Classifier(MODELS.build(backbone(arch)), args.classes)


def measured(args: argparse.Namespace, solution: 'Solution') -> list[str]:
    """Lines with the measured times of the network and of its published neighbours."""
    from tinynet_mm.archs import preset
    from tinynet_mm.deploy.latency import compare
    from tinynet_mm.formula.report import timings
    from tinynet_mm.paper.printed import BUILT, neighbours

    published = [row for row in neighbours(solution.cost.macs, solution.arch.family) if row.name in BUILT]
    archs = {f'{row.name}, {row.top1} % in the paper': preset(BUILT[row.name]) for row in published}
    found = compare({'THIS NETWORK, untrained': solution.arch, **archs}, builder(args), args.threads)
    return timings({name: latency.row() for name, latency in found.items()})


def write_published(path: Path) -> int:
    """Print and write the table of the published TinyNets and the formula; returns the exit status."""
    from tinynet_mm.files import write_csv
    from tinynet_mm.paper.comparison import published_table

    rows = published_table()
    for row in rows:
        print('{name}  r {r_published} {r_formula}  d {d_published} {d_formula}  MACs {macs_difference:+.2%}'.format(**row))
    print(f'written: {write_csv(path, rows)}')
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    args = parse_arguments(argv)
    if args.published:
        return write_published(args.published)
    from tinynet_mm.formula.bases import load_base
    from tinynet_mm.formula.configs import write_configs
    from tinynet_mm.formula.report import compare_published, describe, warnings

    base = load_base(args.base)
    formula, source = load_formula(args, base)
    solution = solve(args, formula, base)
    lines = describe(solution, source) + compare_published(solution) + (measured(args, solution) if args.latency_ms else [])
    print('\n'.join(lines))
    for warning in warnings(solution, formula):
        print(f'warning: {warning}', file=sys.stderr)
    written = [formula.save(args.save)] if args.save else []
    written += write_configs(solution, args.write_configs, args.classes) if args.write_configs else []
    for path in written:
        print(f'written: {path}')
    return 0


if __name__ == '__main__':
    run(main)
