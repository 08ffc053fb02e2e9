"""Balanced training sets and images without boxes: what a loader shows, compared with counts by hand, and the losses."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import InstanceData

from tinynet_mm.data.balance import balance, keep_empty
from tinynet_mm.data.check import check_config
from tinynet_mm.data.coco import splits_of
from tinynet_mm.data.images import write_image
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import checkpoints, configs, editing
from tinynet_mm.mmlab.registration import config_root
from tinynet_mm.models.ssdlite import SSDLiteHead

NAMES = ('common', 'usual', 'rare')
STEPS = ('LoadImageFromFile', 'LoadAnnotations', 'SSDWarp', 'RandomCrop', 'PackDetInputs')
SSD, RTMDET = ('configs/ssdlite_tinynet_e_coco.py', 'configs/rtmdet_tinynet_e_coco.py')


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """20 images: 16 with "common", 12 with "usual", 1 with "rare", and 4 without boxes."""
    root = tmp_path_factory.mktemp('data')
    present = [[0, 1]] * 11 + [[0]] * 4 + [[0, 1, 2]] + [[]] * 4
    images = [dict(id=i, file_name=f'{i}.jpg', width=64, height=64) for i in range(20)]
    pairs = [(i, label) for i, labels in enumerate(present) for label in labels]
    boxes = [
        dict(id=n, image_id=i, category_id=label, bbox=[5 + 9 * label, 8, 24, 30], area=720, iscrowd=0)
        for n, (i, label) in enumerate(pairs)
    ]
    content = dict(images=images, annotations=boxes, categories=[dict(id=n, name=name) for n, name in enumerate(NAMES)])
    (root / 'annotations').mkdir()
    for split in ('train', 'val'):
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    for image in images:
        write_image(root / 'images' / image['file_name'], np.full((64, 64, 3), 90, np.uint8))
    return root


def config(name: str, root: Path) -> Config:
    init_default_scope('mmdet')
    cfg = editing.prepare(Config.fromfile(config_root() / name), root, note=lambda text: None)
    if name == SSD:
        editing.set_input_size(cfg, 64)
    data = cfg.train_dataloader.dataset
    data.pipeline = [step for step in data.pipeline if step.type.split('.')[-1] in STEPS]  # one image at a time
    return cfg


def shown(cfg: Config) -> list[int]:
    """The image of each sample of an epoch."""
    data = DATASETS.build(cfg.train_dataloader.dataset)
    return [data.get_data_info(index)['img_id'] for index in range(len(data))]


@pytest.mark.parametrize('name', [SSD, RTMDET])
def test_images_of_rare_classes_are_repeated(name, root):
    cfg = config(name, root)
    assert shown(cfg) == list(range(16))
    said = balance(cfg)
    times = math.ceil(math.sqrt((12 / 2) / 1))  # the median class is in 12 images
    assert said == f'--balance shows the images of rare classes several times an epoch: rare (in 1) {times} times.'
    assert shown(cfg) == [*range(15), *[15] * times]


def test_the_wrapper_works_with_the_rest(root, tmp_path):
    cfg = config(RTMDET, root)
    balance(cfg)
    assert splits_of(cfg)['train'].ann_file == root / 'annotations' / 'train.json'
    assert [report.images for report in check_config(cfg, ('train',))] == [20]
    editing.set_epochs(cfg, 3)
    cfg.dump(tmp_path / 'config.py')
    again = Config.fromfile(tmp_path / 'config.py')
    assert again.train_dataloader == cfg.train_dataloader and configs.input_side(again) == configs.input_side(cfg)
    data = DATASETS.build(cfg.train_dataloader.dataset)
    data.pipeline = lambda results: results['img_id']  # as PipelineSwitchHook
    assert [data[index] for index in range(len(data))] == shown(cfg)


def test_even_classes_and_data_without_one_file(root):
    cfg = config(SSD, root)
    path = root / 'annotations' / 'even.json'
    content = json.loads((root / 'annotations' / 'train.json').read_text())
    path.write_text(json.dumps(dict(content, annotations=[a for a in content['annotations'] if a['category_id'] < 2])))
    cfg.train_dataloader.dataset.ann_file = str(path)
    assert 'repeats nothing' in balance(cfg) and shown(cfg) == list(range(16))
    both = [cfg.train_dataloader.dataset.dataset] * 2
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=both)
    with pytest.raises(UserError, match='one training set in COCO format; this config has 2'):
        balance(cfg)
    with pytest.raises(UserError, match='--keep-empty works with detectors'):
        keep_empty(Config(dict(train_dataloader=dict(dataset=dict(type='ClassFolders')))))


@pytest.mark.parametrize('name', [SSD, RTMDET])
def test_images_without_boxes_reach_the_training(name, root):
    cfg = config(name, root)
    keep_empty(cfg)
    balance(cfg)
    assert shown(cfg) == [*range(15), 15, 15, 15, 16, 17, 18, 19]
    data = DATASETS.build(cfg.train_dataloader.dataset)
    for _ in range(5):
        samples = [data[index]['data_samples'] for index in range(18, 22)]
        assert [sample.img_id for sample in samples] == [16, 17, 18, 19], 'no other image replaces it'
        assert not any(len(sample.gt_instances) for sample in samples)
    later = [part for part in configs.walk(cfg.get('custom_hooks')) if part.get('type') == 'mmdet.RandomCrop']
    assert all(part.allow_negative_crop for part in later) and len(later) == (name == RTMDET)


def test_the_options_of_the_tool(root, capsys):
    spec = importlib.util.spec_from_file_location('tools_train', Path('tools') / 'train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    common = [SSD, '--data-root', str(root), '--schedule', 'short', '--input-size', '64']
    assert shown(tool.configure(tool.parse_arguments(common))) == list(range(16))
    assert shown(tool.configure(tool.parse_arguments([*common, '--balance', '--keep-empty']))) == [
        *range(16),
        15,
        15,
        *range(16, 20),
    ]
    assert 'rare (in 1) 3 times' in capsys.readouterr().out


def sample(size: int, boxes: list) -> DetDataSample:
    shape = dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size), scale_factor=(1, 1))
    labels = torch.zeros(len(boxes), dtype=torch.long)
    instances = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), labels=labels)
    return DetDataSample(metainfo=shape, gt_instances=instances, ignored_instances=InstanceData(bboxes=torch.zeros(0, 4)))


@pytest.mark.parametrize('name, size', [(SSD, 64), (RTMDET, 320)])
@pytest.mark.parametrize('boxes', [[[], []], [[], [[4.0, 4, 50, 50]]]], ids=['none', 'one of two'])
def test_a_step_on_images_without_boxes(name, size, boxes, root):
    cfg = config(name, root)
    checkpoints.from_scratch(cfg)
    torch.manual_seed(0)
    from mmdet.registry import MODELS

    model = MODELS.build(cfg.model)
    model.init_weights()
    inputs = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in boxes]
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample(size, entry) for entry in boxes]), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    gradients = [p.grad for p in model.bbox_head.parameters() if p.grad is not None]
    assert torch.isfinite(loss) and loss > 0 and all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients), 'an image without boxes must teach the background'


def test_the_ssd_loss_of_an_image_without_boxes():
    """Three negatives, as for one positive anchor; an image with a positive anchor keeps mmdet's loss."""
    head = SSDLiteHead(
        2,
        (8,) * 6,
        train_cfg=dict(
            neg_pos_ratio=3, smoothl1_beta=1.0, assigner=dict(type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)
        ),
    )
    torch.manual_seed(1)
    scores, deltas = torch.randn(10, 3), torch.randn(10, 4)
    weights, zeros = torch.ones(10), torch.zeros(10, 4)
    for labels, positives in (([2] * 10, 0), ([2] * 9 + [1], 1)):
        labels = torch.tensor(labels)
        found, box = head.loss_by_feat_single(scores, deltas, zeros, labels, weights, zeros, zeros, avg_factor=2)
        losses = F.cross_entropy(scores, labels, reduction='none')
        expected = losses[labels == 2].sort(descending=True).values[:3].sum() + losses[labels == 1].sum()
        assert torch.allclose(found, expected[None] / 2) and box == 0, positives
