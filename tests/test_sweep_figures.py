"""The figures, the table and the page of a sweep's report, on made-up results."""

import json
import math
import re

import numpy as np
import pytest
from sweeps import compared, made_up

from tinynet_mm.archs import EFFICIENTNET_B0, Scaling, scale
from tinynet_mm.cost import cost
from tinynet_mm.formula.tiny import TinyFormula
from tinynet_mm.sweep import figures, report, results
from tinynet_mm.sweep.folder import Sweep


@pytest.fixture(scope='module')
def fitted(tmp_path_factory) -> Sweep:
    return compared(tmp_path_factory.mktemp('fitted'))


def test_table_has_means_and_deviations(fitted):
    table = figures.summary(fitted.rows())
    assert [row['method'] for row in table] == [
        'tiny',
        'giant',
        'r',
        'd',
        'w',
        'tiny',
        'giant',
        'r',
        'w',
        'best_random',
        'front_member',
    ]
    for row in table:
        single = [r['accuracy'] for r in fitted.rows() if (r['method'], r['target']) == (row['method'], row['target'])]
        assert row['accuracy'] == pytest.approx(np.mean(single), abs=1e-3)
        assert row['std'] == pytest.approx(0.3 / math.sqrt(2), abs=1e-3)  # two seeds, 0.3 apart
        assert row['accuracy'] == row['validation'] and row['seeds'] == 2


def test_report_draws_all_figures(fitted):
    page, notes = report.write(fitted)
    assert notes == []
    assert sorted(path.name for path in page.parent.iterdir()) == [
        'figure1_front.png',
        'figure2_one_budget.png',
        'figure3_fit.png',
        'figure6_methods.png',
        'index.html',
        'table1.csv',
    ]
    text = page.read_text()
    content = json.loads(re.search(r'const D = (.*);\n', text)[1])
    assert len(content['rows']) == 82
    assert set(content['spearman']) == {'r', 'w', 'd'}
    assert len(content['budget']) == 8
    assert [row['method'] for row in content['left_out']] == ['best_random', 'front_member', 'd']
    assert not re.search(r'(src|href)\s*=|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)', text)


def test_a_front_older_than_the_rows_is_not_drawn(tmp_path):
    sweep = made_up(tmp_path, 30)
    results.collect(sweep)
    lost = results.fit(sweep).front[0]['name']
    (sweep.trial(lost) / 'result.json').unlink()
    results.collect(sweep)
    with pytest.raises(ValueError, match=f'front.csv has {lost}, which rows.csv lacks; .* tinynet sweep fit'):
        report.write(sweep)


def test_report_names_missing_figures_and_their_commands(tmp_path):
    sweep = made_up(tmp_path, 6)
    results.collect(sweep)
    page, notes = report.write(sweep)
    assert page.is_file()
    assert [note[:11] for note in notes] == ['no figure 2', 'no figure 3', 'no figure 6']
    assert all('tinynet sweep' in note for note in notes)


def test_page_escapes_its_data():
    assert '</script><b>' not in report.page(dict(title='</script><b>'))


def test_the_width_panel_has_the_solved_width_and_equation_5():
    """The solved width meets the cost up to one step of w; equation 5, which ignores stem and head, does not (TinyNet-E)."""
    formula, total = TinyFormula.published(), cost(EFFICIENTNET_B0, classes=1000).macs
    curves = figures.fit_curves(formula, EFFICIENTNET_B0, 1000, count=12)
    for c, r, d, w, ideal in zip(*(curves[key] for key in ('c', 'r', 'd', 'w', 'w_ideal')), strict=True):
        assert ideal == pytest.approx(math.sqrt(c / (r * r * d)))
        below, above = (cost(scale(EFFICIENTNET_B0, Scaling(r, w + step, d, True)), classes=1000).macs for step in (0, 0.08))
        assert below <= 1.03 * c * total < 1.1 * above
    assert curves['w_ideal'][0] > 1.2 * curves['w'][0]
    front = [dict(r=r, d=0.7, w=r, c=r**2, macs=total * r**2) for r in (0.5, 0.6, 0.8, 0.9)]
    width = figures.fit_figure(front, curves).axes[2]
    drawn = {line.get_label(): line.get_ydata() for line in width.lines}
    assert np.array_equal(drawn['solved on true costs'], curves['w']) and np.array_equal(drawn['equation 5'], curves['w_ideal'])


def test_validation_and_test_accuracies_are_not_mixed():
    """The networks of the search have only a validation accuracy, so figure 1 shows that of the compared ones."""
    numbers = dict(target=0.5, r=1, w=1, d=1, resolution=56, c=0.5, macs=1e7, params=1e6)
    rows = [dict(numbers, method='random', target='', accuracy=40.0, test_accuracy='')]
    rows += [dict(numbers, method='tiny', accuracy=50.0 + seed, test_accuracy=45.0) for seed in range(2)]
    (row,) = figures.summary(rows)
    assert (row['accuracy'], row['validation']) == (45, 50.5)
    drawn = {line.get_label(): line.get_ydata() for line in figures.front_figure(rows, []).axes[0].lines}
    assert drawn[figures.LABELS['tiny']] == [50.5]


def test_one_budget_is_drawn_as_intervals():
    numbers = dict(target=0.5, r=1, w=1, d=1, resolution=56, c=0.5, macs=1e7, params=1e6)
    rows = [dict(numbers, method=method, accuracy=50.0 + seed) for method in ('tiny', 'w') for seed in range(3)]
    axes = figures.methods_figure(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [figures.LABELS['w'], figures.LABELS['tiny']]
    margin = 4.3027 / math.sqrt(3)  # Student's t for two degrees of freedom, deviation 1
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert np.allclose(intervals, [[51 - margin, 51 + margin]] * 2, atol=1e-3)
    two = [row | dict(target=0.25) for row in rows]
    assert figures.methods_figure(rows + two).axes[0].get_xlabel() == 'multiply-adds (M)'
