"""ImageNet-100 from an ImageNet folder: the random choice, the written files, and the messages for a wrong layout."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from tinynet_mm.data.folders import check_classes, class_folders
from tinynet_mm.data.subsets import draw, make


@pytest.fixture
def imagenet(tmp_path):
    """Seven classes with six training and three validation files each; a file contains its name, since nothing decodes it."""
    root = tmp_path / 'imagenet'
    for split, count in (('train', 6), ('val', 3)):
        for label in range(7):
            folder = root / split / f'n0000000{label}'
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f'{split}_{label}_{index}.JPEG').write_text(f'{split}{label}{index}')
    return root


def test_draw_is_seeded_and_never_repeats(imagenet):
    first, again, other = (draw(imagenet, seed, classes=4, train=5, val=2) for seed in (0, 0, 1))
    assert first == again and first != other
    assert len(set(first.classes)) == 4 and first.classes == sorted(first.classes)
    assert list(first.train) == list(first.val) == first.classes
    assert all(len(set(files)) == 5 for files in first.train.values())
    assert first.count() == dict(train=20, val=8)


def test_make_links_the_drawn_images_and_continues_after_a_stop(imagenet, tmp_path):
    subset = draw(imagenet, 0, classes=3, train=4, val=2)
    listing = make(subset, tmp_path / 'small')
    linked = sorted((tmp_path / 'small').rglob('*.JPEG'))
    assert len(linked) == 18 and all(path.is_symlink() for path in linked)
    assert all(path.read_text() == f'{path.parts[-3]}{path.stem[-3]}{path.stem[-1]}' for path in linked)
    assert json.loads(listing.read_text())['classes'] == subset.classes
    linked[0].unlink()
    make(subset, tmp_path / 'small')
    assert linked[0].exists()
    with pytest.raises(ValueError, match='contains another subset'):
        make(draw(imagenet, 5, classes=3, train=4, val=2), tmp_path / 'small')


def test_copies_do_not_need_the_source(imagenet, tmp_path):
    make(draw(imagenet, 0, classes=2, train=1, val=1), tmp_path / 'small', copy=True)
    shutil.rmtree(imagenet)
    copied = list((tmp_path / 'small').rglob('*.JPEG'))
    assert len(copied) == 4 and all(path.read_text() for path in copied)


def test_messages_for_wrong_layouts_contain_the_fix(imagenet):
    with pytest.raises(ValueError, match='7 classes, 100 requested; request fewer'):
        draw(imagenet)
    with pytest.raises(ValueError, match='6 images, 500 requested'):
        draw(imagenet, classes=2)
    shutil.rmtree(imagenet / 'val' / 'n00000003')
    for split in ('train', 'val'):
        with pytest.raises(ValueError, match='val: class n00000003 missing, present in .*train; unpack or copy'):
            check_classes(imagenet / split)
    with pytest.raises(ValueError, match='class n00000003 missing'):
        draw(imagenet, classes=2, train=1, val=1)


def test_the_message_for_images_without_class_folders_contains_the_fix(imagenet):
    shutil.rmtree(imagenet / 'val')
    (imagenet / 'val').mkdir()
    for index in range(3):
        (imagenet / 'val' / f'ILSVRC2012_val_{index}.JPEG').write_text('x')
    with pytest.raises(ValueError, match='3 images without class folders. Move each image into a folder named after its class'):
        draw(imagenet, classes=2, train=1, val=1)


def test_folders_that_are_missing_empty_or_too_few(imagenet):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        class_folders(imagenet / 'test')
    (imagenet / 'empty').mkdir()
    with pytest.raises(ValueError, match='no images; put one folder of images per class'):
        class_folders(imagenet / 'empty')
    with pytest.raises(ValueError, match='7 class folders, 1000 expected'):
        check_classes(imagenet / 'train', 1000)
    for path in (imagenet / 'train' / 'n00000001').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match='class n00000001 without an image'):
        class_folders(imagenet / 'train')


def test_tool_makes_a_subset_and_says_where(imagenet, tmp_path, capsys):
    main = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'make_subset.py'))['main']
    assert main([str(imagenet), str(tmp_path / 'small'), '--classes', '2', '--train', '2', '--val', '1']) == 0
    assert '2 classes, 4 training and 2 validation images' in capsys.readouterr().out
    assert (tmp_path / 'small' / 'subset.json').exists()
