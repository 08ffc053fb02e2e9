"""The SSDLite head and its configs: anchors against an explicit formula, a training step and a prediction of every config."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tinynet_mm.bench.batches import random_batch
from tinynet_mm.mmlab import editing
from tinynet_mm.models.ssdlite import SCALES, SSDLiteHead

CONFIGS = sorted(Path('configs').glob('ssdlite_*_coco.py'))


def detector(path: str | Path, size: int, classes: int = 3):
    init_default_scope('mmdet')
    cfg = Config.fromfile(path)
    editing.set_input_size(cfg, size)
    cfg.model.backbone.init_cfg = None
    cfg.model.bbox_head.num_classes = classes
    return MODELS.build(cfg.model)


def test_all_configs_exist():
    names = {path.stem.removeprefix('ssdlite_').removesuffix('_coco') for path in CONFIGS}
    expected = {f'tinynet_{x}' for x in 'abcde'} | {f'efficientnet_{x}' for x in ('b0', 'b-1', 'b-2', 'b-3', 'b-4', 'lite0')}
    assert names == expected | {'mobilenetv2', 'tinynet_d_lite'}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_takes_a_training_step_and_predicts(path):
    model = detector(path, 96)
    model.init_weights()
    data = random_batch(96, 2)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    total = sum(sum(v) for v in losses.values()).sum()
    total.backward()
    assert torch.isfinite(total) and all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        found = model.eval().test_step(random_batch(96, 2))[0].pred_instances
    assert found.bboxes.shape[1] == 4 and (found.labels < 3).all() and (found.bboxes >= 0).all() and (found.bboxes <= 96).all()


@pytest.mark.parametrize('size', [512, 320, 500])
def test_anchors_follow_input_size_and_strides(size):
    head = SSDLiteHead(3, (8,) * 6, input_size=size)
    sides = [math.ceil(size / 2**k) for k in range(4, 10)]
    anchors = head.prior_generator.grid_priors([(s, s) for s in sides], device='cpu')
    for level, (side, boxes) in enumerate(zip(sides, anchors)):
        boxes = boxes.numpy().reshape(side, side, 6, 4)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        grid = (np.arange(side) + 0.5) * size / side  # cells of equal size that fill the input
        np.testing.assert_allclose(centres[..., 0], np.broadcast_to(grid[None, :, None], (side, side, 6)), rtol=1e-4)
        np.testing.assert_allclose(centres[..., 1], np.broadcast_to(grid[:, None, None], (side, side, 6)), rtol=1e-4)
        widths, heights = boxes[0, 0, :, 2] - boxes[0, 0, :, 0], boxes[0, 0, :, 3] - boxes[0, 0, :, 1]
        small, large = SCALES[level] * size, math.sqrt(SCALES[level] * SCALES[level + 1]) * size
        areas = sorted([small**2] * 5 + [large**2])
        np.testing.assert_allclose(sorted(widths * heights), areas, rtol=1e-4)
        np.testing.assert_allclose(sorted(heights / widths), [1 / 3, 1 / 2, 1, 1, 2, 3], rtol=1e-4)


def test_maps_of_another_size_are_refused():
    model = detector('configs/ssdlite_tinynet_e_coco.py', 128).eval()
    with pytest.raises(ValueError, match='--input-size N sets both'):
        model.test_step(random_batch(96, 2))


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='give each level one of each'):
        SSDLiteHead(3, (8, 8))


def test_suppression_runs_on_the_cpu_if_mmcv_has_no_cuda(monkeypatch):
    """Without a GPU: results that report CUDA must be moved before they reach mmcv."""
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    class OnGPU:
        is_cuda = True

    class Results:
        scores = OnGPU()

        def cpu(self):
            return 'moved'

    seen = []
    monkeypatch.setattr(BaseDenseHead, '_bbox_post_process', lambda self, results, *a, **k: seen.append(results))
    heads = (SSDLiteHead(3, (8,) * 6), detector('configs/rtmdet_tinynet_e_coco.py', 96).bbox_head)
    for built_with, expected in (('not available', 'moved'), ('13.0', Results)):
        monkeypatch.setattr('tinynet_mm.models.suppression.get_compiling_cuda_version', lambda v=built_with: v)
        for head in heads:
            head._bbox_post_process(Results())
            assert seen[-1] == expected or isinstance(seen[-1], expected)
