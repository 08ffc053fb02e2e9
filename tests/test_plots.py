"""Figures: detection sheets, learning curves and accuracy against cost, checked by what is drawn and by what is written."""

import importlib.util
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from tinynet_mm import logs, plots


def _tool(name: str):
    """A tool's module; tools are files, no package."""
    spec = importlib.util.spec_from_file_location(f'tools_{name}', Path(__file__).parents[1] / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plot_curves = _tool('plot_curves')


def _picture(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 200, dtype=np.uint8)


def test_sheet_writes_class_and_score_on_each_box():
    truth = plots.Boxes([[5, 20, 30, 50], [40, 20, 70, 55]], [0, 1])
    found = plots.Boxes([[6, 21, 31, 49]], [1], [0.876])
    figure = plots.detection_sheet([_picture()] * 3, [truth] * 3, [found] * 3, ['circle', 'square'])
    assert len(figure.axes) == 6
    tags = [[text.get_text() for text in axes.texts] for axes in figure.axes[:2]]
    assert tags == [['circle', 'square'], ['square 0.88']]
    assert [len(axes.patches) for axes in figure.axes[:2]] == [2, 1]
    assert figure.axes[0].patches[1].get_edgecolor() == figure.axes[1].patches[0].get_edgecolor()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['circle', 'square']


def test_a_crowded_sheet_shows_classes_in_the_legend_only():
    boxes, names = np.tile([5, 20, 30, 50], (20, 1)), [f'class {k}' for k in range(20)]
    cells = plots.Boxes(boxes, [0] * 20, [0.5] * 20)
    figure = plots.detection_sheet([_picture()], [plots.Boxes([], [])], [cells], names)
    assert {text.get_text() for text in figure.axes[1].texts} == {'0.50'}
    figure = plots.detection_sheet([_picture()], [plots.Boxes([], [])], [plots.Boxes(boxes, range(20), [0.5] * 20)], names)
    assert {text.get_text() for text in figure.axes[1].texts} == {f'{name} 0.50' for name in names}
    assert not figure.legends


@pytest.mark.parametrize(
    ('image', 'boxes', 'words'),
    [
        (_picture().astype(float), ([[1, 2, 3, 4]], [0]), 'uint8'),
        (_picture()[..., 0], ([[1, 2, 3, 4]], [0]), 'height, width, 3'),
        (_picture(), ([[1, 2, 3, 4]], [7]), 'there are 2 classes'),
    ],
)
def test_sheet_refuses_what_it_cannot_draw(image, boxes, words):
    with pytest.raises(ValueError, match=words):
        plots.detection_sheet([image], [plots.Boxes(*boxes)], [plots.Boxes([], [])], ['circle', 'square'])
    with pytest.raises(ValueError, match='one ground truth'):
        plots.detection_sheet([_picture()], [], [], ['circle'])
    with pytest.raises(ValueError, match='1 boxes, 2 labels'):
        plots.Boxes([[1, 2, 3, 4]], [0, 1])


@pytest.mark.parametrize(('suffix', 'magic'), [('.png', b'\x89PNG'), ('.pdf', b'%PDF'), ('.svg', b'<?xml')])
def test_save_writes_the_format_of_the_suffix_and_leaves_settings_alone(tmp_path, suffix, magic):
    before = dict(mpl.rcParams)
    empty = plots.Boxes([], [], [])
    figure = plots.detection_sheet([_picture()], [empty], [empty], ['circle'])
    path = plots.save(figure, tmp_path / 'new' / f'sheet{suffix}')
    assert path.read_bytes().startswith(magic)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert dict(mpl.rcParams) == before


def test_save_names_the_formats():
    with pytest.raises(ValueError, match=r'\.png, \.pdf, \.svg'):
        plots.check_suffix('curves.bmp')


# Learning curves


def _log(folder: Path, name: str, score: str, epochs: int = 4, validation_loss: str = '') -> Path:
    """A work directory with a log as MMEngine writes it: 10 lines per epoch, then a validation."""
    rng, lines = np.random.default_rng(0), []
    for epoch in range(1, epochs + 1):
        for k in range(1, 11):
            place = (epoch - 1) * 10 + k
            loss = 3 / place**0.5 + 0.1 * rng.random()
            losses = {'loss': loss, 'loss_cls': 0.6 * loss, 'loss_bbox': 0.4 * loss} if 'mAP' in score else {'loss': loss}
            lines.append({'lr': 0.1, 'time': 0.2, **losses, 'epoch': epoch, 'iter': place, 'step': place})
        more = {validation_loss: 2 / epoch**0.5} if validation_loss else {}
        scores = {score: 0.1 * epoch, score + '_50': 0.2 * epoch} if 'mAP' in score else {score: 10.0 * epoch}
        lines.append({**scores, **more, 'time': 0.1, 'step': epoch})
    log = folder / name / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder / name


def _legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_classifiers_get_figure_4(tmp_path):
    names = ('tinynet_e', 'efficientnet')
    runs = logs.read([_log(tmp_path, name, 'accuracy/top1', validation_loss='cross_entropy') for name in names])
    accuracy, loss = plots.learning_curves(runs).axes
    assert accuracy.get_ylabel() == 'accuracy/top1 [%]' and accuracy.get_xlabel() == 'epoch'
    assert _legend(accuracy) == ['tinynet_e (best 40 at epoch 4)', 'efficientnet (best 40 at epoch 4)']
    assert _legend(loss) == [f'{name} {key}' for name in names for key in ('loss, train', 'cross_entropy, val')]
    assert [line.get_xdata().tolist() for line in accuracy.lines] == [[1, 2, 3, 4]] * 2
    raw, mean, validation = loss.lines[:3]
    assert len(raw.get_xdata()) == len(mean.get_xdata()) == 40 and raw.get_alpha() < 1
    assert np.ptp(np.diff(mean.get_ydata())) < np.ptp(np.diff(raw.get_ydata()))
    assert validation.get_xdata().tolist() == [1, 2, 3, 4] and validation.get_linestyle() == '--'
    assert {raw.get_color(), mean.get_color(), validation.get_color()} == {plots.COLOURS[0]}


def test_a_validation_loss_averaged_by_mmengine_is_drawn_with_a_note(tmp_path):
    runs = logs.read([_log(tmp_path, name, 'accuracy/top1', validation_loss='loss') for name in 'ab'])
    assert _legend(plots.learning_curves(runs).axes[1]) == ['a, train', 'a, val', 'b, train', 'b, val']
    words = 'MMEngine logs validation values with "loss" in their name as means over the last ones, by default ten.'
    assert [run.notes for run in runs] == [(f'a: {words}',), (f'b: {words}',)]


def test_the_loss_of_raw_weights_is_not_drawn(tmp_path):
    work_dir = _log(tmp_path, 'a', 'accuracy/top1', validation_loss='cross_entropy')
    log = next(work_dir.rglob('scalars.json'))
    text = log.read_text().replace(
        '"cross_entropy": 2.0', '"cross_entropy": 2.0, "raw/cross_entropy": 30.0, "raw/accuracy/top1": 5.0'
    )
    log.write_text(text)
    panels = plots.default_panels(logs.read([work_dir]))
    expected = [('val/accuracy/top1', 'val/raw/accuracy/top1'), ('train/loss', 'val/cross_entropy')]
    assert [panel.keys for panel in panels] == expected


def test_detectors_get_losses_and_map(tmp_path):
    runs = logs.read([_log(tmp_path, 'a', 'coco/bbox_mAP')])
    loss, scores = plots.learning_curves(runs).axes
    assert _legend(loss) == ['loss', 'loss_cls', 'loss_bbox']
    assert _legend(scores) == ['coco/bbox_mAP (best 0.4 at epoch 4)', 'coco/bbox_mAP_50 (best 0.8 at epoch 4)']
    two = plots.default_panels([*runs, *runs])
    assert [panel.keys for panel in two] == [('train/loss',), ('val/coco/bbox_mAP',)]


def test_chosen_keys_and_many_runs(tmp_path):
    runs = logs.read([_log(tmp_path, f'run{k}', 'accuracy/top1') for k in range(8)])
    figure = plots.learning_curves(runs, ['lr', 'loss', 'top1', 'train/time'], smoothing=0)
    assert [axes.get_ylabel() for axes in figure.axes] == ['learning rate', 'loss', 'accuracy/top1 [%]', 'time per iteration [s]']
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f'run{k}' for k in range(8)]
    assert len(figure.axes[1].lines) == 8  # without smoothing no raw curve behind


