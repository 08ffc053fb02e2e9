"""Every command in the blocks of the README runs, in its order, on tiny data; those that cannot are listed with the reason."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from tinynet_mm import command
from tinynet_mm.data.images import write_image
from tinynet_mm.data.shapes import ShapesSpec, make_shapes

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'README.md').read_text()
LINES = [
    line.partition('  #')[0].strip() for block in re.findall(r'```sh\n(.*?)```', TEXT, re.DOTALL) for line in block.splitlines()
]
NOT_RUN = {
    'make demo': 'minutes of training',
    'make test': 'this test is in it',
    'tinynet train tinynet_e_in1k': 'needs ImageNet; tests/test_imagenet_configs.py trains the config on a small folder',
}
TINY = ['--from-scratch', '--epochs', '1', '--batch-size', '4', '--workers', '0', '--threads', '1']
# more arguments for tiny data, by the first words of a command; the first match counts
MORE = {
    'tinynet check': ['--input-size', '64'],
    'tinynet train rtmdet_tinynet_e_coco': [*TINY, '--epochs', '40', '--input-size', '64'],  # so that no scores are equal
    'tinynet test': ['--input-size', '64'],
    'tinynet train tinynet_e_cifar10': [*TINY, '--work-dir', 'work_dirs/my_run'],
    'tinynet subset': ['--classes', '2', '--train', '2', '--val', '1'],
    'tinynet export': ['--input-size', '64', '--limit', '2'],
    'tinynet latency': ['--runs', '2', '--warmup', '1'],
    'tinynet sweep sample': ['-n', '2'],
}
NAMES = {  # placeholders of the README
    'CONFIG': 'work_dirs/rtmdet_tinynet_e_coco/rtmdet_tinynet_e_coco.py',
    'CHECKPOINT': 'work_dirs/rtmdet_tinynet_e_coco/epoch_40.pth',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the data and files that the README's commands name."""
    path = tmp_path_factory.mktemp('readme')
    spec = ShapesSpec(train=8, val=4, test=4, size=96, class_train=2, class_val=1, class_size=32)
    list(make_shapes(path / 'shapes', spec))
    (path / 'shapes' / 'coco').rename(path / 'my_data')
    rng = np.random.default_rng(0)
    names = [f'n0144{index:04d}' for index in range(10)]
    for data, classes in dict(imagenet=names[:3], cifar10=names).items():
        for split, count in dict(train=4, val=2).items():
            for name, index in ((name, index) for name in classes for index in range(count)):
                image = path / 'data' / data / split / name / f'{name}_{index}.jpg'
                image.parent.mkdir(parents=True, exist_ok=True)
                write_image(image, rng.integers(0, 255, (32, 32, 3), np.uint8))
    write_image(path / 'photo.jpg', rng.integers(0, 255, (96, 128, 3), np.uint8))
    torch.save(timm.create_model('tinynet_e').state_dict(), path / 'tinynet_e.pth')
    return path


def arguments(line: str) -> list[str]:
    """The words of a command after ``tinynet``, for the tiny data of :func:`folder`, with files in place of patterns."""
    words = [NAMES.get(word, word) for word in shlex.split(line)][1:]
    files = [[str(path) for path in Path().glob(word)] if '*' in word else [word] for word in words]
    return [*sum(files, []), *next((more for start, more in MORE.items() if line.startswith(start)), [])]


@pytest.mark.parametrize('line', [line for line in LINES if line not in NOT_RUN])
def test_the_command_runs(line, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        monkeypatch.setenv(name, os.environ[name])  # restores what a tool sets
    assert line.startswith('tinynet ')
    verb, *words = arguments(line)
    with pytest.raises(SystemExit) as end:
        command.run(verb, words)
    assert not end.value.code, ''.join(capfd.readouterr())[-3000:]


def test_the_commands_wrote_what_the_readme_names(folder):
    for name in ('work_dirs/rtmdet_tinynet_e_coco/report/report.html', 'model.onnx', 'curves.png', 'ours_tinynet_e.pth'):
        assert (folder / name).is_file(), name
    assert any((folder / 'predictions').iterdir()) and any((folder / 'cams').iterdir())


def test_the_python_examples_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
    found: dict = {}
    for block in blocks:
        exec(block, found)
    assert len(blocks) == 2 and found['found'].boxes.shape[1] == 4 and found['backbone']['type'] == 'ScaledEfficientNet'


def test_the_list_of_commands_that_do_not_run_is_up_to_date():
    assert set(NOT_RUN) <= set(LINES) and len(LINES) > 15
    assert all(any(line.startswith(start) for line in LINES) for start in MORE)
