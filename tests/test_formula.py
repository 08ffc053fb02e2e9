"""The fit against the closed form of equation 4, the solver against brute force, and the published networks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tinynet_mm.archs import BASES, EFFICIENTNET_B0, PRESETS, Arch, Scaling, Stage, preset, scale
from tinynet_mm.cost import cost
from tinynet_mm.formula import TinyFormula, sample_budget
from tinynet_mm.formula.near import CLOSE
from tinynet_mm.formula.process import AMPLITUDE, FOLDS, LENGTH, NOISE, TREND, Process
from tinynet_mm.formula.solve import Meter, Staircase, cost_meter, giant, last_below, nearest, single, solve, widths
from tinynet_mm.formula.tiny import equation5
from tinynet_mm.paper.comparison import published_table
from tinynet_mm.paper.printed import IMAGENET, neighbours

B0 = cost(EFFICIENTNET_B0).macs
NOMINAL = (0.9, 0.5, 0.25, 0.13, 0.06)
TINYNETS = [f'tinynet_{letter}' for letter in 'abcde']


@pytest.fixture(scope='module')
def published():
    return TinyFormula.published()


def front(n=12, noise=0.0, seed=0):
    """Rows whose r and d follow a smooth law of log c."""
    rng = np.random.default_rng(seed)
    c = np.geomspace(0.04, 1.0, n)
    r, d = 0.9 + 0.12 * np.log(c) + noise * rng.standard_normal(n), 1.1 * c**0.25 + noise * rng.standard_normal(n)
    return [dict(c=float(ci), r=float(ri), d=float(di), macs=round(ci * B0)) for ci, ri, di in zip(c, r, d)]


# Gaussian process -------------------------------------------------------------------------------------------------------------


def kernel(a, b, p):
    smooth = np.exp(-((np.subtract.outer(a, b)) ** 2) / (2 * p.length**2))
    return TREND**2 * (1 + np.multiply.outer(a, b)) + p.amplitude**2 * smooth


def likelihood(p):
    """Log marginal likelihood of a process's own points, by the textbook's formula."""
    x, y = np.array(p.x), np.array(p.y)
    covariance = kernel(x, x, p) + p.noise**2 * np.eye(len(x))
    sign, logdet = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (y @ np.linalg.solve(covariance, y) + logdet + len(x) * np.log(2 * np.pi))


@pytest.mark.parametrize('noise', [None, 0.02])
def test_posterior_equals_equation_4(noise):
    rows = front(10, noise=0.03)
    x, y = np.log([row['c'] for row in rows]), np.array([row['r'] for row in rows])
    process = Process.fit(x, y, noise)
    at = np.linspace(-4, 0.5, 23)
    gain = kernel(at, x, process) @ np.linalg.inv(kernel(x, x, process) + process.noise**2 * np.eye(len(x)))
    mean, variance = gain @ y, np.diag(kernel(at, at, process) + process.noise**2 * np.eye(23) - gain @ kernel(x, at, process))
    found, deviation = process.predict(at)
    np.testing.assert_allclose(found, mean, rtol=1e-6)
    np.testing.assert_allclose(deviation, np.sqrt(variance), rtol=1e-5)
    assert noise is None or process.noise == pytest.approx(noise)


@pytest.mark.parametrize('sigma', [0.0, 0.05, 0.2])
def test_hyperparameters_have_the_highest_likelihood(sigma):
    """No point of a grid over the allowed box is more likely."""
    rows = front(15, noise=sigma, seed=1)
    process = Process.fit(np.log([row['c'] for row in rows]), [row['d'] for row in rows])
    best = likelihood(process)
    for amplitude in np.geomspace(*AMPLITUDE, 9):
        for length in np.geomspace(*LENGTH, 9):
            for noise in np.geomspace(*NOISE, 12):
                assert likelihood(replace(process, amplitude=amplitude, length=length, noise=noise)) <= best + 0.05


def test_noise_is_found():
    rows = front(60, noise=0.1, seed=2)
    assert TinyFormula.fit(rows).r.noise == pytest.approx(0.1, rel=0.3)
    assert TinyFormula.fit(front(60)).r.noise < 0.01


def test_the_band_holds_the_networks():
    """About 95 % of new networks are within two deviations of the mean."""
    formula, fresh = TinyFormula.fit(front(40, 0.08, 3)), front(400, 0.08, 4)
    at = formula.predict([row['c'] for row in fresh])
    inside = np.abs(at['r'] - [row['r'] for row in fresh]) < 2 * at['r_std']
    assert 0.9 < inside.mean() < 0.99


@pytest.mark.parametrize('noise', [None, 0.01])
def test_held_out_errors_are_those_of_fits_without_the_network(noise):
    rows = front(7, noise=0.05)
    x, y = np.log([row['c'] for row in rows]), np.array([row['r'] for row in rows])
    process = Process.fit(x, y, noise)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        mean, _ = Process.fit(x[others], y[others], noise).predict([x[i]])
        assert process.held_out[i] == pytest.approx(mean[0] - y[i], abs=2e-3)
    assert process.error == pytest.approx(np.sqrt(np.mean(np.square(process.held_out))))


def test_many_networks_are_held_out_in_parts():
    rows = front(3 * FOLDS, noise=0.1, seed=5)
    process = Process.fit(np.log([row['c'] for row in rows]), [row['r'] for row in rows])
    assert len(process.held_out) == 3 * FOLDS and process.error == pytest.approx(0.1, rel=0.25)


def test_outside_the_data_the_trend_continues():
    """A straight line in log c is continued two length scales beyond its points; a process of mean zero would return to zero."""
    x = np.linspace(-3, 0, 12)
    process = Process.fit(x, 1 + 0.2 * x, 0.01)
    for far in (-4.5, 1.5):
        mean, deviation = process.predict([far])
        assert mean[0] == pytest.approx(1 + 0.2 * far, abs=0.02) and deviation[0] > process.predict([-1.5])[1][0]
    assert process.distance(-1) == 0 and process.distance(1.5) == pytest.approx(1.5 / process.length)


def test_the_published_fit_states_its_held_out_error(published):
    """The trend lowers it: with mean zero, r misses the networks that are left out by 16.7 % (root mean square)."""
    assert published.r.error == pytest.approx(0.0556, abs=1e-3) and published.d.error == pytest.approx(0.0655, abs=1e-3)
    relative = np.array(published.r.held_out) / published.r.y
    assert np.sqrt(np.mean(relative**2)) == pytest.approx(0.069, abs=2e-3)
    assert published.solve(100e6).r_std == published.r.error


# Staircases -------------------------------------------------------------------------------------------------------------------


def stairs_of(base, kind):
    table = BASES[base]
    return widths(table, 0.7, 0.8, 0.1, 3.0) if kind == 'width' else giant(table) if kind == 'giant' else single(table, kind)


@pytest.mark.parametrize('quantity', ['macs', 'params', 'activations'])
@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a'])
@pytest.mark.parametrize('kind', ['width', 'giant'])
def test_solver_equals_brute_force(base, kind, quantity):
    stairs, meter = stairs_of(base, kind), cost_meter(quantity)
    grid = np.arange(round(stairs.low / meter.grid), round(stairs.high / meter.grid) + 1) * meter.grid
    scalings = [stairs.make(v) for v in grid]
    many = Scaling(*(np.array([getattr(s, n) for s in scalings]) for n in 'rwd'), fixed_ends=scalings[0].fixed_ends)
    costs = np.broadcast_to(getattr(cost(scale(stairs.base, many)), quantity), grid.shape)
    dips = np.diff(costs) < 0
    assert not dips.any() or base != 'efficientnet_b0'
    for budget in np.geomspace(costs[0] * 1.01, costs[-1] * 0.99, 12):
        step, larger = nearest(stairs, budget, meter)
        crossings = np.flatnonzero((costs[:-1] <= budget) & (costs[1:] > budget))
        assert len(crossings) == 1 or dips.any()
        pairs = [(costs[i], costs[i + 1]) for i in crossings]
        expected = [above if above <= 1.03 * budget and above - budget < budget - below else below for below, above in pairs]
        assert step.achieved in expected and step.achieved == meter.measure(step.arch)
        assert scale(stairs.base, step.scaling) == step.arch
        assert larger is None or (step.achieved, larger.achieved) in pairs


@pytest.mark.parametrize(
    'dimension, budget, value',
    [('w', 204.6e6, 0.65), ('w', 98.7e6, 0.38), ('d', 196.4e6, 0.45), ('r', 195.6e6, 0.70), ('r', 103.3e6, 0.46)],
)
def test_table_1_single_dimensions(dimension, budget, value):
    """The paper's own (r, d, w) of table 1 build the same networks as ours for their MACs."""
    step, _ = solve(single(EFFICIENTNET_B0, dimension), budget)
    assert step.arch == scale(EFFICIENTNET_B0, Scaling(**{dimension: value}))


