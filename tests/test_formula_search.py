"""The functions of the search against brute force: samplers, non-dominated fronts, tables of networks."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from tinynet_mm.archs import BASES, EFFICIENTNET_B0, Scaling, scale
from tinynet_mm.cost import cost
from tinynet_mm.files import read_csv, write_csv
from tinynet_mm.formula import frontier, non_dominated_ranks, sample_band, sample_budget, spearman
from tinynet_mm.formula.budget import parse_budget, readable
from tinynet_mm.formula.frontier import spearman_interval
from tinynet_mm.formula.solve import single, solve, widths

B0 = cost(EFFICIENTNET_B0).macs


def brute_ranks(accuracy, macs):
    """Remove one front after the other by comparing every pair."""
    left, ranks, rank = set(range(len(macs))), [0] * len(macs), 0

    def dominated(i):
        return any(
            accuracy[j] >= accuracy[i] and macs[j] <= macs[i] and (accuracy[j] > accuracy[i] or macs[j] < macs[i]) for j in left
        )

    while left:
        front = {i for i in left if not dominated(i)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


def networks(n, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    rows = sample_band(n, rng)
    for row in rows:
        accuracy = 0.8 + 0.1 * np.log(row['c']) + 0.05 * rng.standard_normal()
        row['accuracy'] = round(accuracy, 1 if ties else 6)
    return rows


# samplers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a'])
def test_band_rows_are_in_the_band_and_state_their_cost(base):
    rows, table = sample_band(60, np.random.default_rng(1), BASES[base]), BASES[base]
    base_macs = cost(table).macs
    assert len(rows) == 60
    for row in rows:
        arch = scale(table, Scaling(row['r'], row['w'], row['d'], fixed_ends=base != 'ghostnet_a'))
        assert (row['macs'], row['params'], row['activations']) == cost(arch) and row['resolution'] == arch.resolution
        assert 0.03 <= row['c'] <= 1.05 and row['c'] == pytest.approx(row['macs'] / base_macs, rel=1e-12)
        assert all(0.35 <= row[name] <= 2.8 for name in 'rwd')


def test_band_draws_are_uniform_inside_the_band():
    """Against rejection sampling of independent draws: equal means, within four standard deviations."""
    rows = sample_band(1500, np.random.default_rng(2))
    r, w, d = np.random.default_rng(3).uniform(0.35, 2.8, size=(3, 60_000))
    c = cost(scale(EFFICIENTNET_B0, Scaling(r=r, w=w, d=d))).macs / B0
    kept = (c >= 0.03) & (c <= 1.05)
    for name, values in dict(r=r, w=w, d=d).items():
        deviation = 4 * values[kept].std() / np.sqrt(1500)
        assert abs(np.mean([row[name] for row in rows]) - values[kept].mean()) < deviation


def test_draws_depend_on_the_seed_only():
    draws = [sample_band(5, np.random.default_rng(seed)) for seed in (7, 7, 8)]
    assert draws[0] == draws[1] != draws[2]


def test_duplicates_after_rounding_are_drawn_once():
    """A small box has few networks: all are found, none twice, and the error for a larger number says how many exist."""
    narrow = dict(low=0.5, high=1.2, bounds=(0.97, 1.03))
    with pytest.raises(ValueError, match=r'found only (\d+) different networks') as error:
        sample_band(10_000, np.random.default_rng(0), **narrow)
    n = int(str(error.value).split()[2])
    rows = sample_band(n, np.random.default_rng(0), **narrow)
    archs = [scale(EFFICIENTNET_B0, Scaling(r=row['r'], w=row['w'], d=row['d'])) for row in rows]
    assert 2 < n == len(set(archs))


@pytest.mark.parametrize('c', [0.5, 0.13])
def test_budget_rows_meet_the_budget_within_three_percent(c):
    rows = sample_budget(50, np.random.default_rng(4), c=c)
    assert len(rows) == 50
    for row in rows:
        assert abs(row['macs'] / (c * B0) - 1) <= 0.03 and 0.35 <= row['w'] <= 2.8
        assert row['macs'] == cost(scale(EFFICIENTNET_B0, Scaling(r=row['r'], w=row['w'], d=row['d']))).macs
    assert np.std([row['r'] for row in rows]) > 0.1 and np.std([row['d'] for row in rows]) > 0.2


def test_stem_and_head_of_a_ghostnet_are_scaled_as_by_the_formula():
    base = BASES['ghostnet_a']
    for row in (*sample_band(3, np.random.default_rng(0), base), *sample_budget(3, np.random.default_rng(0), base, 0.3)):
        scaling = Scaling(row['r'], row['w'], row['d'], fixed_ends=False)
        assert (row['macs'], row['params']) == cost(scale(base, scaling))[:2]
    step, _ = solve(widths(base, 1.0, 1.0), 0.3 * cost(base).macs)
    assert step.arch.stem < base.stem and single(base, 'w').arch(0.5).stem < base.stem
    assert single(EFFICIENTNET_B0, 'w').arch(0.5).stem == EFFICIENTNET_B0.stem


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda rng: sample_band(0, rng), 'one or more'),
        (lambda rng: sample_band(5, rng, low=0.5, high=0.1), 'band'),
        (lambda rng: sample_band(5, rng, bounds=(2.8, 0.35)), 'bounds'),
        (lambda rng: sample_band(5, rng, low=400, high=500), 'found only 0'),
        (lambda rng: sample_budget(5, rng, c=0), 'positive'),
        (lambda rng: sample_budget(5, rng, c=400), 'found only 0'),
    ],
)
def test_samplers_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


# fronts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(5))
def test_ranks_equal_brute_force(seed, ties):
    rows = networks(80, seed, ties)
    accuracy, macs = [row['accuracy'] for row in rows], [row['macs'] for row in rows]
    assert non_dominated_ranks(accuracy, macs).tolist() == brute_ranks(accuracy, macs)


@pytest.mark.parametrize('share, expected', [(0.2, 16), (0.05, 4), (1.0, 80), (0.001, 1)])
def test_frontier_takes_the_best_share_front_by_front(share, expected):
    rows = networks(80)
    best = frontier(rows, share)
    ranks = brute_ranks([row['accuracy'] for row in rows], [row['macs'] for row in rows])
    chosen = sorted(ranks[rows.index(row)] for row in best)
    assert chosen == sorted(ranks)[:expected] and all(row in rows for row in best)
    assert all(a['macs'] <= b['macs'] for a, b in pairwise(best))


def long_front(n=60):
    """Rows of one front only: accuracy rises with the logarithm of MACs."""
    return [dict(accuracy=80 + 8 * np.log(c), macs=round(1e8 * c)) for c in np.linspace(0.05, 1, n)]


def test_of_a_long_front_one_network_is_chosen_for_each_direction():
    """NSGA-III's niching (Deb and Jain 2014, algorithms 2 to 4), written again for two objectives and one front."""
    rows, wanted = long_front(), 12
    points = np.array([[-row['accuracy'], row['macs']] for row in rows])
    unit = (points - points.min(0)) / (points.max(0) - points.min(0))
    directions = np.stack([np.linspace(0, 1, wanted), 1 - np.linspace(0, 1, wanted)], 1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    along = unit @ directions.T
    distance = np.sqrt(np.maximum((unit**2).sum(1)[:, None] - along**2, 0))
    niche = distance.argmin(1)
    expected = {min(np.flatnonzero(niche == k), key=lambda i: distance[i, niche[i]]) for k in set(niche)}
    chosen = {rows.index(row) for row in frontier(rows, wanted / len(rows))}
    assert len(chosen) == wanted and expected <= chosen and {0, len(rows) - 1} <= chosen
    assert frontier(rows, 0.2) == frontier(rows, 0.2)


def test_crowding_distance_would_choose_other_networks():
    """NSGA-II's crowding distance, which was used here before, is another rule on such a front."""
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

    rows = long_front()
    points = np.array([[-row['accuracy'], row['macs']] for row in rows])
    crowded = np.argsort(-get_crowding_function('cd').do(points, n_remove=48), kind='stable')[:12]
    assert {rows.index(row) for row in frontier(rows, 0.2)} != set(crowded.tolist())


def test_spearman_is_the_correlation_of_ranks():
    rows = networks(60, 3)
    macs = rankdata([row['macs'] for row in rows])
    for name, rho in spearman(rows).items():
        assert rho == pytest.approx(np.corrcoef(rankdata([row[name] for row in rows]), macs)[0, 1], abs=1e-12)


def test_a_constant_dimension_has_rank_correlation_zero():
    assert spearman([dict(r=k, w=-k, d=1, macs=k * k) for k in (1, 2, 3, 4, 5)]) == pytest.approx(dict(r=1, w=-1, d=0))


@pytest.mark.parametrize(
    'rows, message',
    [
        ([dict(accuracy=float('nan'), macs=1, r=1)], "no finite 'accuracy'"),
        ([dict(macs=1)], "no column 'accuracy'"),
        ([dict(accuracy=0.5, macs='many')], "no finite 'macs'"),
        ([], 'no networks'),
    ],
)
def test_frontier_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        frontier(rows)


def test_the_interval_of_a_rank_correlation_has_the_true_one_in_95_of_100_samples():
    """Simulated: ten pairs of correlated normal values, whose rank correlation is that of very many pairs."""
    rng = np.random.default_rng(0)
    for correlation in (0.0, 0.7):
        pairs = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=20_000)
        true, inside = spearmanr(pairs).statistic, 0
        for sample in pairs[:10_000].reshape(1000, 10, 2):
            low, high = spearman_interval(spearmanr(sample).statistic, 10)
            inside += low <= true <= high
        assert 930 <= inside <= 975
    assert spearman_interval(1.0, 12) == spearman_interval(0.5, 3) == (-1, 1)


