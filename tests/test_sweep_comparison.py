"""The statistics of a comparison, against scipy, simulations and made-up rows."""

import numpy as np
import pytest
from scipy import stats
from sweeps import made_up

from tinynet_mm.sweep import comparison, plan


def rows(values: dict[str, list[float]], target: float = 0.5, key: str = 'test_accuracy') -> list[dict]:
    return [
        dict(method=method, target=target, accuracy=0.0, **{key: value}) if key != 'accuracy'
        else dict(method=method, target=target, accuracy=value)
        for method, group in values.items()
        for value in group
    ]  # fmt: skip


def test_a_row_has_mean_interval_and_difference():
    tiny, width = [55.0, 56.0, 57.0, 56.5], [54.0, 54.5, 55.5, 53.0]
    first, second = comparison.table(rows(dict(w=width, tiny=tiny)))
    assert (first['method'], second['method']) == ('tiny', 'w')
    assert first['mean'] == pytest.approx(np.mean(tiny), abs=1e-3)
    assert first['std'] == pytest.approx(np.std(tiny, ddof=1), abs=1e-3)
    margin = stats.t.ppf(0.975, 3) * np.std(width, ddof=1) / 2
    assert (second['low'], second['high']) == pytest.approx((np.mean(width) - margin, np.mean(width) + margin), abs=1e-3)
    assert second['ahead'] == pytest.approx(np.mean(tiny) - np.mean(width), abs=1e-3)
    assert second['ahead_low'] < second['ahead'] < second['ahead_high']
    assert second['p'] == pytest.approx(stats.ttest_ind(tiny, width, equal_var=False).pvalue, abs=1e-5)
    assert first['p'] == first['ahead'] == first['detectable'] == ''


def test_test_images_count_only_if_all_networks_have_them():
    tested = rows(dict(tiny=[50, 51], w=[48, 49]))
    assert [line['mean'] for line in comparison.table(tested)] == [50.5, 48.5]
    tested[0]['test_accuracy'] = ''
    assert comparison.images_of(tested) == 'validation'
    assert {line['mean'] for line in comparison.table(tested)} == {0}


def test_random_networks_are_no_method_of_the_comparison():
    drawn = dict(method='random', target=0.5, accuracy=99.0)
    assert [line['method'] for line in comparison.table([drawn, *rows(dict(tiny=[1.0]), key='accuracy')])] == ['tiny']


def test_one_seed_has_no_statistics():
    lines = comparison.table(rows(dict(tiny=[50.0], w=[49.0])))
    assert [line['mean'] for line in lines] == [50, 49]
    assert all(line[key] == '' for line in lines for key in ('std', 'low', 'high', 'p', 'p_holm', 'detectable'))


def test_holm_is_the_step_down_correction():
    """Worked by hand: 0.01 * 4, max(0.04, 0.02 * 3), max(0.06, 0.03 * 2), max(0.06, 0.5 * 1)."""
    assert comparison.holm([0.5, 0.02, 0.01, 0.03]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert comparison.holm([]) == []


def test_p_values_are_corrected_within_a_budget():
    rng = np.random.default_rng(0)
    lines = comparison.table(
        rows({method: rng.normal(50, 1, 5).tolist() for method in ('tiny', 'r', 'd', 'w')}, 0.5)
        + rows({method: rng.normal(50, 1, 5).tolist() for method in ('tiny', 'w')}, 0.25)
    )
    assert [(line['target'], line['method']) for line in lines] == [
        (0.5, 'tiny'), (0.5, 'r'), (0.5, 'd'), (0.5, 'w'), (0.25, 'tiny'), (0.25, 'w'),
    ]  # fmt: skip
    assert lines[5]['p_holm'] == pytest.approx(lines[5]['p'], abs=1e-4)
    three = [line for line in lines if line['target'] == 0.5 and line['p'] != '']
    assert min(line['p_holm'] for line in three) == pytest.approx(min(1, 3 * min(line['p'] for line in three)), abs=1e-4)


@pytest.mark.parametrize('count', [8, 12])
def test_the_resolved_difference_is_found_in_80_percent_of_simulations(count):
    rng = np.random.default_rng(count)
    sample = rng.normal(0, 1, count)
    sample = (sample - sample.mean()) / sample.std(ddof=1)
    shift = comparison.detectable(sample, sample)
    first, second = rng.normal(shift, 1, (4000, count)), rng.normal(0, 1, (4000, count))
    found = stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)
    assert comparison.detectable(np.ones(3), np.ones(3)) == 0


def test_compared_networks_have_seeds_that_the_search_has_not(tmp_path):
    sweep = made_up(tmp_path, 3)
    plan.sample(sweep, None, 2, seed=2, add=True)
    assert plan.free_seeds(sweep, 3) == [1, 3, 4]
    assert plan.free_seeds(sweep, 1) == [1]


def test_equal_accuracies_have_an_interval_of_no_width():
    assert comparison.interval(np.array([45.0, 45.0])) == (45, 45)
