"""Collect finished trials and fit the formula: rows.csv, the best networks (front.csv), the tiny formula (formula.json).

TinyNet (NeurIPS 2020), section 3.2: the best 20 % by non-dominated sorting, Spearman's rank correlations, Gaussian processes.
"""

import math
from dataclasses import dataclass

from ..errors import UserError
from ..files import write_csv
from ..formula.frontier import frontier, spearman_texts
from ..formula.report import held_out
from ..formula.tiny import TinyFormula
from .folder import COMMAND, RANDOM, Sweep, first_line, read_result

KEPT = ('accuracy', 'test_accuracy', 'epochs', 'images', 'seconds', 'cpu_seconds', 'device', 'torch')


@dataclass(frozen=True)
class Collected:
    """Rows with accuracies, the number of networks without one, and a sentence for each failed trial or incomplete result."""

    rows: list[dict]
    missing: int
    remarks: list[str]


def collect(sweep: Sweep) -> Collected:
    """Write rows.csv: the samples that are done, with accuracy (top-1, per cent), wall-clock and CPU seconds.

    Results that are incomplete or not a number are left out, with a remark.

    Raises:
        UserError: no trial is done.
    """
    samples, rows, remarks = sweep.samples(), [], []
    for sample in samples:
        folder = sweep.trial(sample['name'])
        try:
            result = read_result(folder)
        except UserError as error:
            remarks.append(str(error))
            continue
        if result is None:
            if (folder / 'error.txt').is_file():
                remarks.append(f'{sample["name"]} failed: {first_line(folder / "error.txt")}')
            continue
        kept = {key: result.get(key, '') for key in KEPT}
        kept |= {key: round(kept[key], 4) for key in KEPT[:2] if kept[key] != ''}  # float32 has no more digits
        rows.append(sample | kept)
    if not rows:
        raise UserError(
            f'none of the {len(samples)} networks of {sweep.path} is trained yet; train them with: {COMMAND} run {sweep.path}'
        )
    write_csv(sweep.path / 'rows.csv', rows)
    return Collected(rows, len(samples) - len(rows), remarks)


@dataclass(frozen=True)
class Fitted:
    """The best networks, their rank correlations with MACs, and the formula fitted to them."""

    front: list[dict]
    spearman: dict[str, str]
    formula: TinyFormula

    @property
    def error(self) -> str:
        """The held-out error of the formula in words."""
        return held_out(self.formula)


def fit(sweep: Sweep, share: float = 0.2) -> Fitted:
    """Write front.csv, the best ``share`` of the random networks, and formula.json, the tiny formula fitted to them.

    Networks that were drawn for one budget (figure 2) are left out: they would be most of the front near it.

    Raises:
        UserError: there are fewer than five networks, all have one budget, or a value is not a number.
    """
    random = [row for row in sweep.rows() if row['method'] == RANDOM and row['target'] == '']
    if not random:
        raise UserError(
            f'{sweep.path / "rows.csv"} has no random networks of a band of budgets; '
            f'draw some with: {COMMAND} sample {sweep.path} --add -n 24'
        )
    front = frontier(random, share)
    if len(front) < 5 <= len(random):
        raise UserError(
            f'the best {share:.0%} of {len(random)} random networks are a front of {len(front)}, and a fit needs five; '
            f'use --share {math.ceil(500 / len(random)) / 100:g} or more, or draw more with: '
            f'{COMMAND} sample {sweep.path} --add -n 24'
        )
    formula = TinyFormula.fit(front)
    write_csv(sweep.path / 'front.csv', front)
    formula.save(sweep.path / 'formula.json')
    return Fitted(front, spearman_texts(front), formula)
