"""Accuracy against cost: the front against another implementation, names without overlaps, sources and units."""

import csv
import importlib.util
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from tinynet_mm import plots
from tinynet_mm.errors import UserError
from tinynet_mm.files import read_csv
from tinynet_mm.formula.frontier import non_dominated_ranks
from tinynet_mm.paper.printed import IMAGENET, ONCE

PAPER_CSV = Path(__file__).parents[1] / 'results' / 'paper_imagenet.csv'
PAPER = [dict(name=r.name, macs=r.macs, params=r.params, accuracy=r.top1, source='paper') for r in IMAGENET]


def _main(argv: list[str]) -> int:
    path = Path(__file__).parents[1] / 'tools' / 'plot_results.py'
    spec = importlib.util.spec_from_file_location('tools_plot_results', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(argv)


def _table(path: Path, rows: list[dict]) -> Path:
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    return path


def _names(figure) -> list:
    return [text for text in figure.axes[0].texts if text.get_text()]


def test_no_name_of_table_3_overlaps_another_a_marker_or_the_legend():
    points, notes = plots.read_points(PAPER, 'macs')
    figure = plots.tradeoff(points, 'macs')
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in _names(figure)]
    assert sorted(text.get_text() for text in _names(figure)) == sorted(row['name'] for row in PAPER)
    assert not notes and not figure.get_supxlabel().strip()
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    centres = axes.transData.transform([(point.x / 1e6, point.y) for point in points])
    assert not any(box.contains(*centre) for box in boxes for centre in centres)
    legend = axes.get_legend().get_window_extent()
    assert not any(box.overlaps(legend) for box in boxes)
    assert all(axes.bbox.containsx(x) and axes.bbox.containsy(y) for box in boxes for x, y in box.corners())


def test_a_large_legend_is_outside_the_axes_and_a_small_one_covers_no_point():
    rows = read_csv(PAPER_CSV)
    points, _ = plots.read_points(rows, 'macs', 'top1', group='family')
    figure = plots.tradeoff(points, 'macs', 'top1')
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert figure.axes[0].get_legend() is None and legend.get_window_extent().x0 > figure.axes[0].bbox.x1
    corner = [
        dict(name=str(k), macs=10**6 * (1 + k), accuracy=70.0 - k) for k in range(5)
    ]  # the last is in the lower right corner
    figure = plots.tradeoff(plots.read_points(corner, 'macs')[0])
    figure.draw_without_rendering()
    legend, centres = figure.axes[0].get_legend(), figure.axes[0].transData.transform([(1 + k, 70 - k) for k in range(5)])
    assert not any(legend.get_window_extent().contains(*centre) for centre in centres)


def test_lines_that_cross():
    segments = np.array([[0, 0, 4, 4], [0, 4, 1, 3], [5, 0, 5, 9.0]])
    assert plots.labels._intersect(segments, np.array([[0, 4, 4, 0.0]])).tolist() == [True, False, False]
    assert not plots.labels._intersect(segments, np.empty((0, 4))).any()


def test_the_papers_numbers_as_a_table_are_those_of_published():
    rows = read_csv(PAPER_CSV)
    kept = [(r['name'], r['params'], r['macs'], r['top1'], r['dataset'], r['table']) for r in rows]
    assert kept == [(r.name, r.params, r.macs, r.top1, r.dataset, r.table) for r in ONCE]
    assert {row['source'] for row in rows} == {'paper'}


def test_the_same_rows_give_the_same_picture():
    points, _ = plots.read_points(PAPER[:12], 'params')
    first, second = ([text.get_position() for text in _names(plots.tradeoff(points, 'params'))] for _ in range(2))
    assert first == second


def test_front_is_that_of_non_dominated_sorting():
    rng = np.random.default_rng(0)
    points = [plots.Point(str(k), *xy) for k, xy in enumerate(rng.integers(0, 30, (200, 2)).astype(float))]
    ranks = non_dominated_ranks([p.y for p in points], [p.x for p in points])
    expected = {(p.x, p.y) for p, rank in zip(points, ranks) if rank == 0}
    found = plots.front(points)
    assert {(p.x, p.y) for p in found} == expected and len(found) == len(expected)
    assert [p.x for p in found] == sorted(p.x for p in found)


def test_paper_and_measurement_share_neither_marker_nor_front():
    mine = dict(macs=100_000_000, accuracy=70.0, machine='a laptop', threads=1, protocol='one seed')
    points, _ = plots.read_points([*PAPER, mine | dict(name='ours'), mine | dict(name='ours again', macs=50_000_000)], 'macs')
    figure = plots.tradeoff(points, 'macs')
    axes = figure.axes[0]
    front_of_measured, front_of_paper, paper, measured = axes.lines
    assert (len(front_of_paper.get_xdata()), len(front_of_measured.get_xdata())) == (13, 1)
    assert measured.get_xdata().tolist() == [50, 100] and len(paper.get_xdata()) == len(PAPER)
    assert measured.get_marker() != paper.get_marker() and paper.get_markerfacecolor() == 'white'
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ['measured', 'as printed in the paper', 'front: no other is better in both']
    assert figure.get_supxlabel().startswith('machine a laptop; threads 1; one seed')
    assert axes.get_xlabel() == 'multiply-adds [M]' and axes.get_xscale() == 'log' and axes.get_ylabel() == 'accuracy [%]'