@pytest.mark.parametrize('t, budget', [(1.2, 199.2e6), (2.4, 97.5e6), (3.85, 49.4e6), (5.4, 23.2e6)])
def test_inverted_giant_formula(t, budget):
    step, _ = solve(giant(EFFICIENTNET_B0), budget)
    assert -step.value == pytest.approx(t, abs=0.06) and abs(step.achieved / budget - 1) < 0.01


def test_depth_underflow_says_the_smallest_cost():
    """Table 1: B0 cannot be shrunken to 100 M by depth alone, it ends at 173 M."""
    with pytest.raises(ValueError, match='smallest it reaches is 173.2M MACs'):
        solve(single(EFFICIENTNET_B0, 'd'), 100e6)


def test_the_value_has_the_fewest_decimals_of_its_step():
    """Many w give the stages of TinyNet-D; 0.54 is printed."""
    stairs = widths(EFFICIENTNET_B0, 0.68, 0.695)
    assert solve(stairs, cost(preset('tinynet_d')).macs)[0].value == 0.54


def test_a_measured_staircase_needs_few_measurements():
    measured = []
    meter = Meter('ms', lambda arch: measured.append(arch) or cost(arch).macs / 1e7, grid=0.01)
    step, _ = solve(widths(EFFICIENTNET_B0, 0.7, 0.8, 0.3, 1.0), 6.0, meter)
    assert 5.4 < step.achieved < 6.18 and len(measured) == len(set(measured)) <= 9


