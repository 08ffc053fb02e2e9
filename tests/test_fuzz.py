"""The fuzzing: its valid files, its cases, that it finds an error, a crash, a hang and a large case; and what it has found."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from test_detection_tools import tool

import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
from tinynet_mm.bench import fuzz
from tinynet_mm.bench.fuzz_readers import READERS, Reader
from tinynet_mm.bench.mutations import STRUCTURES, mutated
from tinynet_mm.data.images import check_header, header_size, image_size, read_image, write_image
from tinynet_mm.errors import UserError, one_line
from tinynet_mm.files import read_csv


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name', READERS)
def test_valid_files_are_read_and_a_case_repeats(name, tmp_path):
    valid, first, second = (tmp_path / part for part in ('valid', 'first', 'second'))
    valid.mkdir()
    READERS[name].make(valid)
    for case in (first, second):
        fuzz.make_case(name, 3, 7, valid, case)
    changed = {path for path, data in contents(valid).items() if contents(first)[path] != data}
    assert contents(first) == contents(second) and len(changed) <= 2
    assert all(any(Path(path).match(pattern) for pattern in READERS[name].files) for path in changed)
    READERS[name].read(valid)


def test_mutations_change_structure_words_and_bytes():
    data = b'{"a": [1, 2, {"b": "text"}], "c": 3.5}'
    found = [mutated(data, '.json', np.random.default_rng(n)) for n in range(300)]
    assert len(set(found)) > 150
    for suffix in STRUCTURES.keys() - {'.pth'}:
        text = dict.fromkeys(('.json', '.yaml'), b'{"a": [1, 2]}').get(suffix, b'<a><b c="1">2</b></a>')
        assert len({STRUCTURES[suffix](text, np.random.default_rng(n)) for n in range(50)}) > 5


def test_the_tool_counts_cases(tmp_path, capsys):
    assert tool('fuzz')(['--reader', 'spec', 'table', '--minutes', '0.01', '--out', str(tmp_path)]) == 0
    rows = read_csv(tmp_path / 'spec-table.csv', ('cases', 'accepted', 'findings', 'minutes', 'seed'))
    assert [row['reader'] for row in rows] == ['spec', 'table'] and all(row['cases'] > 1 for row in rows)
    assert 'reader spec, cases ' in capsys.readouterr().out
    with pytest.raises(UserError, match="no reader 'cocoa'. Did you mean coco"):
        tool('fuzz')(['--reader', 'cocoa'])


def large(path: Path) -> None:
    np.ones(20 * 2**20)  # 160 MB


@pytest.mark.parametrize(
    ('fault', 'finding'),
    [
        (lambda path: {}['x'], 'KeyError, test_fuzz'),
        (lambda path: os._exit(3), 'crash with status 3'),
        (lambda path: time.sleep(60), 'no end'),
        (large, 'large'),
    ],
)
def test_a_fault_is_found_and_its_case_kept(fault, finding, tmp_path, monkeypatch):
    """The reader fails for each file that is not the valid one."""

    def read(root: Path) -> None:
        if (root / 'a.txt').read_text(errors='replace') != 'one two three':
            fault(root)

    reader = Reader(lambda root: (root / 'a.txt').write_text('one two three'), read, ('a.txt',))
    monkeypatch.setitem(READERS, 'test', reader)
    monkeypatch.setattr(fuzz, 'SECONDS', 0.5 if finding == 'no end' else 60)
    monkeypatch.setattr(fuzz, 'MEGABYTES', 100)
    assert tool('fuzz')(['--reader', 'test', '--minutes', '0.1', '--out', str(tmp_path)]) == 1
    (folder,) = [path for path in (tmp_path / 'test').iterdir() if path.name.startswith(finding)]
    assert (folder / 'case' / 'a.txt').read_bytes() != b'one two three'
    assert (folder / 'report.txt').read_text().startswith('test, seed 0, case ')


# What tools/fuzz.py found -----------------------------------------------------------------------------------------------------

DEEP, DIGITS, LONG = b'[' * 100_000, b'9' * 5000, b'x' * 20_000
BOMB = b'a0: &a0 [x, x]\n' + b''.join(b'a%d: &a%d [%s]\n' % (n + 1, n + 1, b', '.join([b'*a%d' % n] * 9)) for n in range(9))
LOG = 'run/20260101_000000/vis_data/scalars.json'
FOUND = {  # name: (reader, file, what is replaced, by what, what the reader says; None if it accepts the file)
    'ids 1 and 1.0': ('coco', 'annotations/val.json', b'"id": 2,\n      "image_id"', b'"id": 1.0, "image_id"', 'fatal'),
    'a category twice': ('coco', 'annotations/val.json', b'"categories": [', b'"categories": [{"id": 3, "name": "nut"},', 'dupl'),
    'a list as supercategory': ('coco', 'annotations/train.json', b'"part"', b'[]', None),
    'a list as category of a box': ('coco', 'annotations/train.json', b'"category_id": 1', b'"category_id": []', 'fatal'),
    'a long category id': ('coco', 'annotations/train.json', b'"id": 1,\n      "name"', b'"id": "%s", "name"' % LONG, 'needs a'),
    'an object as image id': ('single', 'annotations/train.json', b'"id": 1,\n      "file', b'"id": {}, "file', 'fatal'),
    'a list as image of a box': ('single', 'annotations/train.json', b'"image_id": 1', b'"image_id": [1]', 'fatal'),
    'a number as folder': ('marker', 'tinynet_coco/source.json', b'"folders": [', b'"folders": [1.5,', None),
    'a long folder': ('marker', 'tinynet_coco/source.json', b'"folders": [', b'"folders": ["%s",' % LONG, None),
    'a text as share': ('marker', 'tinynet_coco/source.json', b'"val_share": 0.2', b'"val_share": "x"', None),
    'a long name in a list': ('voc', 'ImageSets/Main/train.txt', b'a 1', LONG, 'neither an image'),
    'a long coordinate in XML': ('voc', 'Annotations/a.xml', b'<xmin>1<', b'<xmin>%s<' % LONG, 'not a finite number'),
    'a long label of CVAT': ('cvat', 'annotations.xml', b'<name>bolt<', b'<name>%s<' % LONG, 'over 200 characters'),
    'a coordinate of 400 digits': ('labelme', 'a.json', b'12', b'1' * 400, 'not a finite number'),
    'a deep data.yaml': ('yolo', 'data.yaml', b'nc: 2', b'nc: ' + DEEP[:500], 'is not YAML'),
    'a class ²': ('yolo', 'data.yaml', b'  1: nut', '  ²: nut'.encode(), 'has no class names'),
    'a class of 5000 digits': ('yolo', 'data.yaml', b'  1: nut', b'  ? "%s"\n  : nut' % DIGITS, 'has no class names'),
    'a month 99': ('yolo', 'data.yaml', b'nc: 2', b'nc: 2001-99-99', 'is not YAML'),
    'names of 10^9 letters': ('yolo', 'data.yaml', b'names:\n  0: bolt', BOMB + b'names:\n  0: *a9', 'is not YAML'),
    'a path of 10^9 letters': ('yolo', 'data.yaml', b'path: .', BOMB + b'path: *a9', 'is not YAML'),
    'a deep line of a log': ('log', LOG, b'{"lr": 0.1', b'{"lr": ' + DEEP, None),
    'a number of 5000 digits in a log': ('log', LOG, b'{"lr": 0.1', b'{"lr": ' + DIGITS, None),
    'a text as iteration': ('log', LOG, b'"iter": 2', b'"iter": "x"', None),
    'a list as epoch': ('log', LOG, b'"epoch": 1', b'"epoch": []', None),
    'NaN as epoch': ('log', LOG, b'"epoch": 1', b'"epoch": NaN', None),
    'a lone surrogate as key': ('log', LOG, b'{"lr"', b'{"\\ud800"', None),
    'a large field': ('table', 'rows.csv', b'net0,', b'x' * 200_000 + b',', 'is not CSV'),
    'no names of networks': ('sweep', 'samples.csv', b'name,', b'nome,', "no column 'name'"),
    'a network named ..': ('sweep', 'samples.csv', b'net0,', b'..,', 'not that of a network'),
    'an unknown method': ('sweep', 'samples.csv', b'random', b'x', "the method 'x'"),
    'a text as target': ('sweep', 'samples.csv', b'tiny,6,0.5', b'tiny,6,x', "the target 'x'"),
    'an underscore in a target': ('sweep', 'samples.csv', b'tiny,6,0.5', b'tiny,6,0_5', 'the target'),
    'an underscore in a number': ('sweep', 'samples.csv', b'random,1', b'random,0_1', 'not a finite number'),
    'an accuracy of 400 digits': ('sweep', 'trials/net0/result.json', b'50.0', b'1' * 400, None),
    'an accuracy as text': ('sweep', 'trials/net0/result.json', b'50.0', b'"50"', None),
    'a lone surrogate as device': ('sweep', 'trials/net0/result.json', b'"cpu"', b'"\\ud800"', None),
    'a list as length scale': ('formula', 'formula.json', b'"length": 1', b'"length": [], "_": 1', 'not a complete formula'),
    'a noise of 1e308': ('formula', 'formula.json', b'"noise": 0.005', b'"noise": 1e308', 'not a complete formula'),
    'a noise of 400 digits': ('formula', 'formula.json', b'"noise": 0.005', b'"noise": ' + b'1' * 400, 'not a complete formula'),
    'a text as multiplier': ('formula', 'formula.json', b'0.86', b'"x"', 'not a complete formula'),
    'a multiplier more': ('formula', 'formula.json', b'0.86', b'0.86, 0.5', '5 values of x, 6 of y'),
    'a list as description': ('spec', 'model.json', b'{', b'[], {', 'has no description'),
    'a deep description': ('spec', 'model.json', b'"batch": 1', b'"batch": ' + DEEP, 'has no description'),
}  # fmt: skip


@pytest.mark.parametrize('name', FOUND)
def test_what_the_fuzzing_found_stays_fixed(name, tmp_path):
    reader, file, old, new, sentence = FOUND[name]
    READERS[reader].make(tmp_path)
    content = (tmp_path / file).read_bytes()
    assert old in content
    (tmp_path / file).write_bytes(content.replace(old, new, 1))
    said = None
    try:
        READERS[reader].read(tmp_path)
    except UserError as error:
        said = str(error)
        assert len(one_line(error)) < 2100
    assert (said is None) == (sentence is None) and (sentence is None or sentence in said), said


@pytest.mark.parametrize('broken_header', [False, True])
def test_a_png_cannot_ask_for_more_memory_than_it_has_bytes(broken_header, tmp_path):
    """OpenCV reads a header that Pillow refuses."""
    path = write_image(tmp_path / 'a.png', np.zeros((2, 2, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') - 4] = 0x20  # the length of this part
    data[data.index(b'IHDR') + 15] ^= broken_header
    path.write_bytes(data)
    for reader in (read_image, image_size, *([check_header, header_size] if broken_header else [])):
        with pytest.raises(UserError, match='a part of the file is missing'):
            reader(path)


@pytest.mark.parametrize('sides', [(1, 1), (2, 2), (7, 7), (1, 30)])
def test_the_check_measures_an_image_of_a_few_pixels(sides, tmp_path):
    for suffix in ('png', 'jpg', 'bmp', 'webp'):
        path = write_image(tmp_path / f'a.{suffix}', np.zeros((*sides, 3), np.uint8))
        assert image_size(path) == sides[::-1]
