"""A solution as lines of text: the network for a budget, its cost, its published neighbours and measured times."""

import math
from collections.abc import Iterable

from ..archs import Arch
from ..paper.printed import neighbours
from .budget import amount, readable
from .process import FOLDS
from .tiny import Solution, TinyFormula


def describe(solution: Solution, formula: TinyFormula, source: str) -> list[str]:
    """Lines with the dimensions and their deviations, the network, its cost against the budget, and the next wider network.

    ``source`` says where the formula comes from.
    """
    s, arch, found = solution.scaling, solution.arch, solution.cost
    side = f'{arch.resolution} px'
    how, form = (', the least time of a run', f'as a classifier of {side}: ') if solution.protocol else ('', '')
    deviation = f'{solution.achieved / solution.budget - 1:+.1%} of the budget'
    lines = [
        f'formula    {source}',
        f'error      {held_out(formula)}',
        f'budget     {amount(solution.budget, solution.unit)} from {solution.base}, c = {solution.c:.3g}',
        f'r = {s.r:g} ± {solution.r_std:.2g}   d = {s.d:g} ± {solution.d_std:.2g}   w = {s.w:g} ± {solution.w_std:.2g}',
        f'network    {layout(arch)}' if solution.protocol else f'network    {side}; {layout(arch)}',
        f'cost       {amount(solution.achieved, solution.unit)}{how} ({deviation}); {form}'
        f'{readable(found.macs)} MACs, {readable(found.params)} parameters, {readable(found.activations)} activations',
    ]
    if solution.protocol:
        lines.insert(3, f'measured   {solution.protocol}')
    if solution.predicted != (s.r, s.d):
        r, d = solution.predicted
        lines.append(f'moved      from r = {r:g} and d = {d:g}, at which no width is within 1 % of the budget')
    if step := solution.next_step:
        difference = f'{step.achieved / solution.budget - 1:+.1%}'
        lines.append(f'next wider w = {step.value:g} costs {amount(step.achieved, solution.unit)} ({difference})')
    return lines


def held_out(formula: TinyFormula) -> str:
    """The error of the fit at networks that are left out of it."""
    out = 'one network' if len(formula.r.x) <= FOLDS else f'one of {FOLDS} parts of the networks'
    return f'r {formula.r.error:.2g}, d {formula.d.error:.2g}: root mean square of leaving out {out} at a time'


def layout(arch: Arch) -> str:
    """The widths and repeats of the stages of a network."""
    widths, repeats = (_row(getattr(stage, name) for stage in arch.stages) for name in ('channels', 'repeats'))
    return f'widths {widths}; repeats {repeats}'


def warnings(solution: Solution, formula: TinyFormula) -> list[str]:
    """Reasons to doubt the network: extrapolation, or a width outside the paper's range; often empty."""
    found = []
    if solution.extrapolated:
        low, high = formula.range
        far = ', '.join(
            f'{p.distance(math.log(solution.c)):.1f} length scales of {n}' for n, p in (('r', formula.r), ('d', formula.d))
        )
        found.append(
            f'c = {solution.c:.3g} is outside the fitted range, {low:.3g} to {high:.3g}, by a factor of '
            f'{max(low / solution.c, solution.c / high):.2g} ({far}): this is extrapolated along a straight line in log c.'
        )
    if not 0.35 <= solution.scaling.w <= 2.8:
        found.append(f'w = {solution.scaling.w:g} is outside 0.35 to 2.8, the range of widths that the paper explored.')
    return found


def compare_published(solution: Solution) -> list[str]:
    """Lines with the network and the published networks nearest in MACs; the accuracies are the paper's."""
    published = neighbours(solution.cost.macs, solution.arch.family)
    lines = [f'among the published networks ({published[0].dataset} top-1 as printed in the paper, not measured here):']
    rows = [(row.macs, row.params, f'{row.top1:.1f} %', f'{row.name} (table {row.table})') for row in published]
    rows.append((solution.cost.macs, solution.cost.params, '?', 'THIS NETWORK, untrained'))
    for macs, params, top1, name in sorted(rows, key=lambda row: row[0]):
        lines.append(f'  {readable(macs):>8} MACs  {readable(params) if params else "-":>7} parameters  {top1:>7}  {name}')
    return lines


def timings(times: dict[str, dict]) -> list[str]:
    """Lines with measured rows (of :class:`tinynet_mm.deploy.latency.Latency`) by name, after a line with their protocol."""
    first = next(iter(times.values()))
    lines = [
        'measured here, in turns: {runtime}, {threads} thread(s), batch {batch}, {precision}, {runs} runs, {machine}'.format(
            **first
        )
    ]
    for name, row in sorted(times.items(), key=lambda item: item[1]['processor_ms']):
        columns = 'wall {median_ms:6.2f} ms ({p10_ms:.2f} to {p90_ms:.2f})  processor {processor_ms:6.2f} ms'.format(**row)
        lines.append(f'  {columns}  {row["height"]}x{row["width"]} px  {name}')
    if any(row['median_ms'] > 1.3 * row['processor_ms'] for row in times.values() if row['threads'] == 1):
        lines.append('  other programs are running: the wall-clock time includes theirs, the processor time does not.')
    return lines


def _row(numbers: Iterable[int]) -> str:
    return ' '.join(map(str, numbers))
