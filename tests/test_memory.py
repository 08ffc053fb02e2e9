"""Image sets in memory: the gather compared with explicit crops, and folders with errors."""

import cv2
import mmpretrain.models  # noqa: F401 (registers what the configs name)
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS

from tinynet_mm.data.memory import MemoryImages, MemoryPreprocessor, batches, gather, load_folder, normalise, read_from_files


@pytest.fixture
def folder(tmp_path):
    """Two classes of five 8 x 8 PNGs of random colours."""
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        for index in range(5):
            cv2.imwrite(str(tmp_path / name / f'{index}.png'), rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return tmp_path


def test_folder_is_decoded_in_order_as_rgb(folder):
    images = load_folder(str(folder))
    assert images.classes == ('cat', 'dog') and images.labels.tolist() == [0] * 5 + [1] * 5
    expected = cv2.imread(images.paths[7])[..., ::-1]
    np.testing.assert_array_equal(images.pixels[7].numpy(), expected)
    assert load_folder(str(folder)) is images  # cached for the next training in the process


def test_per_class_takes_the_first_or_random_images(folder):
    images = load_folder(str(folder))
    assert images.per_class(2).labels.tolist() == [0, 0, 1, 1]
    assert [p.rsplit('/', 1)[1] for p in images.per_class(2).paths] == ['0.png', '1.png'] * 2
    drawn = [images.per_class(2, np.random.default_rng(3)).paths for _ in range(2)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4


def test_a_share_is_a_part_of_each_class_and_parts_have_different_files(folder):
    everything = load_folder(str(folder))
    count = len(everything) // 2
    first, last = (load_folder(str(folder), share=share) for share in ((0, 0.6), (0.6, 1)))
    assert set(first.paths) | set(last.paths) == set(everything.paths)
    assert not set(first.paths) & set(last.paths)
    assert [(images.labels == 0).sum().item() for images in (first, last)] == [round(0.6 * count), count - round(0.6 * count)]
    assert len(load_folder(str(folder), share=(0.99, 1))) == 2  # never an empty part of two files or more
    with pytest.raises(ValueError, match='the part from 0.5 to 0.5 of the images of .* is empty; add images'):
        load_folder(str(folder), share=(0.5, 0.5))
    both = MemoryImages(str(folder), share=[0.6, 1], per_class=1)
    assert [path.rsplit('/', 1)[1] for path in both.images.paths] == [f'{round(0.6 * count)}.png'] * 2


def test_gather_is_a_crop_of_the_edge_padded_image(folder):
    pixels = load_folder(str(folder)).pixels
    chosen = torch.tensor([3, 0, 9, 3, 5] * 8)
    batch = gather(pixels, chosen, pad=2, flip=True, generator=torch.Generator().manual_seed(1))
    found = [_find(pixels[i].numpy(), out.permute(1, 2, 0).numpy()) for i, out in zip(chosen.tolist(), batch)]
    assert all(len(places) == 1 for places in found), 'each is exactly one shift, flipped or not'
    shifts, mirrored = {p[0][:2] for p in found}, [p[0][2] for p in found]
    assert len(shifts) > 12 and 8 < sum(mirrored) < 32
    torch.testing.assert_close(gather(pixels, chosen), pixels[chosen].permute(0, 3, 1, 2))


def _find(image, crop):
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode='edge')
    windows = [(y, x, padded[y : y + 8, x : x + 8]) for y in range(5) for x in range(5)]
    same = [
        (y, x, mirror) for y, x, w in windows for mirror in (False, True) if np.array_equal(w[:, ::-1] if mirror else w, crop)
    ]
    return same


def test_an_epoch_sees_every_image_once(folder):
    images = load_folder(str(folder))
    ordered = list(batches(images, 4))
    assert [len(labels) for _, labels in ordered] == [4, 4, 2]
    assert torch.cat([labels for _, labels in ordered]).tolist() == images.labels.tolist()
    shuffled = list(batches(images, 5, shuffle=True, generator=torch.Generator().manual_seed(0)))
    seen = torch.cat([batch for batch, _ in shuffled]).permute(0, 2, 3, 1)
    assert {tuple(p.flatten().tolist()) for p in seen} == {tuple(p.flatten().tolist()) for p in images.pixels}
    assert [len(labels) for _, labels in batches(images, 4, shuffle=True)] == [4, 4]  # the smaller last batch is dropped


def test_preprocessor_normalises_resizes_and_labels(folder):
    batch = MemoryImages(str(folder)).__getitems__([1, 8])
    out = MemoryPreprocessor([10.0, 20.0, 30.0], [2.0, 4.0, 8.0], resolution=16)(batch)
    assert out['inputs'].shape == (2, 3, 16, 16) and [s.gt_label.item() for s in out['data_samples']] == [0, 1]
    plain = (batch['inputs'].float() - torch.tensor([10.0, 20, 30]).view(3, 1, 1)) / torch.tensor([2.0, 4, 8]).view(3, 1, 1)
    torch.testing.assert_close(out['inputs'], torch.nn.functional.interpolate(plain, size=16, mode='bilinear'))
    mean, std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert normalise(batch['inputs'], mean, std, 8).shape[-1] == 8
    with pytest.raises(ValueError, match='ClsDataPreprocessor'):
        MemoryPreprocessor([0.0] * 3, [1.0] * 3, batch_augments=dict(augments=[]))


def test_broken_and_unequal_images_are_named(folder):
    (folder / 'dog' / '9.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'dog/9\.jpg: does not decode'):
        load_folder(str(folder))
    assert len(load_folder(str(folder), broken='skip')) == 10
    for name in ('a', 'b'):
        (folder.parent / 'broken' / name).mkdir(parents=True)
        (folder.parent / 'broken' / name / '1.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='no file decodes as an image'):
        load_folder(str(folder.parent / 'broken'), broken='skip')
    cv2.imwrite(str(folder / 'dog' / '9.jpg'), np.zeros((9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match='different sizes; give size='):
        load_folder(str(folder))
    assert load_folder(str(folder), size=4).pixels.shape == (11, 4, 4, 3)


@pytest.mark.parametrize('resolution', [None, 12, 6], ids=['original size', 'enlarged', 'reduced'])
def test_files_one_by_one_give_the_inputs_of_the_training(folder, resolution):
    numbers = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 61.0, 62.0])
    preprocessor = dict(type='MemoryPreprocessor', resolution=resolution, **numbers)
    head = dict(type='LinearClsHead', num_classes=2, in_channels=4)
    cfg = read_from_files(Config(dict(model=dict(data_preprocessor=preprocessor, head=head))))
    images = MemoryImages(str(folder))
    expected = MemoryPreprocessor(resolution=resolution, **numbers)(images.__getitems__([7]))['inputs']
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(dict(img_path=images.images.paths[7]))
    found = MODELS.build(cfg.model.data_preprocessor)({key: [value] for key, value in packed.items()})['inputs']
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 / 60)  # rounded to 8 bits after resizing


def test_a_config_that_reads_files_is_not_changed():
    cfg = Config(dict(model=dict(data_preprocessor=dict(type='ClsDataPreprocessor'))))
    assert read_from_files(cfg).to_dict() == dict(model=dict(data_preprocessor=dict(type='ClsDataPreprocessor')))
