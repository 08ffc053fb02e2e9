"""The tiny formula at the costs of the five published TinyNets, compared with the authors' multipliers."""

from ..archs import PRESETS, preset
from ..cost import cost
from ..formula.tiny import TinyFormula


def published_table(formula: TinyFormula | None = None) -> list[dict]:
    """A row for each of TinyNet-A to E, with the formula's result for its MACs; differences are ratios minus one.

    Published multipliers are those of the authors' code, MACs and parameters are counted, and ``macs_paper`` is printed in the
    paper. ``same_network`` says whether resolution and stages are equal after rounding. The default is the published formula.
    """
    formula = formula or TinyFormula.published()
    return [_compare(formula, letter, printed) for letter, printed in zip('abcde', (339, 202, 100, 52, 24))]


def _compare(formula: TinyFormula, letter: str, printed: int) -> dict:
    theirs, counted = preset(f'tinynet_{letter}'), cost(preset(f'tinynet_{letter}'))
    found = formula.solve(counted.macs)
    row = dict(name=theirs.name, c=round(found.c, 4), macs_paper=printed * 10**6)
    for dimension in 'rdw':
        published, value = (getattr(s, dimension) for s in (PRESETS[theirs.name][1], found.scaling))
        row |= {f'{dimension}_published': published, f'{dimension}_formula': value}
        row |= {f'{dimension}_difference': round(value / published - 1, 5)}
    row |= dict(r_std=round(found.r_std, 4), d_std=round(found.d_std, 4))
    for quantity in ('macs', 'params'):
        published, value = (getattr(c, quantity) for c in (counted, found.cost))
        row |= {f'{quantity}_published': published, f'{quantity}_formula': value}
        row |= {f'{quantity}_difference': round(value / published - 1, 5)}
    return row | dict(same_network=found.arch.stages == theirs.stages and found.arch.resolution == theirs.resolution)
