"""Trainings that are cut off: checkpoints are complete or absent, the last one is found; a work directory has one training."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from test_detection_tools import shapes as shapes
from test_detection_tools import train
from test_detection_tools import trained as trained  # a fixture, and the data that it needs

from tinynet_mm.errors import UserError
from tinynet_mm.mmlab.editing import latest_checkpoint
from tinynet_mm.mmlab.reading import read
from tinynet_mm.training.lock import hold

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
    with hold(tmp_path), pytest.raises(UserError, match='is in use'):
        hold(tmp_path)
    hold(tmp_path).close()