def test_bisection_over_arrays():
    targets = np.array([0.5, 3.0, 3.5, 9.0])
    assert last_below(lambda i: i, targets, np.zeros(4, int), np.full(4, 20)).tolist() == [0, 3, 3, 9]


# The formula ------------------------------------------------------------------------------------------------------------------


def test_large_networks_are_deeper_and_wider_than_the_base(published):
    """1.5 G: d continues to rise, where a process of mean zero returns to zero and leaves all growth to w."""
    found = published.solve(1.5e9, extrapolate=True)
    assert found.scaling.d > PRESETS['tinynet_a'][1].d and found.scaling.r > 1 and found.scaling.w < 2
    assert found.d_std > 2 * published.d.error


@pytest.mark.parametrize('name', TINYNETS)
def test_published_networks_are_reproduced(published, name):
    """r and d within 2 %, MACs within 3 %, and the networks are identical."""
    theirs, counted = PRESETS[name][1], cost(preset(name))
    found = published.solve(counted.macs)
    assert found.scaling.r == pytest.approx(theirs.r, rel=0.02) and found.scaling.d == pytest.approx(theirs.d, rel=0.02)
    assert found.cost.macs == pytest.approx(counted.macs, rel=0.03)
    assert found.arch.stages == preset(name).stages and found.arch.resolution == preset(name).resolution