def test_ranks_and_spearman_refuse():
    with pytest.raises(ValueError, match='1 of 2 networks have no finite'):
        non_dominated_ranks([0.1, np.nan], [1, 2])
    with pytest.raises(ValueError, match='one length'):
        non_dominated_ranks([0.1, 0.2], [1])
    with pytest.raises(ValueError, match='two different costs'):
        spearman([dict(r=1, w=1, d=1, macs=5)] * 3)
    with pytest.raises(ValueError, match='share'):
        frontier(networks(5), 0)


# tables -----------------------------------------------------------------------------------------------------------------------


def test_rows_survive_a_round_trip(tmp_path):
    rows = [row | dict(seed=3, name='n0') for row in networks(4)]
    path = write_csv(tmp_path / 'new' / 'rows.csv', rows)
    assert read_csv(path, ('r', 'w', 'd', 'macs', 'accuracy')) == rows
    assert [p.name for p in path.parent.iterdir()] == ['rows.csv']


def test_only_decimal_numbers_are_parsed(tmp_path):
    path = tmp_path / 'rows.csv'
    path.write_text('a,b,c,d,e,f\n1_0,-7,.5,1e-3,0x1f,2.\n')
    assert read_csv(path) == [dict(a='1_0', b=-7, c=0.5, d=0.001, e='0x1f', f=2.0)]


