"""Every layout is adopted, and mmdet's CocoDataset reads the content of the files from the adopted config."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from tinynet_mm.data.check import check_root
from tinynet_mm.data.coco import SPLITS, adopt, find_layout, palette, splits_of
from tinynet_mm.errors import UserError

CATEGORIES = [{'id': 7, 'name': 'nut'}, {'id': 3, 'name': 'bolt'}]  # ids out of order on purpose
PLACES = {  # layout: split -> (annotation file, image folder)
    'coco': {
        'train': ('annotations/instances_train2017.json', 'train2017'),
        'val': ('annotations/instances_val2017.json', 'val2017'),
    },
    'plain': {split: (f'annotations/{split}.json', 'images') for split in SPLITS},
    'folders': {split: (f'annotations/{split}.json', f'images/{split}') for split in SPLITS},
    'roboflow': {
        'train': ('train/_annotations.coco.json', 'train'),
        'val': ('valid/_annotations.coco.json', 'valid'),
        'test': ('test/_annotations.coco.json', 'test'),
    },
}


def content(split: str, categories: list[dict], count: int = 2) -> dict:
    """Images of 40x30 with one box each, of the categories in turn."""
    images = [{'id': i, 'file_name': f'{split}_{i}.jpg', 'width': 40, 'height': 30} for i in range(count)]
    boxed = [category for category in categories if category.get('supercategory') != 'none']
    annotations = [
        {'id': i, 'image_id': i, 'category_id': boxed[i % len(boxed)]['id'], 'bbox': [2, 3, 10, 12], 'area': 120, 'iscrowd': 0}
        for i in range(count)
    ]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def write_split(root: Path, split: str, place: tuple[str, str], categories: list[dict]) -> None:
    ann_file, folder = (root / part for part in place)
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    record = content(split, categories)
    ann_file.write_text(json.dumps(record))
    for image in record['images']:
        cv2.imwrite(str(folder / image['file_name']), np.zeros((30, 40, 3), np.uint8))


def make(root: Path, layout: str = 'plain', splits=SPLITS, categories=CATEGORIES) -> Path:
    for split in splits:
        if split in PLACES[layout]:
            write_split(root, split, PLACES[layout][split], categories)
    return root


def detector(**changes) -> Config:
    """A config with all parts that adopt changes."""
    data = dict(type='mmdet.CocoDataset', data_root='x', ann_file='y', data_prefix=dict(img='z'), pipeline=[])
    loader = dict(batch_size=1, dataset=data)
    head = dict(type='Head', num_classes=80, losses=[dict(num_classes=80)])
    cfg = dict(
        model=dict(backbone=dict(num_classes=1000), bbox_head=head, rpn_head=dict(num_classes=1)),
        val_evaluator=dict(type='mmdet.CocoMetric', ann_file='y', metric='bbox'),
        test_evaluator=[dict(type='mmdet.CocoMetric', ann_file='y', metric='bbox')],
        **{f'{split}_dataloader': loader for split in SPLITS},
    )
    return Config(dict(cfg, **changes))


@pytest.mark.parametrize('layout', PLACES)
def test_each_layout_is_found_and_read_by_mmdet(layout, tmp_path):
    root = make(tmp_path, layout)
    cfg = detector()
    adopted = adopt(cfg, root)
    assert adopted.classes == ('nut', 'bolt') and adopted == find_layout(root)
    for split in PLACES[layout]:
        assert getattr(adopted, split).ann_file == root / PLACES[layout][split][0]
        dataset = DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset))
        assert dataset.metainfo['classes'] == ('nut', 'bolt') and len(dataset) == 2
        for record in (dataset.get_data_info(0), dataset.get_data_info(1)):
            assert Path(record['img_path']).is_file() and Path(record['img_path']).name.startswith(split)
        assert [dataset.get_data_info(i)['instances'][0]['bbox_label'] for i in (0, 1)] == [0, 1]
    assert METRICS.build(dict(cfg.val_evaluator))._coco_api.dataset['categories'] == CATEGORIES


def test_only_heads_get_the_number_of_classes(tmp_path):
    cfg = detector()
    adopt(cfg, make(tmp_path))
    assert cfg.model.bbox_head.num_classes == 2 and cfg.model.bbox_head.losses[0].num_classes == 2
    assert cfg.model.backbone.num_classes == 1000 and cfg.model.rpn_head.num_classes == 1


def test_data_sets_in_wrappers_are_adopted(tmp_path):
    inner = dict(type='mmdet.CocoDataset', ann_file='y', data_prefix=dict(img='z'))
    repeat = dict(dataset=dict(type='RepeatDataset', times=3, dataset=inner))
    concat = dict(dataset=dict(type='ConcatDataset', datasets=[inner]))
    cfg = detector(train_dataloader=repeat, val_dataloader=concat)
    adopt(cfg, make(tmp_path))
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == ('nut', 'bolt') and cfg.train_dataloader.dataset.times == 3
    assert cfg.val_dataloader.dataset.datasets[0].ann_file == 'annotations/val.json'
    assert splits_of(cfg)['train'].ann_file == tmp_path / 'annotations' / 'train.json'
    assert splits_of(cfg)['val'].images == tmp_path / 'images'


def test_parts_with_two_names_get_separate_splits(tmp_path):
    cfg = detector()
    cfg.test_evaluator = cfg.val_evaluator
    cfg.test_dataloader = cfg.val_dataloader
    adopt(cfg, make(tmp_path))
    assert cfg.val_evaluator.ann_file.endswith('val.json') and cfg.test_evaluator.ann_file.endswith('test.json')
    assert cfg.val_dataloader.dataset.ann_file != cfg.test_dataloader.dataset.ann_file


def test_the_adopted_config_can_be_written_and_read(tmp_path):
    cfg = detector()
    adopt(cfg, make(tmp_path / 'data'))
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').train_dataloader == cfg.train_dataloader


@pytest.mark.parametrize('existing, requested, used', [('val', 'test', 'val'), ('test', 'val', 'test')])
def test_a_missing_split_is_replaced_with_a_note(existing, requested, used, tmp_path):
    layout = find_layout(make(tmp_path, splits=('train', existing)))
    assert layout.split(requested) == getattr(layout, used)
    assert len(layout.notes) == 1 and f'no {requested} split' in layout.notes[0]
    assert find_layout(make(tmp_path)).notes == []


def test_a_split_without_fallback(tmp_path):
    root = make(tmp_path, splits=('train',))
    with pytest.raises(ValueError, match='no val or test split, only train'):
        find_layout(root).split('val')
    assert adopt(detector(), root, splits=('train',)).train.ann_file == root / 'annotations' / 'train.json'
    with pytest.raises(ValueError, match='no train split, only test'):
        find_layout(make(tmp_path / 'b', splits=('test',))).split('train')


def test_roboflows_empty_first_category_is_dropped(tmp_path):
    categories = [{'id': 0, 'name': 'things', 'supercategory': 'none'}] + [dict(c, supercategory='things') for c in CATEGORIES]
    root = make(tmp_path, 'roboflow', categories=categories)
    cfg = detector()
    assert adopt(cfg, root).classes == ('nut', 'bolt')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset))
    assert [dataset.get_data_info(i)['instances'][0]['bbox_label'] for i in (0, 1)] == [0, 1]


def test_a_supercategory_with_boxes_is_kept(tmp_path):
    categories = [{'id': 0, 'name': 'things', 'supercategory': 'thing'}] + [dict(c, supercategory='things') for c in CATEGORIES]
    assert find_layout(make(tmp_path, categories=categories)).classes == ('things', 'nut', 'bolt')


def test_file_names_can_be_relative_to_the_root(tmp_path):
    make(tmp_path)
    for path in (tmp_path / 'annotations').iterdir():
        path.write_text(path.read_text().replace('"file_name": "', '"file_name": "images/'))
    cfg = detector()
    assert adopt(cfg, tmp_path).train.images == tmp_path
    assert Path(DATASETS.build(dict(cfg.train_dataloader.dataset)).get_data_info(0)['img_path']).is_file()


def rewrite(root: Path, split: str, **changes) -> None:
    path = root / 'annotations' / f'{split}.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **changes)))


@pytest.mark.parametrize(
    'changes, sentence',
    [
        (dict(categories=[*CATEGORIES, {'id': 9, 'name': 'gear'}]), 'differ in gear'),
        (dict(categories=CATEGORIES[:1]), 'differ in bolt'),
        (dict(categories=CATEGORIES[::-1]), 'the same categories in another order'),
        (dict(categories=[{'id': 1}]), 'a text as "name"'),
        (dict(categories=[]), 'differ in bolt, nut'),
        (dict(images=None), 'no list of images'),
        (dict(annotations=[3]), 'an entry of annotations is not an object'),
    ],
)
def test_bad_files(changes, sentence, tmp_path):
    rewrite(make(tmp_path), 'val', **changes)
    with pytest.raises(ValueError, match=sentence) as error:
        find_layout(tmp_path)
    assert 'val.json' in str(error.value) and '\n' not in str(error.value)


def test_bad_categories_in_all_splits(tmp_path):
    with pytest.raises(ValueError, match='duplicate categories: nut'):
        find_layout(make(tmp_path / 'a', splits=('train',), categories=[*CATEGORIES, {'id': 9, 'name': 'nut'}]))
    rewrite(make(tmp_path / 'b', splits=('train',)), 'train', categories=[], annotations=[])
    with pytest.raises(ValueError, match='has no categories'):
        find_layout(tmp_path / 'b')
    code = """{{$NAME:'+str(open('mark','w'))+'}}"""
    with pytest.raises(ValueError, match='which MMEngine evaluates'):
        find_layout(make(tmp_path / 'c', splits=('train',), categories=[*CATEGORIES, {'id': 9, 'name': code}]))


@pytest.mark.parametrize('name', ['{root}_other/secret.jpg', '../../secret.jpg', 'sub/../../../secret.jpg', '/etc/passwd'])
def test_images_outside_of_the_data_set_are_refused(name, tmp_path):
    root = tmp_path / 'set'
    for split, place in PLACES['plain'].items():
        write_split(root, split, place, CATEGORIES)
    ann_file = root / 'annotations' / 'val.json'
    record = json.loads(ann_file.read_text())
    record['images'][1]['file_name'] = 'inside/../val_1.jpg'
    ann_file.write_text(json.dumps(record))
    assert find_layout(root).val.images == root / 'images'
    marker = dict(version=1, kind='voc', root='/', folders=['etc'], digest='of another machine')  # of a conversion
    (root / 'source.json').write_text(json.dumps(marker))
    record['images'][1]['file_name'] = name.format(root=root)
    ann_file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r'val.json: the image .* is outside of .*set; copy it there and correct its file_name'):
        find_layout(root)


def test_folders_without_a_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        find_layout(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='looked for COCO: annotations/instances_train2017.json .*train.json .*, Roboflow'):
        find_layout(tmp_path)
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'train.json').write_text('{"images": ')
    with pytest.raises(ValueError, match='train.json is not JSON'):
        find_layout(tmp_path)
    (tmp_path / 'annotations' / 'train.json').write_text(json.dumps(content('train', CATEGORIES)))
    with pytest.raises(FileNotFoundError, match='no images for .*train.json: looked for train/, images/train/, images/'):
        find_layout(tmp_path)


def test_a_file_name_that_is_not_text_is_a_finding(tmp_path):
    rewrite(make(tmp_path, splits=('train',)), 'train', images=[dict(id=0, file_name=5, width=40, height=30)], annotations=[])
    (report,) = check_root(tmp_path)
    assert [finding.kind for finding in report.fatal] == ['images with a missing field']


def test_colours_of_a_palette_differ():
    colours = np.array(palette(20))
    assert colours.shape == (20, 3) and colours.min() >= 0 and colours.max() <= 255
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 999 * np.eye(20)
    assert gaps.min() > 20 and len(palette(0)) == 0
