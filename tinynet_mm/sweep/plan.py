"""Choose the networks of a sweep: random networks (figures 1 and 2) and those of the compared rules (table 1, figure 6).

TinyNet (NeurIPS 2020), section 3.2 and 4.2: r, w and d are drawn from 0.35 to 2.8, and networks with 0.03 to 1.05 of the
FLOPs of the base are kept; section 3.1: at one budget, within 3 %. Section 4.2 compares the tiny formula with the inverted giant
formula and with r, d or w alone, at one budget.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..archs import Arch, Scaling, scale
from ..cost import cost
from ..errors import UserError
from ..files import read_csv, write_csv, write_text
from ..formula.near import CLOSE, closest, miss
from ..formula.sampling import BOUNDS, sample_band, sample_budget
from ..formula.solve import Step, cost_meter, giant, keeps_ends, single, solve
from ..formula.tiny import TinyFormula
from ..mmlab.configs import check_text
from .folder import COMMAND, RANDOM, RULES, Settings, Sweep, scaling_of

BAND = (0.03, 1.05)
REACH = 0.15  # by which r and d of a compared network may change to meet the budget, as a share of them


def sample(
    sweep: Sweep,
    cfg: Config,
    count: int,
    seed: int = 0,
    c: float | None = None,
    band: tuple[float, float] = BAND,
    add: bool = False,
) -> list[dict]:
    """Write recipe.py and samples.csv with ``count`` random networks.

    Args:
        sweep: the directory.
        cfg: the complete training config, with ``sweep = dict(base=, resolution=, resolution_keys=)``.
        count: number of networks.
        seed: seed of the draws and of the trainings.
        c: draw networks with ``c`` times the MACs of the base; None draws from the band.
        band: lowest and highest MACs, as shares of those of the base.
        add: append to the networks of an existing sweep, with the recipe of that sweep.

    Returns:
        the new rows.

    Raises:
        UserError: the sweep exists and ``add`` is False, or the band or the budget has too few networks.
    """
    path = sweep.path / 'samples.csv'
    if path.exists() and not add:
        raise UserError(f'{path} exists already; draw more networks for it with --add, or give another directory.')
    known = sweep.samples() if path.exists() else []
    cfg = sweep.recipe() if known else cfg
    settings = Settings.of(cfg, 'the config')
    rows = _unknown(_draw(settings, count, seed, c, band), known, settings.base)
    start = _first_free(known)
    new = [_row(f'net{start + i:03d}', RANDOM, seed, c, keeps_ends(settings.base), row) for i, row in enumerate(rows)]
    if not known:
        check_text(str(sweep.path), 'the folder of the sweep')
        write_text(sweep.path / 'recipe.py', cfg.pretty_text)
    write_csv(path, known + new)
    return new


def _draw(settings: Settings, count: int, seed: int, c: float | None, band: tuple[float, float]) -> list[dict]:
    base, rng = settings.base, np.random.default_rng(seed)
    if c is None:
        return sample_band(count, rng, base, *band, classes=settings.classes)
    smallest = scale(base, Scaling(BOUNDS[0], BOUNDS[0], BOUNDS[0], keeps_ends(base)))
    least = cost(smallest, classes=settings.classes).macs / cost(base, classes=settings.classes).macs
    if c < least:
        raise UserError(
            f'{base.name} cannot shrink to {c:g} of its MACs: with r, w and d at {BOUNDS[0]} it still costs {least:.3f} of them. '
            'Give that budget or more, or use a base with fewer stages or a smaller stem and head.'
        )
    return sample_budget(count, rng, base, c, CLOSE, classes=settings.classes)


def _row(name: str, method: str, seed: int, target: float | None, fixed_ends: bool, numbers: dict) -> dict:
    head = dict(name=name, method=method, seed=seed, target='' if target is None else target, fixed_ends=int(fixed_ends))
    return head | {key: numbers[key] for key in ('r', 'w', 'd', 'resolution', 'c', 'macs', 'params', 'activations')}


def _unknown(new: list[dict], known: list[dict], base: Arch) -> list[dict]:
    """Return the networks that are not in the sweep after rounding (a seed used twice draws the same networks).

    Raises:
        UserError: all are in the sweep.
    """
    seen = {scale(base, scaling_of(row)) for row in known if row['method'] == RANDOM}
    ends = keeps_ends(base)
    fresh = [row for row in new if scale(base, Scaling(row['r'], row['w'], row['d'], ends)) not in seen]
    if not fresh:
        raise UserError('the sweep has all of these networks already; draw others with another --seed.')
    return fresh


def _first_free(known: list[dict]) -> int:
    """Return the number after the highest one in use: a name is never used twice, even if lines were deleted."""
    numbers = [int(match[1]) for row in known if (match := re.fullmatch(r'net(\d+)', str(row['name'])))]
    return max(numbers, default=-1) + 1


def compare(sweep: Sweep, budgets: Sequence[float], seeds: Sequence[int]) -> tuple[list[dict], list[dict]]:
    """Append the networks to compare at each of ``budgets`` (shares of the MACs of the base), with every seed.

    These are the network of every rule, and two networks of the search, which are trained again, because a network that was
    chosen for its accuracy has a lower one on average when it is trained again: ``best_random``, the best of the random networks
    that were drawn for this budget, and ``front_member``, the network of the front with these MACs, if there is one.

    Returns:
        the added rows, and a row of method, target and reason for each method that has no network of this budget (for instance
        the paper's "depth underflow"); ``left_out.csv`` has these too.

    Raises:
        UserError: a budget is not in (0, 1], there is no seed, or a network is in the sweep already.
        FileNotFoundError: the formula is not fitted yet.
    """
    if wrong := [target for target in budgets if not 0 < target <= 1]:
        raise UserError(
            f'{wrong[0]:g} is not a valid budget; give shares of the MACs of the base above 0 and up to 1, like 0.5 0.25.'
        )
    if not seeds:
        raise UserError('a comparison needs one seed or more; use three to measure the deviation.')
    formula, settings = TinyFormula.load(sweep.need('formula.json')), sweep.settings()
    front, rows = read_csv(sweep.need('front.csv'), ('r', 'w', 'd', 'c')), sweep.rows()
    known, added, left_out = sweep.samples(), [], []
    for target in budgets:
        methods = {method: partial(solved, method, target, settings, formula) for method in RULES}
        methods |= dict(best_random=partial(best_random, rows, target), front_member=partial(front_member, front, target))
        for method, choose in methods.items():
            try:
                scaling = choose()
            except UserError as error:
                left_out.append(dict(method=method, target=target, reason=str(error)))
                continue
            added += [_compared(method, target, seed, scaling, settings) for seed in seeds]
    if twice := {row['name'] for row in known} & {row['name'] for row in added}:
        raise UserError(f'{sweep.path / "samples.csv"} has {min(twice)} already; compare at other budgets or with other seeds.')
    if added:
        write_csv(sweep.path / 'samples.csv', known + added)
    if left_out:
        _append(sweep.path / 'left_out.csv', left_out)
    return added, left_out


def free_seeds(sweep: Sweep, count: int) -> list[int]:
    """The first ``count`` seeds that no random network of the sweep has.

    With the seed of the search, a network that was chosen for its accuracy would only repeat the training that it was chosen for.
    """
    used = {row['seed'] for row in sweep.samples() if row['method'] == RANDOM}
    return [seed for seed in range(count + len(used)) if seed not in used][:count]


def remarks(added: Sequence[dict]) -> list[str]:
    """A sentence for each compared network that misses its budget by more than 1 %, or that is changed to meet it."""
    found = []
    for row in {(row['method'], row['target']): row for row in added}.values():
        name = f'{row["method"]} at {row["target"]:g}'
        if abs(row['c'] / row['target'] - 1) > CLOSE:
            found.append(f'{name} is {row["c"]:.3f} of the MACs of the base, its nearest network')
        if row['method'] == 'giant' and abs(math.log(row['w'], 1.1) - math.log(row['d'], 1.2)) > 0.1:
            found.append(f'{name} has r = {row["r"]:.3g}, w = {row["w"]:.3g} and d = {row["d"]:.3g}, to meet the budget')
        others = [f'{key} = {row[key]:.4g}' for key in 'rwd' if key != row['method'] and row[key] != 1]
        if row['method'] in ('r', 'w', 'd') and others:
            found.append(f'{name} has {" and ".join(others)}, to meet the budget')
    return found


def solved(method: str, target: float, settings: Settings, formula: TinyFormula) -> Scaling:
    """Return the scaling by which ``method`` meets ``target`` times the MACs of the base.

    A small input makes the steps of r coarse (from 33 to 32 pixels the last maps of the base shrink from 2 x 2 to 1 x 1), those
    of d are blocks, and those of w at least 8 channels. So the other rules use the network with the smallest ratio to the budget,
    above or below it; if that misses the budget by more than 1 %, its other multipliers are changed until it meets it.

    Raises:
        UserError: the method cannot meet the budget.
    """
    base, classes = settings.base, settings.classes
    budget = target * cost(base, classes=classes).macs
    if method == 'tiny':
        low, high = formula.range
        if not low <= target <= high:
            raise UserError(f'the fitted front covers only {low:.3g} to {high:.3g} of the MACs of {base.name}.')
        return formula.solve(budget, base, classes=classes).scaling
    stairs = giant(base) if method == 'giant' else single(base, method)
    step, larger = solve(stairs, budget, cost_meter('macs', classes))
    chosen = larger if larger and larger.achieved / budget < budget / step.achieved else step
    return trimmed(base, chosen, budget, classes).scaling


def trimmed(base: Arch, step: Step, budget: float, classes: int) -> Step:
    """The network of ``step``, or if it misses ``budget`` MACs by more than 1 %, a similar one that meets them better.

    The width changes first, by a factor of up to 1.5, and where that is not enough r and d too, by up to ``REACH``.
    """
    if miss(step, budget) <= CLOSE:
        return step
    r, w, d = (float(getattr(step.scaling, name)) for name in 'rwd')
    limits, meter = (REACH * r, REACH * d), cost_meter('macs', classes)
    found, _ = closest(base, (r, d), limits, (w / 1.5, 1.5 * w), budget, meter, step.scaling.fixed_ends)
    return min(step, found, key=lambda other: miss(other, budget))


def best_random(rows: Sequence[dict], target: float) -> Scaling:
    """The network of ``rows`` that was drawn for the budget ``target`` and has the highest accuracy.

    Raises:
        UserError: no random network of this budget is trained.
    """
    drawn = [row for row in rows if row['method'] == RANDOM and row['target'] == target]
    if not drawn:
        raise UserError(f'no random network of this budget is trained; draw some: {COMMAND} sample DIR --add --budget {target:g}')
    return scaling_of(max(drawn, key=lambda row: row['accuracy']))


def front_member(front: Sequence[dict], target: float) -> Scaling:
    """The network of ``front`` within 1 % of ``target`` times the MACs of the base.

    Raises:
        UserError: the front has none.
    """
    closest = min(front, key=lambda row: abs(row['c'] / target - 1))
    if abs(closest['c'] / target - 1) > CLOSE:
        raise UserError(f'no network of the front has this budget; the closest one has {closest["c"]:.4f}.')
    return scaling_of(closest)


def _compared(method: str, target: float, seed: int, scaling: Scaling, settings: Settings) -> dict:
    arch = scale(settings.base, scaling)
    costs = cost(arch, classes=settings.classes)
    numbers = dict(r=scaling.r, w=scaling.w, d=scaling.d, resolution=arch.resolution, **costs._asdict())
    numbers['c'] = costs.macs / cost(settings.base, classes=settings.classes).macs
    return _row(f'{method}-{target:g}-s{seed}', method, seed, target, scaling.fixed_ends, numbers)


def _append(path: Path, rows: list[dict]) -> None:
    known = read_csv(path) if path.exists() else []
    write_csv(
        path, known + [row for row in rows if (row['method'], row['target']) not in {(k['method'], k['target']) for k in known}]
    )
