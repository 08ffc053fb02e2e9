"""Figures: detection sheets, learning curves and accuracy against cost, checked by what is drawn and by what is written."""

import matplotlib as mpl
import numpy as np
import pytest

from tinynet_mm import plots


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


def test_crowded_sheet_leaves_the_classes_to_the_legend_if_there_is_one():
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
