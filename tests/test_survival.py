"""Trainings that are cut off: checkpoints are complete or absent, the last one is found; a work directory has one training."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import LocalBackend
from test_detection_tools import shapes as shapes
from test_detection_tools import train
from test_detection_tools import trained as trained  # a fixture, and the data that it needs
from torch.utils.data import DataLoader

from tinynet_mm.errors import UserError
from tinynet_mm.mmlab.editing import latest_checkpoint
from tinynet_mm.mmlab.reading import read
from tinynet_mm.training.lock import hold
from tinynet_mm.training.progress import EpochLines
from tinynet_mm.training.repeatable import Seeded

HOLD = (
    "import sys; from tinynet_mm.training.lock import hold; file = hold(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
)


def test_a_full_disk_leaves_the_checkpoints_before(trained, shapes, tmp_path, monkeypatch):
    out = Path(shutil.copytree(trained, tmp_path / 'run'))
    put = LocalBackend.put

    def full(self, data, path):
        put(self, data[: len(data) // 2], path)  # a part is written before the error
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalBackend, 'put', full)
    with pytest.raises(UserError, match=r'cannot write .*epoch_2.pth: No space left on device'):
        train(shapes, out, '--epochs', '2', '--resume')
    assert not list(out.glob('.*part*')) and not (out / 'epoch_2.pth').exists()
    assert read(out / 'epoch_1.pth')['meta']['epoch'] == 1 and latest_checkpoint(out) == out / 'epoch_1.pth'
    monkeypatch.undo()
    assert train(shapes, out, '--epochs', '2', '--resume') == 0 and read(out / 'epoch_2.pth')['meta']['epoch'] == 2


# Of 8 images, so that an epoch has four steps. A cut is after the third step of the second epoch.
STEPS = ('--epochs', '3', '--batch-size', '2')


@pytest.fixture(scope='module')
def whole(shapes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('whole')
    assert train(shapes, out, *STEPS) == 0
    return out


@pytest.mark.parametrize('workers', [0, 1])
def test_a_training_that_is_cut_off_ends_with_the_weights_of_one_that_is_not(whole, shapes, tmp_path, monkeypatch, workers):
    count = iter(range(7))
    monkeypatch.setattr(EpochLines, 'after_train_iter', lambda *_, **__: next(count))
    loader = ('--workers', '1', '--cfg-options', 'train_dataloader.persistent_workers=True') if workers else ()
    with pytest.raises(StopIteration):
        train(shapes, tmp_path, *STEPS, *loader)
    assert latest_checkpoint(tmp_path).name == 'epoch_1.pth'
    monkeypatch.undo()
    assert train(shapes, tmp_path, *STEPS, '--resume', *loader) == 0
    expected, found = (read(folder / 'epoch_3.pth') for folder in (whole, tmp_path))
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, found[part][key]) for key, value in expected[part].items()), part


def test_every_epoch_and_image_draws_other_numbers():
    class Draws:
        metainfo = dict(classes=('a',))

        def __getitem__(self, index):
            return random.random(), np.random.rand(), torch.rand(1).item()

        def __len__(self):
            return 3

    data = Seeded(Draws(), seed=5)
    torch.manual_seed(1)
    expected = torch.rand(1).item()
    torch.manual_seed(1)
    first = [data[0], data[1], data[0]]
    assert torch.rand(1).item() == expected  # the numbers outside of the data do not change
    data.epoch.fill_(1)
    assert first[0] == first[2] and len({*first, data[0], data[1]}) == 4
    data.extra = 7  # an attribute of the data set
    assert data.inner.extra == 7 and data.metainfo == dict(classes=('a',)) and len(data) == 3
    loader = DataLoader(data, batch_size=1, num_workers=1, persistent_workers=True)
    for epoch in (1, 2):
        data.epoch.fill_(epoch)
        values = [[float(value) for value in batch] for batch in loader]
        np.testing.assert_allclose(values, [data[index] for index in range(3)], rtol=1e-6)


@pytest.mark.parametrize('pointer', [None, '', 'epoch_9.pth', '/elsewhere/epoch_2.pth'])
def test_the_last_checkpoint_is_found(pointer, tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ('epoch_2', 'epoch_10', 'best_coco_bbox_mAP_epoch_11', 'other'):
        torch.save({}, tmp_path / f'{name}.pth')
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    expected = 'epoch_2.pth' if pointer == '/elsewhere/epoch_2.pth' else 'epoch_10.pth'
    assert latest_checkpoint(tmp_path).name == expected


def test_a_work_directory_has_one_training(trained, shapes, tmp_path):
    command = [sys.executable, '-c', HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(UserError, match='is in use by another training; wait for its end, or give another --work-dir'):
            train(shapes, tmp_path, '--epochs', '1')
        assert [path.name for path in tmp_path.iterdir()] == ['.lock']
        other.kill()
    hold(tmp_path).close()