@pytest.mark.parametrize('c, name', list(zip(NOMINAL, TINYNETS)))
def test_the_papers_nominal_ratios_are_inside_the_range(published, c, name):
    found = published.solve(c * B0)
    assert abs(found.achieved / (c * B0) - 1) < 0.05 and not found.extrapolated
    assert found.predicted[0] == pytest.approx(PRESETS[name][1].r, rel=0.025)


@pytest.mark.parametrize('quantity', ['activations', 'params'])
@pytest.mark.parametrize('name', TINYNETS)
def test_other_units_are_met(published, quantity, name):
    budget = getattr(cost(preset(name)), quantity)
    found = published.solve(budget, meter=cost_meter(quantity))
    assert abs(found.achieved / budget - 1) < 0.05 and found.achieved == getattr(found.cost, quantity)
    if quantity == 'activations':
        assert found.cost.macs == pytest.approx(cost(preset(name)).macs, rel=0.05)


@pytest.mark.parametrize(
    'base, budgets', [('resnet50', (3.6e9, 1.8e9)), ('ghostnet_a', (300e6, 141e6, 52e6)), ('resnet18', (0.9e9,))]
)
def test_other_bases(published, base, budgets):
    for budget in budgets:
        found = published.solve(budget, base)
        assert found.achieved == found.cost.macs == pytest.approx(budget, rel=0.05) and found.arch.family == BASES[base].family


def test_equation_5_is_only_a_start():
    """At the paper's nominal ratios; after rounding, the published 1.0, .75, .54, .54, .51 meet the budget instead."""
    scalings = [PRESETS[name][1] for name in TINYNETS]
    ideal = [equation5(c, s.r, s.d) for c, s in zip(NOMINAL, scalings)]
    assert np.round(ideal, 3).tolist() == [1.007, 0.803, 0.657, 0.636, 0.666]


def test_other_classes_and_resolutions_of_a_base(published):
    small = replace(EFFICIENTNET_B0, resolution=64)
    budget = 0.3 * cost(small, classes=10).macs
    found = published.solve(budget, small, classes=10)
    assert found.c == pytest.approx(0.3) and found.cost == cost(found.arch, classes=10)
    assert found.achieved == pytest.approx(budget, rel=0.05)


