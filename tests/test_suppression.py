"""Suppression on the CPU where mmcv was built without CUDA: every shipped detector has it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from tinynet_mm.models import suppression

CONFIGS = sorted(Path('configs').glob('*_coco.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_head_of_each_detector_suppresses_on_the_cpu_if_it_must(path):
    head = Config.fromfile(path).model.bbox_head
    assert issubclass(MODELS.get(head.type), suppression.SuppressOnCPU)


@pytest.mark.parametrize('on_gpu, built_for, moved', [(True, 'not available', True), (True, '13.0', False), (False, '', False)])
def test_boxes_move_only_from_a_gpu_without_operators(monkeypatch, on_gpu, built_for, moved):
    class Head(suppression.SuppressOnCPU):
        def __init__(self):
            pass

        def loss_by_feat(self):
            pass

    monkeypatch.setattr(suppression, 'get_compiling_cuda_version', lambda: built_for)
    monkeypatch.setattr(
        suppression.BaseDenseHead, '_bbox_post_process', lambda self, results, *args, **kwargs: (results, args, kwargs)
    )
    results = SimpleNamespace(scores=SimpleNamespace(is_cuda=on_gpu), cpu=lambda: 'on the CPU')
    found, *rest = Head()._bbox_post_process(results, 1, rescale=True)
    assert (found == 'on the CPU') == moved and rest == [(1,), dict(rescale=True)]
