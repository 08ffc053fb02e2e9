"""Trainings that are cut off: checkpoints are complete or absent, the last one is found; a work directory has one training."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from test_detection_tools import CONFIG, SIZE, tool, train
from test_detection_tools import shapes as shapes
from test_detection_tools import trained as trained  # a fixture, and the data that it needs
from torch.utils.data import DataLoader

from tinynet_mm.errors import Stopped, UserError
from tinynet_mm.mmlab.reading import read
from tinynet_mm.mmlab.resuming import changes, latest_checkpoint, note_of, settings_of
from tinynet_mm.training.hooks import ShortHistory
from tinynet_mm.training.lock import hold
from tinynet_mm.training.progress import EpochLines
from tinynet_mm.training.repeatable import Seeded, SeededBatches

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


@pytest.fixture
def validated(monkeypatch) -> list[int]:
    """The epochs that are validated from now on."""
    epochs = []
    monkeypatch.setattr(EpochLines, 'after_val_epoch', lambda _, runner, metrics: epochs.append(runner.epoch))
    return epochs


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
    assert same_weights(whole / 'epoch_3.pth', tmp_path / 'epoch_3.pth')


def same_weights(one: Path, other: Path) -> bool:
    expected, found = read(one), read(other)
    parts = ('state_dict', 'ema_state_dict')
    return all(torch.equal(value, found[part][key]) for part in parts for key, value in expected[part].items())


@pytest.mark.parametrize(
    ('step', 'place', 'saved'),
    [
        (5, 'step 6, saved in', 'interrupted.pth'),  # the second step of the second epoch
        (8, 'the end of epoch 2', 'epoch_2.pth'),  # its last step
    ],
)
def test_sigterm_saves_and_a_resumed_training_ends_with_the_same_weights(
    whole, shapes, tmp_path, monkeypatch, validated, step, place, saved
):
    before, steps = signal.getsignal(signal.SIGTERM), iter(range(1, 99))
    monkeypatch.setattr(EpochLines, 'after_train_iter', lambda *_, **__: next(steps) == step and os.kill(os.getpid(), SIGTERM))
    with pytest.raises(Stopped, match=f'stopped by SIGTERM at {place}.*--resume continues'):
        train(shapes, tmp_path, *STEPS)
    assert latest_checkpoint(tmp_path).name == saved and validated == [1]
    assert train(shapes, tmp_path, *STEPS, '--resume') == 0
    signal.signal(SIGTERM, before)
    assert same_weights(whole / 'epoch_3.pth', tmp_path / 'epoch_3.pth') and not (tmp_path / 'interrupted.pth').exists()
    assert validated == [1, 2, 3]


def test_the_history_of_logged_values_does_not_grow(whole, shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(ShortHistory, 'least', 1)  # so that it is an epoch of four steps
    assert train(shapes, tmp_path, *STEPS) == 0
    found = [read(folder / 'epoch_3.pth')['message_hub']['log_scalars'] for folder in (whole, tmp_path)]
    for key in ('train/loss', 'train/grad_norm'):
        (all_values, _), (last, counts) = (history[key].data for history in found)
        assert len(all_values) == 12 and len(counts) == 4 and list(last) == list(all_values[-4:])
    assert same_weights(whole / 'epoch_3.pth', tmp_path / 'epoch_3.pth')


def test_a_validation_that_was_cut_off_is_repeated(shapes, tmp_path, monkeypatch, validated):
    monkeypatch.setattr(EpochLines, 'after_val_iter', lambda hook, runner, *_, **__: runner.epoch == 2 and next(iter(())))
    with pytest.raises(StopIteration):
        train(shapes, tmp_path, *STEPS)
    assert validated == [1] and latest_checkpoint(tmp_path).name == 'epoch_2.pth'
    monkeypatch.setattr(EpochLines, 'after_val_iter', lambda *_, **__: None)
    assert train(shapes, tmp_path, *STEPS, '--resume') == 0
    assert validated == [1, 2, 3]


def test_a_changed_config_and_a_broken_checkpoint_are_named(whole, shapes, tmp_path, capsys):
    out = Path(shutil.copytree(whole, tmp_path / 'run'))
    (out / 'epoch_3.pth').write_bytes((out / 'epoch_3.pth').read_bytes()[:9999])
    options = ('--epochs', '4', '--batch-size', '2', '--resume', '--cfg-options', 'optim_wrapper.optimizer.lr=0.001')
    assert train(shapes, out, *options) == 0
    text = capsys.readouterr().out
    assert f'note: {out}/epoch_3.pth is broken, and the checkpoint before it is used.' in text
    assert 'the config is another than that of the checkpoint (epoch 2): ' in text
    assert 'train_cfg.max_epochs 3 -> 4' in text and 'optim_wrapper.optimizer.lr 0.004 -> 0.001' in text
    assert read(out / 'epoch_4.pth')['meta']['epoch'] == 4


def test_a_pretrained_backbone_learns_slowly_also_after_a_resume(shapes, tmp_path, capsys):
    torch.save(timm.create_model('tinynet_e').state_dict(), tmp_path / 'tinynet_e.pth')
    command = [CONFIG, '--data-root', str(shapes), *SIZE, '--schedule', 'short', '--work-dir', str(tmp_path), '--workers', '0']
    options = ['--cfg-options', f'model.backbone.init_cfg.checkpoint={tmp_path / "tinynet_e.pth"}', 'train_cfg.val_interval=9']
    for epochs, resume in ((1, []), (2, ['--resume'])):
        assert tool('train')([*command, '--epochs', str(epochs), *resume, *options]) == 0
        text = capsys.readouterr().out
        assert ('learns with 0.1 times the learning rate' in text) == (not resume)
        groups = read(tmp_path / f'epoch_{epochs}.pth')['optimizer']['param_groups']
        assert [group['initial_lr'] for group in groups] == [4e-3, 4e-3, 4e-4, 4e-4]


def test_weights_that_are_not_finite_are_not_saved(shapes, tmp_path):
    """The last step breaks them; its losses are finite."""
    options = ('--cfg-options', 'optim_wrapper.optimizer.lr=1e5', 'optim_wrapper.optimizer.weight_decay=1e300')
    with pytest.raises(UserError, match=r'tensors of the model are not finite \(first: .*Lower the learning rate'):
        train(shapes, tmp_path, '--epochs', '1', '--batch-size', '8', *options)
    assert not list(tmp_path.glob('*.pth'))


def test_a_training_does_not_continue_on_other_images(whole, shapes, tmp_path):
    out, data = Path(shutil.copytree(whole, tmp_path / 'run')), shutil.copytree(shapes, tmp_path / 'data')
    (table,) = Path(data).rglob('*train*.json')
    content = json.loads(table.read_text())
    content['images'] = content['images'][:5]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [box for box in content['annotations'] if box['image_id'] in kept]
    table.write_text(json.dumps(content))
    with pytest.raises(UserError, match='of a training on 8 images, but the data now has 5, .*load_from=.*epoch_3.pth'):
        train(data, out, '--epochs', '4', '--batch-size', '2', '--resume')
    assert not (out / 'epoch_4.pth').exists()


def test_a_resume_leaves_out_the_checkpoints_of_an_earlier_training(whole, shapes, tmp_path, monkeypatch, capsys):
    """The second training of a work directory is cut off in its first epoch."""
    out = Path(shutil.copytree(whole, tmp_path / 'run'))
    with monkeypatch.context() as patch:
        patch.setattr(EpochLines, 'after_train_iter', lambda *_, **__: next(iter(())))
        with pytest.raises(StopIteration):
            train(shapes, out, *STEPS)
    capsys.readouterr()
    assert latest_checkpoint(out) is None
    assert train(shapes, out, '--epochs', '1', '--batch-size', '2', '--resume') == 0
    said = capsys.readouterr()
    assert '2 checkpoints in' in said.out + said.err and 'of an earlier training and are not used' in said.out + said.err
    assert 'training starts at the beginning' in said.out + said.err
    assert latest_checkpoint(out) == out / 'epoch_1.pth'


def test_changes_between_configs_are_read_and_never_run():
    before = Config(dict(a=1, model=dict(layers=[dict(k=3), dict(k=5)], sizes=(1, 2)), work_dir='x', empty=()))
    after = Config(dict(a=1, model=dict(layers=[dict(k=3), dict(k=7)], sizes=[1, 2]), work_dir='y', empty=[], new='n'))
    assert changes(before.pretty_text, after.pretty_text) == ['model.layers.1.k 5 -> 7', 'new not set -> n']
    assert settings_of("a = __import__('os').getpid()\nb = 2\n") == dict(b=2)
    assert note_of(dict(cfg='not ( python'), 'a = 1') is None and note_of({}, 'a = 1') is None


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


def test_complete_batches_draw_from_their_images():
    class Batches:
        def __getitems__(self, indices):
            return [len(indices), *torch.rand(len(indices)).tolist()]

        def __len__(self):
            return 4

    data = SeededBatches(Batches(), seed=5)
    loader = DataLoader(data, batch_size=2, collate_fn=lambda batch: batch)
    first, again = list(loader), list(loader)
    assert first == again and [batch[0] for batch in first] == [2, 2] and first[0] != first[1]
    data.epoch.fill_(1)
    assert data.__getitems__([0, 1]) != first[0]


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
