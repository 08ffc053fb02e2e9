"""RandAugment by timm in a pipeline of mmcv: the colours, the strength of its operations, and that a seed decides."""

import random

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageOps
from timm.data import auto_augment

from tinynet_mm.errors import UserError

POLICY = 'rand-m9-mstd0.5'


def build(policy: str = POLICY):
    return TRANSFORMS.build(dict(type='TimmRandAugment', policy=policy))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_the_plain_set_of_timm_has_the_strength_of_the_paper():
    """Magnitude 9 of the plain set: threshold 230 instead of 26 for solarize, 3 bits instead of 1 for posterize."""
    operations = {operation.name: operation for operation in build().augment.ops}
    levels = {name: operations[name].level_fn(9, {})[0] for name in ('Solarize', 'Posterize')}
    assert levels == dict(Solarize=230, Posterize=3) and len(operations) == 15
    assert {(operation.magnitude, operation.magnitude_std, operation.prob) for operation in operations.values()} == {
        (9, 0.5, 0.5)
    }
    assert {operation.kwargs['fillcolor'] for operation in operations.values()} == {(124, 116, 104)}
    increasing = auto_augment.LEVEL_TO_ARG
    assert increasing['SolarizeIncreasing'](9, {})[0] == 26 and increasing['PosterizeIncreasing'](9, {})[0] == 1


def test_colours_are_in_timms_order(picture):
    """A shifted image uncovers the mean colour, red first in timm and last in the array of mmcv."""
    augment = build('rand-m9-n1-p1')
    shift = next(operation for operation in augment.augment.ops if operation.name == 'TranslateXRel')
    augment.augment.ops = [shift]
    found = augment(dict(img=picture))['img']
    filled = (found == (104, 116, 124)).all(2)
    assert found.shape == picture.shape and found.dtype == np.uint8 and filled.all(0).sum() >= 20
    solarize = next(operation for operation in build('rand-m9-n1-p1').augment.ops if operation.name == 'Solarize')
    augment.augment.ops = [solarize]
    expected = np.asarray(ImageOps.solarize(Image.fromarray(picture[..., ::-1]), 230))[..., ::-1]
    np.testing.assert_array_equal(augment(dict(img=picture))['img'], expected)


def test_a_seed_decides(picture):
    augment, found = build(), []
    for seed in (0, 0, 1):
        random.seed(seed), np.random.seed(seed)
        found.append([augment(dict(img=picture, gt_label=1))['img'] for _ in range(8)])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


@pytest.mark.parametrize('policy', ['original', 'rand-q9'])
def test_another_text_is_refused(policy):
    with pytest.raises(UserError, match="give one like 'rand-m9-mstd0.5'"):
        build(policy)