def test_rows_of_several_seeds_are_one_point_with_their_span():
    rows = [
        dict(name=name, macs=10**8, accuracy=value) for name, values in dict(a=(60, 64, 68), b=(50,)).items() for value in values
    ]
    points, notes = plots.read_points(rows, 'macs')
    assert [(p.name, p.y, p.span) for p in points] == [('a', 64.0, (60.0, 68.0)), ('b', 50.0, None)] and not notes
    axes = plots.tradeoff(points, 'macs').axes[0]
    (bar,) = (collection for collection in axes.collections if len(collection.get_paths()))
    assert bar.get_paths()[0].vertices.tolist() == [[100, 60], [100, 68]]
    assert 'mean, least to largest' in [text.get_text() for text in axes.get_legend().get_texts()]


def test_seeds_of_several_machines_are_one_point_and_all_machines_are_named():
    rows = [dict(name='a', macs=10**8, accuracy=value, machine=machine) for value, machine in ((60, 'x'), (64, 'y'), (62, 'x'))]
    (point,), _ = plots.read_points(rows, 'macs')
    assert (point.y, point.span) == (62, (60, 64))
    figure = plots.tradeoff([point], 'macs')
    assert 'machine x / y' in ' '.join(text.get_text() for text in figure.findobj(Text))


def test_rows_are_selected_by_their_values():
    rows = [dict(name=name, seed=seed, data=data) for name, seed, data in (('a', 0, 'x'), ('b', 1, 'x'), ('c', 0, 'y'))]
    assert plots.select_rows(rows, []) == rows
    assert [row['name'] for row in plots.select_rows(rows, ['data=x', 'seed=0'])] == ['a']
    for wanted, message in (('data', 'give COLUMN=VALUE'), ('data=z', 'no row of the tables'), ('size=1', "'size'")):
        with pytest.raises(UserError, match=message):
            plots.select_rows(rows, [wanted])


def test_small_groups_are_series_and_a_short_span_is_linear():
    rows = [dict(name=f'{way}{k}', latency_ms=2 + k, top1=0.5 + 0.1 * k, way=way) for way in 'rw' for k in range(3)]
    rows += [dict(name=f'random{k}', latency_ms=2 + 0.1 * k, top1=0.4, way='random') for k in range(20)]
    points, _ = plots.read_points(rows, 'latency_ms', 'top1', group='way')
    figure = plots.tradeoff(points, 'latency_ms', 'top1')
    axes = figure.axes[0]
    assert axes.get_xlabel() == 'latency [ms]' and axes.get_ylabel() == 'top1 [0 to 1]' and axes.get_xscale() == 'linear'
    assert [line.get_linestyle() for line in axes.lines[1:]] == ['-', '-', 'None']
    assert len({line.get_color() for line in axes.lines[1:]}) == 3


def test_of_many_networks_only_the_front_is_named():
    rng = np.random.default_rng(1)
    points = [plots.Point(f'net{k}', *xy) for k, xy in enumerate(rng.random((150, 2)))]
    figure = plots.tradeoff(points, 'macs')
    front = {point.name for point in plots.front(points)}
    assert {text.get_text() for text in _names(figure)} <= front
    assert f'{150 - len(front)} other networks are not named' in figure.get_supxlabel()


def test_a_row_takes_its_score_from_the_row_of_the_same_name_and_source():
    rows = [dict(name='a', top1=70.0), dict(name='b', top1=60.0, source='paper'), dict(name='c', top1=50.0)]
    rows += [dict(name='a', latency_ms=3.0, threads=1), dict(name='a', latency_ms=2.0, threads=2), dict(name='b', latency_ms=1.0)]
    points, notes = plots.read_points(rows, 'latency_ms', 'top1')
    assert [(point.name, point.x, point.y) for point in points] == [('a', 3.0, 70.0), ('a', 2.0, 70.0)]
    assert notes == ['not drawn, because latency_ms or top1 is missing: b, c.']
    assert 'threads 1 / 2' in plots.tradeoff(points, 'latency_ms', 'top1').get_supxlabel()


@pytest.mark.parametrize(
    ('rows', 'arguments', 'words'),
    [
        (PAPER, dict(x='mac'), r"no column 'mac' in these tables\. Did you mean macs\? The columns are: name, macs"),
        (PAPER, dict(x='macs', y='acc'), 'Did you mean accuracy'),
        ([dict(name='a', macs='', accuracy=1.0)], dict(x='macs'), "has both 'macs' and 'accuracy'"),
        ([*PAPER, dict(name='ours', macs=1, accuracy=0.7)], dict(x='macs'), "fractions where source is 'measured'"),
    ],
)
def test_tables_that_cannot_be_drawn(rows, arguments, words):
    with pytest.raises(ValueError, match=words):
        plots.read_points(rows, **arguments)


def test_tool_draws_several_tables(tmp_path, capsys):
    accuracy = _table(tmp_path / 'accuracy.csv', [dict(name='a', accuracy=70.5), dict(name='b', accuracy=60.5)])
    latency = _table(tmp_path / 'latency.csv', [dict(name='a', latency_ms=3.5, threads=1)])
    out = tmp_path / 'figures' / 'results.pdf'
    assert _main([str(accuracy), str(latency), '--x', 'latency_ms', '--out', str(out)]) == 0
    assert out.read_bytes().startswith(b'%PDF')
    said = capsys.readouterr().out
    assert 'not drawn, because latency_ms or accuracy is missing: b.' in said and f'points: 1, in {out}' in said
    with pytest.raises(FileNotFoundError, match='no such table'):
        _main([str(tmp_path / 'none.csv')])
    with pytest.raises(ValueError, match=r'\.png, \.pdf, \.svg'):
        _main([str(accuracy), '--out', 'x.gif'])