def test_a_truncated_table_is_refused_or_shorter(tmp_path):
    """Truncated at every byte of the last two rows: no number changes."""
    rows = networks(4)
    complete = write_csv(tmp_path / 'rows.csv', rows).read_text()
    cut, refused = tmp_path / 'cut.csv', 0
    for end in range(len(complete) - 150, len(complete)):
        cut.write_text(complete[:end])
        try:
            assert read_csv(cut, ('macs', 'accuracy')) in (rows[:2], rows[:3], rows)
        except ValueError as error:
            assert 'truncated' in str(error)
            refused += 1
    assert refused > 140


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'truncated'),
        ('macs,accuracy\n', 'no rows'),
        ('macs,top1\n5,0.5\n', "no column 'accuracy'"),
        ('macs,accuracy\n5,nan\n', 'line 2: accuracy'),
        ('macs,accuracy\n5,\n', 'line 2: accuracy'),
        ('macs,accuracy\n5,0.5,7\n', 'is incomplete'),
    ],
)
def test_tables_refuse(tmp_path, text, message):
    path = tmp_path / 'rows.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(path, ('macs', 'accuracy'))
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_csv(tmp_path / 'nowhere.csv')


# budgets ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'text, value',
    [('75M', 75_000_000), ('1.8G', 1_800_000_000), ('3.6B', 3_600_000_000), (' 75 m ', 75_000_000), ('75e6', 75_000_000),
     ('500k', 500_000), (75_000_000, 75_000_000), (1e16, 10**16), ('.5G', 500_000_000)],
)  # fmt: skip
def test_budgets_are_read(text, value):
    assert parse_budget(text) == value


@pytest.mark.parametrize('text', ['', 'M', 'small', '-5M', '0', '75MB/s', '7,5M', 'nan', 'inf', '1e400', '７５M'])
def test_budgets_are_refused(text):
    with pytest.raises(ValueError, match='is not a budget'):
        parse_budget(text)


def test_costs_are_readable():
    assert [readable(v) for v in (24_356_848, 4_089_184_256, 512, 336_867_712, 9_999)] == [
        '24.4M',
        '4.09G',
        '512',
        '336.9M',
        '10.00k',
    ]
