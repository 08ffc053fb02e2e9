"""One rule for the input size of a config: read for classifiers, detectors and images in memory, and set for SSDLite."""

import pytest
from mmengine.config import Config

from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import configs, editing


@pytest.mark.parametrize(
    'config, side',
    [
        ('configs/ssdlite_tinynet_d_coco.py', 512),
        ('configs/imagenet/tinynet_e_in1k.py', 106),
        ('configs/cifar10/tinynet_e_cifar10.py', 48),
    ],
)
def test_the_side_of_our_configs(config, side):
    assert configs.input_side(Config.fromfile(config)) == side


def with_pipeline(*transforms: dict) -> Config:
    """Return a config with these transforms in its test pipeline."""
    return Config(dict(model=dict(), test_dataloader=dict(dataset=dict(pipeline=list(transforms)))))


def test_the_last_size_of_the_test_pipeline_is_the_input():
    cfg = with_pipeline(dict(type='Resize', scale=(640, 480)), dict(type='Pad', size=(704, 512)), dict(type='PackDetInputs'))
    assert configs.input_size(cfg) == (512, 704)
    with pytest.raises(UserError, match='512x704'):
        configs.input_side(cfg)
    assert configs.input_size(with_pipeline(dict(type='Resize', scale=320), dict(type='Pad', size_divisor=32))) == (320, 320)
    assert configs.input_size(with_pipeline(dict(type='Resize', scale=300), dict(type='Rotate', scale=0.5))) == (300, 300)


def test_only_transforms_of_the_old_size_are_moved():
    cfg = Config.fromfile('configs/ssdlite_tinynet_e_coco.py')
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='mmdet.Pad', size=(512, 512)))
    cfg.train_dataloader.dataset.pipeline.insert(1, dict(type='mmdet.RandomCrop', crop_size=(300, 300)))
    editing.set_input_size(cfg, 256)
    assert cfg.val_dataloader.dataset.pipeline[1]['size'] == (256, 256)
    assert cfg.train_dataloader.dataset.pipeline[1]['crop_size'] == (300, 300)
    assert configs.input_side(cfg) == cfg.model.bbox_head.input_size == 256
