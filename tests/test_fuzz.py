"""The fuzzing itself: its valid files, its cases, and that it finds an error, a crash, a hang and a large case."""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest

import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
from tinynet_mm.bench import fuzz
from tinynet_mm.bench.fuzz_readers import READERS, Reader
from tinynet_mm.bench.mutations import STRUCTURES, mutated
from tinynet_mm.errors import UserError
from tinynet_mm.files import read_csv


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tools_fuzz', Path(__file__).parents[1] / 'tools' / 'fuzz.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


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


def test_the_tool_counts_cases(tool, tmp_path, capsys):
    assert tool(['--reader', 'spec', 'table', '--minutes', '0.01', '--out', str(tmp_path)]) == 0
    rows = read_csv(tmp_path / 'spec-table.csv', ('cases', 'accepted', 'findings', 'minutes', 'seed'))
    assert [row['reader'] for row in rows] == ['spec', 'table'] and all(row['cases'] > 1 for row in rows)
    assert 'reader spec, cases ' in capsys.readouterr().out
    with pytest.raises(UserError, match="no reader 'cocoa'. Did you mean coco"):
        tool(['--reader', 'cocoa'])


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
def test_a_fault_is_found_and_its_case_kept(fault, finding, tool, tmp_path, monkeypatch):
    """The reader fails for each file that is not the valid one."""

    def read(root: Path) -> None:
        if (root / 'a.txt').read_text(errors='replace') != 'one two three':
            fault(root)

    reader = Reader(lambda root: (root / 'a.txt').write_text('one two three'), read, ('a.txt',))
    monkeypatch.setitem(READERS, 'test', reader)
    monkeypatch.setattr(fuzz, 'SECONDS', 0.5 if finding == 'no end' else 60)
    monkeypatch.setattr(fuzz, 'MEGABYTES', 100)
    assert tool(['--reader', 'test', '--minutes', '0.05', '--out', str(tmp_path)]) == 1
    (folder,) = [path for path in (tmp_path / 'test').iterdir() if path.name.startswith(finding)]
    assert (folder / 'case' / 'a.txt').read_bytes() != b'one two three'
    assert (folder / 'report.txt').read_text().startswith('test, seed 0, case ')
