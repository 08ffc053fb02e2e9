"""The recipe of a sweep after trials were prepared: an edit is refused, and configs of trials do not change the recipe."""

import copy
import shutil

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
    configure(cfg, dict(name='a', seed=7, r=0.8, w=0.6, d=1.5, fixed_ends=1))
    assert cfg.to_dict() == before
