"""Measures of faithfulness against loops that follow their definitions."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from tinynet_mm.cam import Truth, evaluate
from tinynet_mm.cam import faithfulness as measures
from tinynet_mm.errors import UserError

RNG = np.random.default_rng(5)
VALUES = RNG.random((9, 14))
BOXES = {
    'one': [(2, 1, 6, 7)],
    'two that overlap': [(2, 1, 6, 7), (5, 4, 13, 9)],
    'part of a pixel': [(2.6, 1.4, 6.2, 3.5)],
    'none': [],
}


def brute_inside(shape, boxes):
    """Row by row, pixel by pixel."""
    return [
        [any(x1 <= x + 0.5 <= x2 and y1 <= y + 0.5 <= y2 for x1, y1, x2, y2 in boxes) for x in range(shape[1])]
        for y in range(shape[0])
    ]


@pytest.mark.parametrize('boxes', BOXES.values(), ids=BOXES)
def test_inside_and_energy_pixel_by_pixel(boxes):
    expected = brute_inside(VALUES.shape, boxes)
    assert measures.inside(VALUES.shape, boxes).tolist() == expected
    total = sum(VALUES[y, x] for y in range(9) for x in range(14) if expected[y][x])
    assert measures.energy(VALUES, boxes) == pytest.approx(total / VALUES.sum())


def test_pointing_at_every_pixel():
    box = [(3, 2, 8, 6)]
    expected = brute_inside(VALUES.shape, box)
    for y in range(9):
        for x in range(14):
            peak = VALUES.copy()
            peak[y, x] = 2
            assert measures.pointing(peak, box) == expected[y][x]


def test_pointing_of_a_plateau_is_the_share_inside():
    flat = np.ones((4, 4))
    assert measures.pointing(flat, [(0, 0, 2, 4)]) == 0.5
    assert math.isnan(measures.energy(np.zeros((4, 4)), [(0, 0, 2, 4)]))


@pytest.mark.parametrize('steps', [1, 4, 10, 126])
def test_top_shares_take_the_highest_pixels_first(steps):
    masks = measures.top_shares(VALUES, steps, np.random.default_rng(0))
    falling = np.sort(VALUES, axis=None)[::-1]
    for k, mask in enumerate(masks):
        count = round(k * VALUES.size / steps)
        assert mask.sum() == count
        assert set(VALUES[mask]) == set(falling[:count])


def test_top_shares_draw_equal_values():
    flat = np.zeros((10, 10))
    first, second = (measures.top_shares(flat, 2, np.random.default_rng(seed))[1] for seed in (0, 1))
    assert first.sum() == second.sum() == 50
    assert (first != second).any()
    assert not first[:5].all()  # the upper half has no preference
    with pytest.raises(ValueError, match='at least one'):
        measures.top_shares(flat, 0, np.random.default_rng(0))


def test_area_of_known_curves():
    assert measures.area([1, 1, 1, 1]) == 1
    assert measures.area([1, 0]) == 0.5
    curve = RNG.random(11)
    trapezoids = sum((a + b) / 2 * 0.1 for a, b in zip(curve, curve[1:]))
    assert measures.area(curve) == pytest.approx(trapezoids)


def test_energy_of_the_baselines_by_formula():
    blob = measures.centre_blob((200, 400))
    assert blob.argmax() in {99 * 400 + 199, 99 * 400 + 200, 100 * 400 + 199, 100 * 400 + 200}
    one, two = (math.erf(sigmas / math.sqrt(2)) for sigmas in (1, 2))  # the picture ends at two sigmas
    assert measures.energy(blob, [(100, 50, 300, 150)]) == pytest.approx((one / two) ** 2, rel=1e-3)
    noise = np.mean(
        [measures.energy(measures.random_map((64, 64), np.random.default_rng(i)), [(0, 0, 32, 16)]) for i in range(60)]
    )
    assert noise == pytest.approx(1 / 8, abs=0.01)
    assert len(np.unique(measures.random_map((64, 96), RNG))) == 256


def test_summary_against_numpy_and_its_csv():
    def row(source, value):
        return dict(source=source, image=f'{value}.jpg', **dict.fromkeys(measures.MEASURES, value))

    values = [0.2, 0.6, 0.7]
    rows = [row('gradcam', v) for v in values] + [row('gradcam', math.nan), row('random', 0.5)]
    summary = measures.summarise(rows)
    assert [(s['source'], s['maps'], s['without_map']) for s in summary] == [('gradcam', 3, 1), ('random', 1, 0)]
    assert summary[0]['insertion'] == pytest.approx(np.mean(values))
    assert summary[0]['insertion_se'] == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert math.isnan(summary[1]['energy_se'])
    read = list(csv.DictReader(io.StringIO(measures.to_csv(summary, dict(steps=10)))))
    assert read[0]['pointing'] == '0.5' and read[1]['steps'] == '10'
    lines = measures.table(summary).split('\n')
    assert lines[1].startswith('gradcam') and '0.500 ± 0.153' in lines[1]


def test_images_of_one_name_in_two_folders_do_not_share_results(tmp_path):
    truths = [Truth(Path(f'{folder}/1.jpg'), np.zeros((1, 4)), np.zeros(1)) for folder in 'ab']
    asked = []

    def evaluator(truth):
        asked.append(truth.path)
        return [dict(image=truth.path.as_posix())]

    for _ in range(2):  # the second call reads the journal
        rows = [row for rows in evaluate(evaluator, truths, tmp_path / 'journal.jsonl', {}) for row in rows]
        assert [row['image'] for row in rows] == ['a/1.jpg', 'b/1.jpg']
    assert len(asked) == 2


def test_a_journal_by_file_names_is_refused(tmp_path):
    (tmp_path / 'journal.jsonl').write_text('{}\n{"image": "1.jpg", "rows": []}\n')
    with pytest.raises(UserError, match='from a run with other settings or an older version'):
        list(evaluate(list, [], tmp_path / 'journal.jsonl', {}))
