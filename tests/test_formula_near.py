"""A budget is met within one percent: r and d move to the nearest network that meets it, within their uncertainty."""

from dataclasses import replace

import numpy as np
import pytest

from tinynet_mm.archs import EFFICIENTNET_B0, Arch, Stage, scale
from tinynet_mm.cost import cost
from tinynet_mm.errors import UserError
from tinynet_mm.formula import TinyFormula
from tinynet_mm.formula.bases import load_base
from tinynet_mm.formula.near import CLOSE, _neighbours
from tinynet_mm.formula.sampling import BOUNDS
from tinynet_mm.formula.solve import Meter, nearest, solve, widths


@pytest.fixture(scope='module')
def published():
    return TinyFormula.published()


def mobilenetv2() -> Arch:
    """The table of MobileNetV2 (Sandler et al., 2018, table 2), as a user would write it."""
    rows = [(16, 1, 1, 1), (24, 2, 2, 6), (32, 3, 2, 6), (64, 4, 2, 6), (96, 3, 1, 6), (160, 3, 2, 6), (320, 1, 1, 6)]
    stages = [
        Stage('separable' if t == 1 else 'inverted', channels, n, stride=s, **({} if t == 1 else dict(expansion=t)))
        for channels, n, s, t in rows
    ]
    return Arch('mobilenetv2', 'efficientnet', 224, stem=32, stages=tuple(stages), head=1280)


@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a', 'mobilenetv2'])
def test_any_budget_is_met_within_one_percent(published, base):
    """Over the complete range, with r and d within their uncertainty, and rounded values that build the same network."""
    base, moved = mobilenetv2() if base == 'mobilenetv2' else load_base(base), 0
    for budget in np.geomspace(*(c * cost(base).macs for c in published.range), 40):
        found = published.solve(budget, base)
        s, (r, d) = found.scaling, found.predicted
        assert abs(found.achieved / budget - 1) <= CLOSE and found.achieved == cost(scale(base, s)).macs
        assert abs(s.r - r) <= found.r_std + 0.5 / base.resolution and abs(s.d - d) <= found.d_std
        moved += (s.r, s.d) != (r, d)
    assert 0 < moved < 30


def test_a_budget_that_no_width_meets_is_met_by_a_neighbour_or_refused(published):
    """A base whose stem and head, which keep their width, are most of its cost: the smallest width costs more than the budget."""
    base = replace(EFFICIENTNET_B0, stem=512, head=4096)
    for budget in (185.9e6, 194.2e6, 202.9e6):
        with pytest.raises(UserError, match='cannot shrink'):
            solve(widths(base, *published.solve(budget, base).predicted), budget)
        found = published.solve(budget, base)
        assert abs(found.achieved / budget - 1) <= CLOSE and found.achieved == cost(scale(base, found.scaling)).macs
    with pytest.raises(UserError, match='efficientnet_b0 cannot shrink to 160.0M MACs'):
        published.solve(160e6, base)


def distance(found, r, d):
    """The squared distance from the prediction in deviations."""
    return ((r - found.predicted[0]) / found.r_std) ** 2 + ((d - found.predicted[1]) / found.d_std) ** 2


def test_r_and_d_move_no_further_than_needed(published):
    """Brute force over resolutions and depths: no network within 1 % of the budget is nearer to the prediction."""
    tried = 0
    for budget in np.geomspace(30e6, 330e6, 12):
        found = published.solve(budget)
        r, d = found.predicted
        limit = distance(found, found.scaling.r, found.scaling.d)
        for side in range(round(224 * (r - 0.06)), round(224 * (r + 0.06))):
            for depth in np.arange(d - 0.06, d + 0.06, 0.005):
                if distance(found, (side + 0.5) / 224, depth) < limit - 1e-4:  # values are rounded
                    tried += 1
                    step, _ = nearest(widths(EFFICIENTNET_B0, (side + 0.5) / 224, round(depth, 4)), budget)
                    assert abs(step.achieved / budget - 1) > CLOSE
    assert tried > 20


def test_a_measured_budget_is_not_moved(published):
    meter = Meter('ms', lambda arch: cost(arch).macs / 1e7, grid=0.01, protocol='a clock')
    found = published.solve(9.73, meter=meter)
    assert found.predicted == (found.scaling.r, found.scaling.d)


def test_neighbours_with_a_large_error_are_networks_that_can_be_sampled():
    pairs = _neighbours(EFFICIENTNET_B0, (0.7, 0.6), (0.5, 1.2))
    assert len(pairs) > 100 and all(BOUNDS[0] <= value <= BOUNDS[1] for pair in pairs for value in pair)


def test_a_largest_width_between_two_steps_of_the_grid_is_a_limit():
    for high in (0.75, 0.7504, 0.7518):
        with pytest.raises(UserError, match='cannot grow'):
            solve(widths(EFFICIENTNET_B0, 1, 1, 0.05, high), 1e12)
