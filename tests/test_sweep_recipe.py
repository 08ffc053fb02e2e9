"""The recipe of a sweep after trials were prepared: an edit is refused, and configs of trials do not change the recipe."""

import copy
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from sweeps import recipe, sampled, sweep_tool

from tinynet_mm.errors import UserError
from tinynet_mm.sweep import trial
from tinynet_mm.sweep.folder import Sweep
from tinynet_mm.sweep.trial import configure, pending


@pytest.fixture
def prepared(tmp_path) -> Sweep:
    """Two prepared trials: the first is done, the second is not."""
    sweep = sampled(tmp_path, 2)
    pending(sweep)
    (sweep.trial('net000') / 'result.json').write_text('{"accuracy": 50.0}')
    return sweep


def edit(sweep: Sweep, old: str, new: str) -> None:
    recipe_file = sweep.path / 'recipe.py'
    assert old in recipe_file.read_text()
    recipe_file.write_text(recipe_file.read_text().replace(old, new))


@pytest.mark.parametrize(
    'removed, named', [((), 'net000, net001'), (('net000',), 'net001'), (('net001',), 'net000')], ids=['both', 'not done', 'done']
)
def test_run_refuses_a_recipe_edited_after_its_first_run(prepared, removed, named):
    """For trials that are done and for those that are not; trials have no mark, as in older versions."""
    for name in removed:
        shutil.rmtree(prepared.trial(name))
    assert not list(prepared.path.rglob('*.sha256'))
    edit(prepared, "type='AdamW'", "type='SGD'")
    before = sorted(prepared.path.rglob('*'))
    change = rf"recipe.py has optim_wrapper\.optimizer\.type = 'SGD', but the config.py of {named} in .* has 'AdamW'"
    with pytest.raises(UserError, match=f'{change}; .*: restore recipe.py, delete the folders'):
        sweep_tool().main(['run', str(prepared.path)])
    assert sorted(prepared.path.rglob('*')) == before


def test_run_accepts_a_recipe_with_other_comments_and_restored_values(prepared, capsys):
    edit(prepared, "type='AdamW'", "type='SGD'")
    edit(prepared, "type='SGD'", "type='AdamW'  # restored\n")
    (prepared.trial('net001') / 'result.json').write_text('{"accuracy": 60.0}')
    assert sweep_tool().main(['run', str(prepared.path)]) == 0
    assert 'all done' in capsys.readouterr().out


def test_run_accepts_a_trial_whose_seed_and_network_an_older_version_wrote_differently(prepared):
    config = prepared.trial('net001') / 'config.py'
    config.write_text(config.read_text().replace("experiment_name = 'net001'", "experiment_name = 'trial net001'"))
    assert 'trial net001' in config.read_text()
    assert [folder.name for folder in pending(prepared)[0]] == ['net001']


@pytest.mark.parametrize(
    'old, new, expected',
    [
        (dict(a=dict(b=[1, 2])), dict(a=dict(b=[1, 3])), ('a.b.1', '2', '3')),
        (dict(a=1), dict(a=1, b='x'), ('b', 'nothing', "'x'")),
        (dict(a=[1]), dict(a=[1, 2]), ('a', '[1]', '[1, 2]')),
        (dict(a=1), dict(a=1), None),
    ],
)
def test_the_first_difference_of_two_configs_is_named(old, new, expected):
    assert trial._difference(old, new) == expected


@pytest.mark.parametrize('named', [True, False], ids=['base by name', 'base table'])
def test_configure_leaves_the_recipe_unchanged(tmp_path, named):
    cfg = Config.fromfile('configs/sweep/cifar10.py') if named else recipe(tmp_path)
    before = copy.deepcopy(cfg.to_dict())
    configure(cfg, dict(name='a', method='random', seed=7, r=0.8, w=0.6, d=1.5, fixed_ends=1))
    assert cfg.to_dict() == before


@pytest.mark.parametrize('r, side, edge', [(0.5, 112, 128), (1.0, 224, 256), (0.475, 106, 121)])
def test_the_search_of_the_paper_scales_crops_and_resized_edges(r, side, edge):
    cfg = configure(
        Config.fromfile('configs/sweep/imagenet100.py'), dict(name='a', method='random', seed=0, r=r, w=0.5, d=0.6, fixed_ends=1)
    )
    assert cfg.train_dataloader.dataset.pipeline[1].scale == side
    pipeline = cfg.val_dataloader.dataset.pipeline
    assert (pipeline[1].scale, pipeline[2].crop_size) == (edge, side)


def test_the_search_of_the_paper_runs_on_a_small_folder(tmp_path, capsys):
    """A hundred classes with an image each, one network, one epoch of two steps."""
    for split in ('train', 'val'):
        for number in range(100):
            folder = tmp_path / 'data' / split / f'n{number:08d}'
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / 'a.JPEG'), np.full((90, 120, 3), number, np.uint8))
    arguments = ['--config', 'configs/sweep/imagenet100.py', '--data-root', str(tmp_path / 'data'), '-n', '1']
    small = ['train_cfg.max_epochs=1']
    for split in ('train', 'val'):
        small += [f'{split}_dataloader.{key}' for key in ('batch_size=50', 'num_workers=0', 'persistent_workers=False')]
    tool, sweep = sweep_tool(), Sweep(tmp_path / 'sweep')
    assert tool.main(['sample', str(sweep.path), *arguments, '--band', '0.03', '0.05', '--cfg-options', *small]) == 0
    for command in ('run', 'collect'):
        assert tool.main([command, str(sweep.path)]) == 0
    (row,) = sweep.rows()
    assert row['images'] == 100 and row['epochs'] == 1 and 0 <= row['accuracy'] <= 100
    kept = Config.fromfile(sweep.trial('net000') / 'config.py')
    assert kept.train_dataloader.dataset.pipeline[1].scale == row['resolution']
