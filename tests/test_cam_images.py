"""Images through a test pipeline and back, batches, and drawings."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tinynet_mm.cam import Explanation, Question
from tinynet_mm.cam.draw import blend, overlay
from tinynet_mm.cam.folder import Seen, ahead
from tinynet_mm.cam.images import Pipeline, batches

# Through a pipeline and back --------------------------------------------------------------------------------------------------

PIPELINES = {  # name -> (scope, steps, scale and shift (x, y) of a picture 200 wide and 100 high)
    'resize': ('mmdet', [dict(type='Resize', scale=(64, 128), keep_ratio=False)], (0.32, 1.28), (0, 0)),
    'keep the ratio and pad': (
        'mmdet',
        [
            dict(type='Resize', scale=(80, 80), keep_ratio=True),
            dict(type='Pad', size=(80, 80), pad_val=dict(img=(114, 114, 114))),
        ],
        (0.4, 0.4),
        (0, 0),
    ),
    'crop the centre': (
        'mmpretrain',
        [dict(type='ResizeEdge', scale=64, edge='short', backend='pillow'), dict(type='CenterCrop', crop_size=56)],
        (0.64, 0.64),
        (-36, -4),
    ),
    'crop as EfficientNet': (
        'mmpretrain',
        [dict(type='EfficientNetCenterCrop', crop_size=224, interpolation='bicubic')],
        (224 / 87, 224 / 87),  # 224 / (224 + 32) of the shorter side, 87.5, cut to whole pixels
        (-56 * 224 / 87, -6 * 224 / 87),
    ),
}


def preprocess(data: dict, training: bool) -> dict:
    """A data preprocessor that changes nothing."""
    return dict(inputs=torch.stack(data['inputs']).float(), data_samples=data['data_samples'])


PLAIN = SimpleNamespace(data_preprocessor=preprocess)


def pipeline_of(scope: str, steps: list[dict]) -> Pipeline:
    init_default_scope(scope)
    pack = dict(type='PackDetInputs', meta_keys=('ori_shape', 'img_shape')) if scope == 'mmdet' else dict(type='PackInputs')
    load = (
        [dict(type='LoadImageFromFile'), dict(type=f'{scope}.LoadAnnotations')]
        if scope == 'mmdet'
        else [dict(type='LoadImageFromFile')]
    )
    return Pipeline(
        Config(dict(test_dataloader=dict(dataset=dict(type='X', dataset=dict(pipeline=[*load, *steps, pack]))))), PLAIN
    )


@pytest.mark.parametrize(('scope', 'steps', 'scale', 'shift'), PIPELINES.values(), ids=PIPELINES)
def test_pipeline_is_measured(tmp_path, scope, steps, scale, shift):
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[40:48, 90:98] = 255  # a dot away from the middle
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    sample = pipeline_of(scope, steps)(tmp_path / 'a.png')
    np.testing.assert_allclose(sample.scale, scale, rtol=0.015)
    np.testing.assert_allclose(sample.shift, shift, atol=0.6)
    seen = np.asarray(sample.inputs, dtype=np.float32)[0, 0]
    back = sample.put_back(np.where(seen == 114, 0, seen))
    assert back.shape == (100, 200)
    ys, xs = np.nonzero(back > 0.6 * back.max())
    assert abs(xs.mean() - 93.5) < 1 and abs(ys.mean() - 43.5) < 1
    np.testing.assert_allclose(sample.to_original(sample.to_input([3, 4, 50, 60])), [3, 4, 50, 60])


def test_a_map_is_zero_where_a_crop_removed_the_picture(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((100, 200, 3), 9, np.uint8))
    scope, steps, *_ = PIPELINES['crop the centre']
    sample = pipeline_of(scope, steps)(tmp_path / 'a.png')
    back = sample.put_back(np.ones((56, 56)))
    assert set(np.unique(back)) == {0, 1}
    assert back[50].sum() == pytest.approx(56 / 0.64, abs=2) and back[:, 100].sum() == pytest.approx(56 / 0.64, abs=2)


def test_no_map_if_all_evidence_is_in_the_padding(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((100, 200, 3), 9, np.uint8))
    scope, steps, *_ = PIPELINES['keep the ratio and pad']  # the picture fills the upper half
    sample = pipeline_of(scope, steps)(tmp_path / 'a.png')
    values = np.zeros((80, 80), np.float32)
    values[60:] = 1
    hidden = Seen(sample, Explanation(Question(()), ('level0',), values), [])
    assert not hidden.has_map and hidden.values is None and 'is outside the picture' in hidden.note
    values[10, 10] = 0.5
    seen = Seen(sample, Explanation(Question(()), ('level0',), values), [])
    assert seen.has_map and seen.values.max() > 0.1 and seen.note == ''


def test_unsupported_pipelines(tmp_path):
    with pytest.raises(ValueError, match='no test_dataloader with a pipeline'):
        Pipeline(Config(dict(model=dict(type='X'))), PLAIN)
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((100, 200, 3), 9, np.uint8))
    normalise = dict(type='mmcv.Normalize', mean=[9, 9, 9], std=[2, 2, 2], to_rgb=False)
    with pytest.raises(ValueError, match='changes colours'):
        pipeline_of('mmdet', [normalise])(tmp_path / 'a.png')


def test_batches_hold_images_of_one_shape_only():
    class Shaped:
        def __init__(self, shape):
            self.shape = shape

    samples = [Shaped(shape) for shape in 'aabababbba']
    grouped = list(batches(samples, 3))
    assert all(len({s.shape for s in group}) == 1 and len(group) <= 3 for group in grouped)
    assert sorted(id(s) for group in grouped for s in group) == sorted(map(id, samples))


def test_reading_ahead_keeps_order_and_errors():
    assert list(ahead(str, range(20), 3)) == [str(i) for i in range(20)]
    broken = ahead(lambda i: 1 // (5 - i), range(20), 3)
    assert [next(broken) for _ in range(5)] == [1 // (5 - i) for i in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(broken)


# Pictures ---------------------------------------------------------------------------------------------------------------------


def test_overlay_leaves_the_picture_where_the_map_is_zero():
    picture = np.random.default_rng(0).integers(0, 255, (500, 600, 3), dtype=np.uint8)
    values = np.zeros((500, 600), np.float32)
    values[:, 300:] = 1
    blended = blend(picture, values)
    assert (blended[:, :300] == picture[:, :300]).all() and (blended[:, 300:] != picture[:, 300:]).any()
    drawn = overlay(picture, values, [(20, 100, 120, 200)], ['star 0.93'])
    assert drawn.shape == (500, 600, 3) and (drawn[100, 30] == 255).all()
    small = overlay(picture[:50, :60], values[:50, :60], labels=['star 0.93', 'ring 0.05'])
    assert small.shape[:2] == (400, 480)
    strip = overlay(np.zeros((60, 2000, 3), np.uint8), np.zeros((60, 2000)), labels=['star 0.93'])
    assert 0 < np.flatnonzero(strip.any(axis=(1, 2))).max() < 30  # the label covers less than half of it