def test_smooth_is_the_mean_weighted_by_distance_and_keeps_gaps():
    values = np.array([1.0, 5.0, np.nan, 2.0, np.inf, 7.0])
    finite = np.array([1.0, 5.0, 2.0, 7.0])
    weights = 0.6 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    expected = weights @ finite / weights.sum(axis=1)
    smoothed = plots.curves.smooth(values, 0.6)
    np.testing.assert_allclose(smoothed[[0, 1, 3, 5]], expected)
    assert np.isnan(smoothed[[2, 4]]).all()
    np.testing.assert_array_equal(plots.curves.smooth(finite, 0.0), finite)


def test_tool_draws_and_writes_the_numbers(tmp_path, capsys):
    work_dir = _log(tmp_path, 'a', 'coco/bbox_mAP')
    out = tmp_path / 'figures' / 'curves.svg'
    assert plot_curves.main([str(work_dir), '--out', str(out), '--keys', 'loss,bbox_mAP']) == 0
    assert 'coco/bbox_mAP' in out.read_text()
    assert out.with_suffix('.csv').read_text().splitlines()[-1] == 'a,val,coco/bbox_mAP,40,4,0.4'
    assert str(out) in capsys.readouterr().out
    for wrong, words in [
        (['--keys', 'los'], 'Did you mean loss'),
        (['--smoothing', '1'], 'smoothing is 1.0'),
        (['--out', 'x.bmp'], r'\.png, \.pdf, \.svg'),
    ]:
        with pytest.raises(ValueError, match=words):
            plot_curves.main([str(work_dir), *wrong])


def test_watch_waits_for_the_first_line_and_redraws(tmp_path, capsys, monkeypatch):
    whole = (_log(tmp_path, 'whole', 'accuracy/top1') / '20260101_000000' / 'vis_data' / 'scalars.json').read_text()
    growing = tmp_path / 'growing' / '20260101_000000' / 'vis_data' / 'scalars.json'
    growing.parent.mkdir(parents=True)
    table, lengths, seen = tmp_path / 'curves.csv', [0, 1000, 1000, len(whole)], []

    def write_more(_seconds):
        seen.append(len(table.read_text().splitlines()) if table.exists() else 0)
        if not lengths:
            raise KeyboardInterrupt
        growing.write_text(whole[: lengths.pop(0)])

    monkeypatch.setattr(plot_curves.time, 'sleep', write_more)
    assert plot_curves.main([str(tmp_path / 'growing'), '--out', str(tmp_path / 'curves.png'), '--watch']) == 0
    assert seen == [0, 0, seen[2], seen[2], 1 + 40 + 4] and 0 < seen[2] < seen[4]
    said = capsys.readouterr().out
    assert 'waiting: ' in said and 'the log is empty' in said and 'the last line is incomplete' in said
    assert said.count('the last line is incomplete') == 1 and said.rstrip().endswith('curves.png')