def test_save_and_load(tmp_path, published):
    path = published.save(tmp_path / 'new' / 'formula.json')
    assert TinyFormula.load(path) == published
    assert [p.name for p in path.parent.iterdir()] == ['formula.json']
    complete = path.read_text()
    for text in (complete[: len(complete) // 2], '', '[]', json.dumps(dict(r={}, d={})), json.dumps(dict(r=1))):
        path.write_text(text)
        with pytest.raises(ValueError, match='not JSON|not a complete formula'):
            TinyFormula.load(path)
    with pytest.raises(FileNotFoundError, match='none.json'):
        TinyFormula.load(tmp_path / 'none.json')


@pytest.mark.parametrize(
    'rows, message',
    [
        (front(4), 'frontier of 4'),
        ([], 'no networks'),
        ([row | dict(r=float('nan')) for row in front(6)], "6 of 6 rows have no finite 'r'"),
        ([{k: v for k, v in row.items() if k != 'c'} for row in front(6)], "no column 'c'"),
        ([row | dict(d=-1) for row in front(6)], 'positive'),
        ([row | dict(c=0.5) for row in front(6)], 'about the same'),
    ],
)
def test_fit_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        TinyFormula.fit(rows)


def test_a_sweep_of_one_budget_is_refused():
    with pytest.raises(ValueError, match='one budget says nothing about others'):
        TinyFormula.fit(sample_budget(20, np.random.default_rng(0)))


def test_c_is_computed_from_macs_if_the_base_is_known():
    rows = front(8)
    given = TinyFormula.fit(rows)
    counted = TinyFormula.fit([dict(r=row['r'], d=row['d'], macs=row['macs']) for row in rows], base_macs=B0)
    assert counted.predict(0.2)['r'] == pytest.approx(given.predict(0.2)['r'], rel=1e-4)


def test_budgets_outside_the_range(published):
    for budget in (5e6, 500e6, 75):
        with pytest.raises(ValueError, match='outside the range of this formula, 22.1M MACs to 370.6M MACs'):
            published.solve(budget)
    found = published.solve(600e6, extrapolate=True)
    assert found.extrapolated and published.solve(1.2e9, extrapolate=True).r_std > published.solve(300e6).r_std
    with pytest.raises(ValueError, match='outside the range.*--extrapolate'):
        published.solve(50e6, meter=cost_meter('params'))
    with pytest.raises(ValueError, match='outside the range of extrapolation, 1.93M MACs to 1.54G MACs'):
        published.solve(1e6, extrapolate=True)


@pytest.mark.parametrize('c', [0.006, 0.015, 3.9])
def test_extrapolated_networks_stay_in_the_explored_box(published, c):
    """A straight line in log c leaves the box: r is 0.2 at c = 0.005."""
    found = published.solve(c * cost(BASES['resnet50']).macs, 'resnet50', extrapolate=True)
    assert found.extrapolated and all(0.35 <= getattr(found.scaling, name) <= 2.8 for name in 'rd')
    assert published.solve(30e6, 'resnet50', cost_meter('params'), extrapolate=True).achieved <= 1.03 * 30e6


def heavy_base() -> Arch:
    """Nearly all of its cost is in the stem and the head, which are not scaled."""
    return Arch('heavy', 'efficientnet', 224, stem=64, stages=(Stage('inverted', 16, stride=2),), head=4096)


def test_a_base_that_cannot_reach_the_budget(published):
    base = heavy_base()
    with pytest.raises(ValueError, match=r'heavy cannot shrink to .* the smallest it reaches is [\d.]+[kMG] MACs'):
        published.solve(0.1 * cost(base).macs, base)
    for text, message in (('b0', 'unknown base'),):
        with pytest.raises(ValueError, match=message):
            published.solve(75e6, text)


def test_a_staircase_that_ends_too_low():
    stairs = Staircase(EFFICIENTNET_B0, 'w', lambda w: Scaling(w=w), 0.1, 0.2)
    with pytest.raises(ValueError, match='the largest it reaches'):
        solve(stairs, 300e6)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match='unknown quantity .flops.'):
        cost_meter('flops')
    with pytest.raises(ValueError, match='shrink one of r, d or w'):
        single(EFFICIENTNET_B0, 'x')


# The paper's numbers ----------------------------------------------------------------------------------------------------------


def test_published_table():
    """Fitted to these networks, the formula returns them; a fit to the other four misses r by 5 to 12 %."""
    rows = published_table()
    assert [row['name'] for row in rows] == TINYNETS and all(row['same_network'] for row in rows)
    for row in rows:
        assert row['macs_published'] == pytest.approx(row['macs_paper'], rel=0.02) and row['macs_difference'] == 0
        assert abs(row['macs_at_printed'] / row['macs_paper'] - 1) <= CLOSE
    left_out = [abs(row['r_left_out_difference']) for row in rows]
    assert 0.04 < min(left_out) < max(left_out) == pytest.approx(0.118, abs=2e-3)
    others = [name for name in TINYNETS if name != 'tinynet_c']
    c, r = [cost(preset(name)).macs / B0 for name in others], [PRESETS[name][1].r for name in others]
    mean, _ = Process.fit(np.log(c), r, 0.005).predict([np.log(cost(preset('tinynet_c')).macs / B0)])
    assert mean[0] == pytest.approx(rows[2]['r_left_out'], abs=1e-3)


def test_neighbours_are_near_and_include_the_papers_own():
    found = neighbours(75e6)
    assert [row.name for row in found if row.name.startswith('TinyNet')] == ['TinyNet-D', 'TinyNet-C']
    assert found == sorted(found, key=lambda row: row.macs) and 5 <= len(found) <= 7
    assert len(IMAGENET) == 27 and {row.dataset for row in neighbours(2e9, 'resnet')} == {'ImageNet-100'}
    assert neighbours(24e6)[0].macs <= 24e6 and len(neighbours(1e6)) >= 5
