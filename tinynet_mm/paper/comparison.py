"""The tiny formula fitted to the five published TinyNets, at the costs of the same networks: how well it fits."""

from ..archs import PRESETS, Arch, preset
from ..cost import cost
from ..formula.budget import readable
from ..formula.tiny import Solution, TinyFormula
from .printed import BUILT, IMAGENET

PRINTED = {BUILT[row.name]: row.macs for row in sorted(IMAGENET, key=lambda row: row.name) if row.name.startswith('TinyNet')}


def published_table() -> list[dict]:
    """A row for each of TinyNet-A to E.

    Columns ``*_published`` are the multipliers of the authors' code, and MACs and parameters counted on them. ``*_formula`` is
    the formula at the counted MACs, to which it was fitted; ``*_at_printed`` at the MACs that table 3 prints. ``r_left_out`` and
    ``d_left_out`` are predictions by a fit to the other four networks: A and E are then extrapolated. Differences are ratios
    minus one. ``same_network`` says whether resolution and stages are equal after rounding.
    """
    formula = TinyFormula.published()
    return [_compare(formula, index, name) for index, name in enumerate(PRINTED)]


def published_lines(rows: list[dict]) -> list[str]:
    """The rows of :func:`published_table` as lines of text, and what they are."""
    form = (
        '{name}  r {r_published} fit {r_formula} left out {r_left_out}  '
        'd {d_published} fit {d_formula} left out {d_left_out}  MACs {macs_difference:+.2%}'
    )
    return [
        'The formula is fitted to these five networks, so "fit" is no prediction.',
        '"left out" is the prediction of a fit to the other four, which extrapolates to A and E.',
        *(form.format(**row) for row in rows),
        'At the multiply-adds that the paper prints, rounded to millions:',
        *(_at_printed(row) for row in rows),
    ]


def _at_printed(row: dict) -> str:
    same = 'the same network' if row['same_network_at_printed'] else 'another network'
    form = '{name}  {macs} MACs: r {r_at_printed} d {d_at_printed} w {w_at_printed}, {same}'
    return form.format(**row, macs=readable(row['macs_paper']), same=same)


def _compare(formula: TinyFormula, index: int, name: str) -> dict:
    theirs, printed = preset(name), PRINTED[name]
    counted = cost(theirs)
    found, again = formula.solve(counted.macs), formula.solve(printed)
    row: dict = dict(name=name, c=round(found.c, 4), macs_paper=printed)
    for dimension in 'rdw':
        published, value = (getattr(s, dimension) for s in (PRESETS[name][1], found.scaling))
        row |= _pair(dimension, published, value)
    for dimension, process in (('r', formula.r), ('d', formula.d)):
        error = process.held_out[index]
        row[f'{dimension}_left_out'] = round(process.y[index] + error, 4)
        row[f'{dimension}_left_out_difference'] = round(error / process.y[index], 4)
    for quantity in ('macs', 'params'):
        row |= _pair(quantity, getattr(counted, quantity), getattr(found.cost, quantity))
    row |= dict(same_network=_same(found, theirs))
    row |= {f'{dimension}_at_printed': getattr(again.scaling, dimension) for dimension in 'rdw'}
    return row | dict(macs_at_printed=again.cost.macs, same_network_at_printed=_same(again, theirs))


def _pair(name: str, published: float, value: float) -> dict:
    return {f'{name}_published': published, f'{name}_formula': value, f'{name}_difference': round(value / published - 1, 5)}


def _same(found: Solution, theirs: Arch) -> bool:
    return found.arch.stages == theirs.stages and found.arch.resolution == theirs.resolution
