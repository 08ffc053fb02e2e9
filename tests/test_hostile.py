"""Broken and hostile files in the tools: one sentence and the right exit status, no traceback, no hang, bounded memory."""

import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_detection_tools import shapes as shapes
from test_detection_tools import tool
from test_detection_tools import trained as trained  # fixtures

from tinynet_mm.data.images import check_header, header_size, read_image
from tinynet_mm.errors import UserError

HUGE = 10**400
SIDE = 32


# Images -----------------------------------------------------------------------------------------------------------------------


def photo() -> Image.Image:
    return Image.fromarray((np.random.default_rng(0).random((96, 128, 3)) * 255).astype(np.uint8))


def png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel: 30,000 x 30,000 are 110 kB."""
    parts = [b'IHDR' + struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)]
    parts += [b'IDAT' + zlib.compress(bytes(-(-width // 8) + 1) * height, 9), b'IEND']
    sealed = (struct.pack('>I', len(part) - 4) + part + struct.pack('>I', zlib.crc32(part)) for part in parts)
    return b'\x89PNG\r\n\x1a\n' + b''.join(sealed)


def saved(path: Path, mode: str = 'RGB', **options) -> bytes:
    photo().convert(mode).save(path, **options)
    return path.read_bytes()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


READABLE = {
    **{f'{mode}.png': lambda path, mode=mode: saved(path, mode) for mode in ('1', 'L', 'LA', 'P', 'RGBA')},
    **{f'exif{n}.jpg': lambda path, n=n: saved(path, exif=exif(n)) for n in (0, 3, 6, 8, 99)},
    **{f'plain.{kind}': saved for kind in ('bmp', 'tif', 'webp')},
    'cmyk.jpg': lambda path: saved(path, 'CMYK'),
    '16bit.png': lambda path: cv2.imwrite(str(path), np.arange(96 * 128, dtype=np.uint16).reshape(96, 128) * 5),
    '1x1.png': lambda path: path.write_bytes(png(1, 1)),
    '30000x1.png': lambda path: path.write_bytes(png(30000, 1)),
    '1x30000.png': lambda path: path.write_bytes(png(1, 30000)),
    **{
        name: saved
        for name in ('new\nline.jpg', 'ümläut é.jpg', '<b>x.jpg', '-dash.jpg', '{{x}}.jpg', '%s%d.jpg', 'a' * 200 + '.jpg')
    },
}
BROKEN = {
    'empty.jpg': Path.touch,
    'text.jpg': lambda path: path.write_text('no image'),
    'page.png': lambda path: path.write_text('<html>'),
    'truncated.jpg': lambda path: path.write_bytes(saved(path)[:1500]),
    'truncated.png': lambda path: path.write_bytes(saved(path)[:2000]),
    'damaged.png': lambda path: path.write_bytes(saved(path)[:60] + b'damage' + saved(path)[66:]),
    'bomb.png': lambda path: path.write_bytes(png(30000, 30000)),
    'pipe.jpg': os.mkfifo,
    'folder.jpg': Path.mkdir,
    'to_nothing.jpg': lambda path: path.symlink_to('/nowhere.jpg'),
    'to_itself.jpg': lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize('name', BROKEN)
def test_no_reader_accepts_a_broken_file_or_decodes_a_bomb(name, tmp_path, monkeypatch):
    BROKEN[name](tmp_path / name)
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda data, flag: None if len(data) > 50_000 and 'bomb' in name else decode(data, flag))
    readers = [read_image] if name.startswith(('truncated', 'damaged')) else [read_image, check_header, header_size]
    for reader in readers:
        with pytest.raises((UserError, FileNotFoundError), match=name.partition('.')[0]) as caught:
            reader(tmp_path / name)
        assert 'OpenCV' not in str(caught.value) or 'bomb' not in name  # a bomb is refused before it is decoded


@pytest.fixture(scope='module')
def detector(trained) -> tuple[str, str]:
    return str(trained / 'ssdlite_tinynet_e_coco.py'), str(trained / 'epoch_1.pth')


@pytest.mark.parametrize('name', READABLE)
def test_unusual_images_are_predicted(name, detector, tmp_path):
    READABLE[name](tmp_path / name)
    assert tool('predict')([*detector, str(tmp_path / name), '--out', str(tmp_path / 'out')]) == 0
    assert len(list((tmp_path / 'out').glob('*.jpg'))) == 1


def test_broken_images_in_a_folder_are_named_and_the_others_are_predicted(detector, tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    for name, make in {**BROKEN, 'good.jpg': saved, '30000x1.png': READABLE['30000x1.png']}.items():
        make(tmp_path / 'in' / name)
    assert tool('predict')([*detector, str(tmp_path / 'in'), '--out', str(tmp_path / 'out')]) == 1
    text = ''.join(capsys.readouterr())
    for name in ('empty.jpg', 'text.jpg', 'page.png', 'truncated.jpg', 'truncated.png', 'damaged.png', 'bomb.png', 'pipe.jpg'):
        assert f'{name} is not an image that can be read' in text, name
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.jpg')) == ['30000x1.jpg', 'good.jpg']


@pytest.mark.parametrize('name', ['bomb.png', 'pipe.jpg', 'truncated.jpg', 'folder.jpg', 'to_itself.jpg', 'empty.jpg'])
def test_activation_maps_refuse_broken_images(name, detector, tmp_path):
    BROKEN[name](tmp_path / name)
    with pytest.raises((UserError, FileNotFoundError), match=name):
        tool('cam')([*detector, str(tmp_path / name), '--out', str(tmp_path / 'out')])
    assert not list((tmp_path / 'out').glob('*.png'))


# Annotations ------------------------------------------------------------------------------------------------------------------


def content() -> dict:
    images = [dict(id=n, file_name=f'{name}.jpg', width=SIDE, height=SIDE) for n, name in ((1, 'a'), (2, 'b'))]
    boxes = [dict(id=n, image_id=1 + n % 2, category_id=1, bbox=[2, 2, 10, 10], area=100, iscrowd=0) for n in range(4)]
    return dict(images=images, annotations=boxes, categories=[dict(id=1, name='x')])


def changed(part: str, **values) -> bytes:
    """The file with other values in the first entry of a list."""
    found = content()
    found[part][0].update(values)
    return json.dumps(found).encode()


def replaced(**lists) -> bytes:
    return json.dumps(content() | lists).encode()


FIELDS, IDS = 'annotations with a missing field', 'images with a missing field'
ANNOTATIONS = {  # name: (content of the file, what a tool says; None if it accepts the file)
    'nothing changed': (replaced(), None),
    'text as id': (changed('images', id='one'), None),
    'more keys': (replaced(info=[1], licenses='x'), None),
    'segmentation of text': (changed('annotations', segmentation='x'), None),
    'negative box': (changed('annotations', bbox=[-5, -5, -3, 4]), None),
    'unknown image': (changed('annotations', image_id=99), None),
    'name with a line break': (changed('categories', name='a\nb'), None),
    'name with HTML': (changed('categories', name='<script>alert(1)</script>'), None),
    'box of NaN': (changed('annotations', bbox=[float('nan'), 2, 3, 4]), FIELDS),
    'box of infinity': (changed('annotations', bbox=[0, 0, float('inf'), 4]), FIELDS),
    'box of 1e308': (changed('annotations', bbox=[1e308] * 4), FIELDS),
    'box of 400 digits': (changed('annotations', bbox=[HUGE, 2, 3, 4]), FIELDS),
    'box of text': (changed('annotations', bbox='1 2 3 4'), FIELDS),
    'box of three': (changed('annotations', bbox=[1, 2, 3]), FIELDS),
    'box of null': (changed('annotations', bbox=None), FIELDS),
    'box of lists': (changed('annotations', bbox=[[1], 2, 3, 4]), FIELDS),
    'area of NaN': (changed('annotations', area=float('nan')), FIELDS),
    'crowd of text': (changed('annotations', iscrowd='0'), FIELDS),
    'id of 400 digits': (changed('annotations', id=HUGE), FIELDS),
    'image id of 400 digits': (changed('images', id=HUGE), IDS),
    'image id of a list': (changed('images', id=[1]), IDS),
    'file name of a number': (changed('images', file_name=5), IDS),
    'file name of a list': (changed('images', file_name=['a.jpg']), IDS),
    'width of text': (changed('images', width='32'), IDS),
    'file name of 5000 letters': (changed('images', file_name='a' * 5000), 'missing images'),
    'file name with a zero byte': (changed('images', file_name='a\0.jpg'), 'missing images'),
    'file name of a URL': (changed('images', file_name='http://host/y.jpg'), 'missing images'),
    'file name outside': (changed('images', file_name='/etc/passwd'), 'is outside of'),
    'file name that leaves': (changed('images', file_name='../../x.jpg'), 'is outside of'),
    'two images of one id': (changed('images', id=2), 'duplicate image ids'),
    'two boxes of one id': (changed('annotations', id=1), 'duplicate annotation ids'),
    'unknown category': (changed('annotations', category_id=99), 'annotations of an undefined category'),
    'category of 1.5': (changed('annotations', category_id=1.5), 'annotations of an undefined category'),
    'no images': (replaced(images=[]), 'no images in the file'),
    'no boxes': (replaced(annotations=[]), 'no usable boxes'),
    'no categories': (replaced(categories=[]), 'has no categories'),
    'two categories of one name': (replaced(categories=[dict(id=n, name='x') for n in (1, 2)]), 'x'),
    'category of a list': (changed('categories', name=['x']), 'a text as "name"'),
    'category of a number': (changed('categories', name=5), 'a text as "name"'),
    'category of 100 kB': (changed('categories', name='x' * 100_000), 'has over 200 characters'),
    'category that is a template': (changed('categories', name='{{ _base_.x }}'), r'\{\{'),
    'images of numbers': (replaced(images=[1, 2]), 'an entry of images is not an object'),
    'annotations of null': (replaced(annotations=[None]), 'an entry of annotations is not an object'),
    'images in an object': (replaced(images=dict(a=1)), 'it has no list of images'),
    'byte order mark': (b'\xef\xbb\xbf' + replaced(), 'not JSON in UTF-8 without a byte order mark'),
    'UTF-16': (replaced().decode().encode('utf-16'), 'not JSON in UTF-8'),
    'Latin 1': (replaced().replace(b'"x"', b'"\xe9"'), 'not JSON in UTF-8'),
    'empty file': (b'', 'not JSON in UTF-8'),
    'no JSON': (b'hello', 'not JSON in UTF-8'),
    'zero bytes': (bytes(1000), 'not JSON in UTF-8'),
    'half a file': (replaced()[:100], 'not JSON in UTF-8'),
    '200,000 lists deep': (b'[' * 200_000 + b']' * 200_000, 'not JSON in UTF-8'),
    '100,000 objects deep': (b'{"a":' * 100_000, 'not JSON in UTF-8'),
    'a number of 5000 digits': (replaced().replace(b'[2, 2, 10', b'[' + b'9' * 5000 + b', 2, 10'), 'not JSON in UTF-8'),
    'a list': (b'[]', 'it has no list of images'),
    'a number': (b'5', 'it has no list of images'),
}


@pytest.mark.parametrize('name', ANNOTATIONS)
def test_annotation_files(name, tmp_path, capsys):
    data, sentence = ANNOTATIONS[name]
    (tmp_path / 'annotations').mkdir(), (tmp_path / 'images').mkdir()
    for image in 'ab':
        cv2.imwrite(str(tmp_path / 'images' / f'{image}.jpg'), np.full((SIDE, SIDE, 3), 90, np.uint8))
    for split in ('train', 'val'):
        (tmp_path / 'annotations' / f'{split}.json').write_bytes(data)
    before = sorted(tmp_path.rglob('*'))
    status, said = 0, ''
    try:
        status = tool('check_dataset')(['configs/ssdlite_tinynet_e_coco.py', '--data-root', str(tmp_path)])
    except UserError as error:
        status, said = 2, str(error)
    text = said + ''.join(capsys.readouterr())
    assert len(text) < 20_000 and sorted(tmp_path.rglob('*')) == before
    assert (status == 0) == (sentence is None), text
    assert sentence is None or re.search(sentence, text), text


def test_an_xml_bomb_and_files_of_the_machine_are_refused(tmp_path):
    entities = ''.join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    heads = {
        'input amplification factor': (f'<!ENTITY e0 "ha">{entities}', '&e9;'),
        'undefined entity': ('<!ENTITY e0 SYSTEM "file:///etc/passwd">', '&e0;'),
    }
    for sentence, (head, name) in heads.items():
        shutil.rmtree(tmp_path / 'voc', ignore_errors=True)
        (tmp_path / 'voc' / 'Annotations').mkdir(parents=True), (tmp_path / 'voc' / 'JPEGImages').mkdir()
        saved(tmp_path / 'voc' / 'JPEGImages' / 'a.jpg')
        box = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'
        body = f'<annotation><filename>a.jpg</filename><object><name>{name}</name>{box}</object></annotation>'
        (tmp_path / 'voc' / 'Annotations' / 'a.xml').write_text(f'<!DOCTYPE annotation [{head}]>{body}')
        with pytest.raises(UserError, match=sentence):
            tool('check_dataset')(['configs/ssdlite_tinynet_e_coco.py', '--data-root', str(tmp_path / 'voc')])
