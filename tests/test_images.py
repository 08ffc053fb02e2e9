"""The image reader compared with the reader of training (mmcv's LoadImageFromFile), for common kinds of files."""

import os

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from tinynet_mm.data.images import check_header, decodes, image_size, read_image, unique_names, write_image
from tinynet_mm.errors import UserError


def picture(height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def as_training_reads(path) -> np.ndarray:
    return LoadImageFromFile()(dict(img_path=os.fspath(path)))['img']


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_photo_is_rotated_as_in_training(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / 'a.jpg', exif=exif)
    found = read_image(tmp_path / 'a.jpg')
    np.testing.assert_array_equal(found, as_training_reads(tmp_path / 'a.jpg'))
    assert found.shape[:2] == ((20, 12) if orientation >= 5 else (12, 20))
    assert image_size(tmp_path / 'a.jpg') == found.shape[1::-1]


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'P', 'I;16', 'CMYK'])
def test_every_mode_is_read_as_in_training(tmp_path, mode):
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    if mode == 'I;16':
        cv2.imwrite(str(path), (picture()[..., 0].astype(np.uint16) * 257))
    else:
        Image.fromarray(picture()).convert(mode).save(path)
    found = read_image(path)
    np.testing.assert_array_equal(found, as_training_reads(path))
    if mode == 'I;16':  # converted to 8-bit grey, not clipped to white
        np.testing.assert_array_equal(found, np.repeat(picture()[..., :1], 3, axis=2))


@pytest.mark.parametrize('cut', [0, 30, 300])
def test_a_broken_file_is_one_sentence(tmp_path, cut):
    write_image(tmp_path / 'complete.jpg', picture(64, 64))
    (tmp_path / 'truncated.jpg').write_bytes((tmp_path / 'complete.jpg').read_bytes()[:cut])
    with pytest.raises(UserError, match='truncated.jpg is not an image that can be read'):
        read_image(tmp_path / 'truncated.jpg')
    assert decodes(tmp_path / 'complete.jpg') and not decodes(tmp_path / 'truncated.jpg')


def test_a_file_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b'caf\xe9.png')
    write_image(path, picture())
    np.testing.assert_array_equal(read_image(path), picture())
    check_header(path)
    assert image_size(path) == (20, 12)


def test_files_that_are_not_images(tmp_path):
    (tmp_path / 'text.jpg').write_text('no image')
    for function in (read_image, check_header, image_size):
        with pytest.raises(UserError, match='text.jpg is not an image'):
            function(tmp_path / 'text.jpg')
        with pytest.raises(FileNotFoundError, match='nowhere.jpg'):
            function(tmp_path / 'nowhere.jpg')


def test_an_image_that_cannot_be_encoded_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r'a\.xyz: OpenCV cannot write this format; choose \.jpg or \.png'):
        write_image(tmp_path / 'a.xyz', picture())
    assert not list(tmp_path.iterdir())


def test_two_files_with_one_stem_have_two_names(tmp_path):
    paths = [tmp_path / 'a' / '1.jpg', tmp_path / 'b' / '1.jpg', tmp_path / 'b' / '1-2.png', tmp_path / 'a' / '1.jpg']
    assert unique_names(paths) == ['1', '1-2', '1-2-2', '1']
