"""The tutorial notebook runs from an empty folder, with a shorter training, and its texts have standard words only."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from test_language import FORBIDDEN

ABSOLUTE = re.compile(r'(?<![^\s"\'(:=])/\w[\w./-]*')  # a path that starts at the root
NOTEBOOK = Path(__file__).resolve().parents[1] / 'docs' / 'tutorial.ipynb'
SHORTER = (('--train 192', '--train 32'), ('--epochs 10', '--epochs 2'), ('--runs 50 --warmup 5', '--runs 5 --warmup 1'))
WRITTEN = (
    'data/coco/annotations/train.json',
    'curves.png',
    'run/best_*.pth',
    'run/report/report.html',
    'predictions/test_00000.jpg',
    'cams/test_00000.jpg',
    'shapes.onnx',
    'latency.csv',
    'my_configs/**/*.py',
)


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def of_kind(notebook, kind: str) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_the_tutorial_runs(notebook, tmp_path, monkeypatch):
    for name in ('IPYTHONDIR', 'JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR'):
        monkeypatch.setenv(name, str(tmp_path / 'jupyter'))
    monkeypatch.setenv('PATH', os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH'])
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    code = '\n'.join(cell.source for cell in of_kind(notebook, 'code'))
    for before, after in SHORTER:
        assert code.count(before) == 1, before
        for cell in of_kind(notebook, 'code'):
            cell.source = cell.source.replace(before, after)
    folder = tmp_path / 'tutorial'
    folder.mkdir()
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources=dict(metadata=dict(path=str(folder)))).execute()
    assert [pattern for pattern in WRITTEN if not any(folder.glob(pattern))] == []
    printed = [output.text for cell in of_kind(notebook, 'code') for output in cell.outputs if output.output_type == 'stream']
    assert any('torch is imported: False' in text for text in printed)


def test_the_tutorial_is_saved_with_its_pictures_and_without_paths_of_a_machine(notebook):
    nbformat.validate(notebook)
    cells = of_kind(notebook, 'code')
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == 'error' for output in outputs)
    assert sum(any(kind.startswith('image/') for kind in output.get('data', ())) for output in outputs) >= 5
    printed = ' '.join(str(output.get('text', output.get('data', {}).get('text/html'))) for output in outputs)
    assert ABSOLUTE.findall(printed) == []
    assert NOTEBOOK.stat().st_size < 800_000


def test_each_step_is_explained_in_standard_words(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert all(pair != ('code', 'code') for pair in zip(kinds, kinds[1:])) and kinds[0] == 'markdown'
    texts = [cell.source for cell in of_kind(notebook, 'markdown')]
    assert [match[0] for text in texts for match in FORBIDDEN.finditer(text)] == []
