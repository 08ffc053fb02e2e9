"""Parts of the runtime: selection of boxes against a loop and torchvision, and the input of the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from tinynet_mm.deploy.boxes import candidates, suppress
from tinynet_mm.deploy.resize import InputWriter
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import UserError

# Selection of boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('classes', [1, 5])
@pytest.mark.parametrize('limit', [0, 30])
def test_suppression_equals_torchvision(classes, limit):
    rng = np.random.default_rng(classes)
    centres, sizes = rng.uniform(0, 90, (900, 2)), rng.uniform(5, 40, (900, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    scores, labels = np.sort(rng.random(900, dtype=np.float32))[::-1].copy(), rng.integers(0, classes, 900)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.5).numpy()
    assert 30 < len(expected) < 900
    np.testing.assert_array_equal(suppress(boxes, labels, 0.5, limit), expected[: limit or None])


@pytest.mark.parametrize('levels', [(), (60, 30, 10)])
@pytest.mark.parametrize('nms_pre', [0, 7])
@pytest.mark.parametrize('multi_label', [True, False])
def test_candidates_equal_a_loop(levels, nms_pre, multi_label):
    scores = np.random.default_rng(0).random((100, 4), dtype=np.float32)
    expected, start = [], 0
    for size in levels or (100,):
        entries = [
            (float(scores[row, label]), row, label)
            for row in range(start, start + size)
            for label in (range(4) if multi_label else [scores[row].argmax()])
            if scores[row, label] > 0.6
        ]
        expected += sorted(entries, reverse=True)[: nms_pre or None]
        start += size
    rows, labels, values = candidates(scores, 0.6, nms_pre, levels, multi_label)
    assert list(zip(values.tolist(), rows, labels)) == sorted(expected, reverse=True)
    assert len(candidates(scores, 1.0)[0]) == 0


def test_nothing_to_suppress():
    assert len(suppress(np.zeros((0, 4), np.float32), np.zeros(0, int), 0.5)) == 0


# Preprocessing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('channels', ['RGB', 'BGR'])
def test_the_rest_of_a_letterbox_is_normalised_padding(channels):
    spec = Spec('detection', 'decoded', (), 40, 64, resize='letterbox', edge=40, pad=(10.0, 20.0, 30.0), channels=channels)
    writer = InputWriter(replace(spec, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0)))
    batch = writer.batch(1)
    placed = writer.write(np.full((80, 80, 3), (7, 8, 9), np.uint8), batch[0])
    assert placed.factors.tolist() == [0.5] * 4 and placed.limits.tolist() == [40] * 4
    inside, outside = ((9, 8, 7), (10, 20, 30)) if channels == 'RGB' else ((7, 8, 9), (30, 20, 10))
    for channel, (mean, std) in enumerate(((1, 2), (2, 4), (3, 5))):
        np.testing.assert_allclose(batch[0, channel, :, :40], (inside[channel] - mean) / std, rtol=1e-6)
        np.testing.assert_allclose(batch[0, channel, :, 40:], (outside[channel] - mean) / std, rtol=1e-6)


@pytest.mark.parametrize(
    'change', [dict(resize='fold'), dict(backend='torch'), dict(interpolation='box'), dict(resize='crop', edge=9)]
)
def test_an_unknown_resize_is_refused(change):
    with pytest.raises(UserError, match='export again'):
        InputWriter(replace(Spec('classification', 'logits', (), 10, 10), **change))
