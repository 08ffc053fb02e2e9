"""The stages of a sweep on made-up results: sampling, collecting, fitting, comparing, drawing, and refused input."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from sweeps import accuracy, compared, image_folder, made_up, recipe, rows_at, sampled, sweep_tool, with_results

from tinynet_mm.archs import EFFICIENTNET_B0, Scaling, inverted_compound, resolve, scale
from tinynet_mm.cost import cost
from tinynet_mm.files import read_csv, write_csv
from tinynet_mm.formula.budget import readable
from tinynet_mm.formula.frontier import frontier
from tinynet_mm.formula.tiny import TinyFormula
from tinynet_mm.sweep import engines, plan, report, results
from tinynet_mm.sweep.folder import RULES, Settings, Sweep, scaling_of
from tinynet_mm.sweep.trial import checkpoints, configure, newest_complete, pending


@pytest.fixture(scope='module')
def fitted(tmp_path_factory) -> Sweep:
    return compared(tmp_path_factory.mktemp('fitted'))


def test_samples_are_networks_of_the_base_of_the_recipe(fitted):
    settings, rows = fitted.settings(), fitted.samples()
    assert settings.base.resolution == 56
    assert settings.classes == 10
    base = cost(settings.base, classes=10)
    for row in rows:
        arch = scale(settings.base, scaling_of(row))
        assert arch.resolution == row['resolution'] == int(56 * row['r'])
        assert cost(arch, classes=10)[:2] == (row['macs'], row['params'])
        assert row['c'] == pytest.approx(row['macs'] / base.macs)
    random = [row for row in rows if row['method'] == 'random']
    assert all(0.03 <= row['c'] <= 1.05 for row in random)
    assert sum(row['target'] == 0.25 and abs(row['c'] / 0.25 - 1) <= 0.03 for row in random) == 8
    assert len({row['name'] for row in rows}) == len(rows)


def test_sampling_is_repeatable_and_never_overwrites(tmp_path):
    first, second = made_up(tmp_path / 'a', 5), made_up(tmp_path / 'b', 5)
    assert first.samples() == second.samples()
    with pytest.raises(ValueError, match='exists already; .* --add'):
        plan.sample(first, first.recipe(), 3)
    with pytest.raises(ValueError, match='another --seed'):
        plan.sample(first, None, 5, add=True)
    assert [row['name'] for row in plan.sample(first, None, 2, seed=1, add=True)] == ['net005', 'net006']
    assert len(first.samples()) == 7
    write_csv(first.path / 'samples.csv', first.samples()[2:])  # two lines deleted by hand: new names follow the last one
    assert [row['name'] for row in plan.sample(first, None, 2, seed=2, add=True)] == ['net007', 'net008']
    known = [row for row in first.samples() if row['seed'] == 0]
    assert len(known) == 3
    nearly = [row | dict(r=row['r'] + 1e-6) for row in known[:2]]  # another r, the same network
    write_csv(first.path / 'samples.csv', nearly)
    assert [row['name'] for row in plan.sample(first, None, 5, add=True)] == ['net004', 'net005', 'net006']


@pytest.mark.parametrize(
    'budgets, seeds, message',
    [
        ([0.5, -1], [0], '-1 is not a valid budget'),
        ([math.nan], [0], 'nan is not a valid budget'),
        ([0.5], [], 'one seed or more'),
    ],
)
def test_invalid_budgets_and_no_seeds_are_refused(fitted, budgets, seeds, message):
    with pytest.raises(ValueError, match=message):
        plan.compare(fitted, budgets, seeds)


def test_a_budget_outside_the_front_leaves_out_the_formula(fitted):
    settings, formula = fitted.settings(), TinyFormula.load(fitted.path / 'formula.json')
    with pytest.raises(ValueError, match=r'the fitted front covers only 0.0\d+ to [01].\d+ of the MACs of efficientnet_b0\.'):
        plan.solved('tiny', 0.01, settings, formula)


def test_compared_networks_meet_their_budgets(fitted):
    rows = [row for row in fitted.samples() if row['method'] != 'random']
    at = {(row['method'], row['target']) for row in rows}
    assert at == {(m, c) for m in RULES for c in (0.5, 0.25)} - {('d', 0.25)} | {('best_random', 0.25), ('front_member', 0.25)}
    assert {row['seed'] for row in rows} == {0, 1}
    nearest = nearest_by_brute_force(fitted.settings())
    for row in rows:
        off, least = abs(row['c'] / row['target'] - 1), math.expm1(nearest.get((row['method'], row['target']), 0))
        assert off <= 0.0101, row['name']
        changed = {key for key in 'rwd' if row[key] != 1} - {row['method']}
        if row['method'] in nearest and least <= 0.01:
            assert row['method'] not in 'rwd' or not changed  # others change only if they must
        assert all(abs(row[key] - 1) <= plan.REACH + 1e-9 for key in changed & set('rd') if row['method'] in 'rwd')
        assert row['fixed_ends'] == (row['method'] != 'giant')
    said = plan.remarks(rows)
    moved = {(row['method'], row['target']): row for row in rows if row['method'] in 'rwd'}
    said, of_giant = [[text for text in said if text.startswith('giant') == giant] for giant in (False, True)]
    assert len(said) == sum(any(row[key] != 1 for key in set('rwd') - {method}) for (method, _), row in moved.items()) > 0
    for text in of_giant:
        assert re.search(r'^giant at 0[.]\d+ has r = .*, w = .* and d = .*, to meet the budget$', text)
    width = moved['w', 0.25]
    assert f'w at 0.25 has r = {width["r"]:.4g}, to meet the budget' in said
    left_out = read_csv(fitted.path / 'left_out.csv')
    assert [(row['method'], row['target']) for row in left_out] == [('best_random', 0.5), ('front_member', 0.5), ('d', 0.25)]
    underflow = left_out[2]
    shallowest = cost(scale(fitted.settings().base, Scaling(d=0.01)), classes=10).macs
    assert underflow['method'] == 'd'
    assert f'{readable(shallowest)} MACs' in underflow['reason']


def test_picks_of_the_search_are_the_best_network_of_the_budget_and_one_of_the_front(fitted):
    drawn = [row for row in fitted.rows() if row['method'] == 'random' and row['target'] == 0.25]
    best = max(drawn, key=lambda row: row['accuracy'])
    again = [row for row in fitted.samples() if row['method'] == 'best_random']
    assert [row['seed'] for row in again] == [0, 1]
    assert {row['macs'] for row in again} == {best['macs']}
    assert all(scaling_of(row) == scaling_of(best) for row in again)
    front = read_csv(fitted.path / 'front.csv')
    member = front[3]
    assert plan.front_member(front, member['c'] * 1.002) == scaling_of(member)
    with pytest.raises(ValueError, match='no network of the front has this budget; the closest one has 0'):
        plan.front_member(front, 0.01)
    with pytest.raises(ValueError, match=r'no random network .* sample .* --add --budget 0.3$'):
        plan.best_random(fitted.rows(), 0.3)


def nearest_by_brute_force(settings: Settings) -> dict[tuple[str, float], float]:
    """Distance in log MACs of the nearest network of each rule to each budget, over all values in steps of 0.0005.

    It is without the change of the width."""
    values, base = np.arange(0.05, 1, 0.0005), settings.base
    ones = np.ones_like(values)
    scalings = {key: Scaling(**(dict(r=ones, w=ones, d=ones) | {key: values})) for key in 'rdw'}
    scalings['giant'] = inverted_compound(np.arange(0, 8, 0.0005))
    costs = {key: cost(scale(base, scaling), classes=10).macs / cost(base, classes=10).macs for key, scaling in scalings.items()}
    return {(key, c): np.abs(np.log(shares / c)).min() for key, shares in costs.items() for c in (0.5, 0.25)}


def test_the_shipped_rows_give_the_shipped_front_and_formula(tmp_path, capsys):
    """The rows also have 50 networks of one budget, and those of the comparison."""
    shipped = Path(__file__).parents[1] / 'results' / 'sweep_cifar10'
    for name in ('rows.csv', 'recipe.py'):
        shutil.copy(shipped / name, tmp_path / name)
    assert sweep_tool().main(['fit', str(tmp_path)]) == 0
    assert 'leaving out one network at a time' in capsys.readouterr().out
    assert read_csv(tmp_path / 'front.csv') == read_csv(shipped / 'front.csv')
    new, old = (TinyFormula.load(folder / 'formula.json') for folder in (tmp_path, shipped))
    for c in (0.1, 0.3, 0.5):
        assert new.predict(c)['r'] == pytest.approx(old.predict(c)['r'], abs=1e-3)
        assert new.predict(c)['d'] == pytest.approx(old.predict(c)['d'], abs=1e-3)


def test_comparing_twice_is_refused(fitted):
    with pytest.raises(ValueError, match='d-0.5-s0 already'):
        plan.compare(fitted, [0.5], range(1))


def test_collected_rows_have_the_results_of_the_trials(fitted):
    rows = fitted.rows()
    assert len(rows) == len(fitted.samples()) == 60 + 22
    for row in rows[:52]:
        assert row['accuracy'] == pytest.approx(accuracy(row) - 0.3)
        assert row['seconds'] == 1.5


def test_fit_finds_the_best_networks_and_their_curve(fitted):
    """Of 60 random networks, the 8 of one budget are left out."""
    random = [row for row in fitted.rows() if row['method'] == 'random' and row['target'] == '']
    front = read_csv(fitted.path / 'front.csv')
    assert len(front) == 10 == round(0.2 * len(random))
    assert all(row['method'] == 'random' and row['target'] == '' for row in front)
    undominated = [a for a in random if not any(b['macs'] < a['macs'] and b['accuracy'] > a['accuracy'] for b in random)]
    assert {row['name'] for row in undominated} <= {row['name'] for row in front} or len(undominated) > 10
    formula = TinyFormula.load(fitted.path / 'formula.json')
    at = formula.predict([0.3, 0.6])
    assert np.abs(at['r'] / (0.9 * np.array([0.3, 0.6]) ** 0.25) - 1).max() < 0.25


def test_collect_names_results_that_are_incomplete_nan_or_failed(tmp_path):
    sweep = made_up(tmp_path, 8)
    names = [row['name'] for row in sweep.samples()]
    whole = (sweep.trial(names[0]) / 'result.json').read_text()
    (sweep.trial(names[0]) / 'result.json').write_text(whole[: len(whole) // 2])
    (sweep.trial(names[1]) / 'result.json').write_text('{"accuracy": NaN}')
    (sweep.trial(names[2]) / 'result.json').unlink()
    (sweep.trial(names[2]) / 'error.txt').write_text('ValueError: the loss is nan\n\ntrace')
    (sweep.trial(names[3]) / 'result.json').write_bytes(b'\xff\xfe')
    collected = results.collect(sweep)
    assert [row['name'] for row in collected.rows] == names[4:]
    assert collected.missing == 4
    cut, nan, failed, noise = collected.remarks
    assert names[0] in cut and 'incomplete' in cut
    assert names[1] in nan and 'accuracy nan' in nan
    assert failed == f'{names[2]} failed: ValueError: the loss is nan'
    assert names[3] in noise


def test_pending_trials_are_those_without_a_complete_result(tmp_path):
    sweep = sampled(tmp_path, 4)
    names = [row['name'] for row in with_results(sweep).samples()]
    (sweep.trial(names[1]) / 'result.json').write_text('{"accur')
    (sweep.trial(names[3]) / 'result.json').unlink()
    folders, remarks = pending(sweep)
    assert [folder.name for folder in folders] == [names[1], names[3]]
    assert len(remarks) == 1 and names[1] in remarks[0]


@pytest.mark.parametrize(
    'stage, missing, command',
    [
        (lambda s: pending(s), 'recipe.py', 'sample'),
        (lambda s: results.collect(s), 'samples.csv', 'sample'),
        (lambda s: results.fit(s), 'rows.csv', 'collect'),
        (lambda s: report.write(s), 'rows.csv', 'collect'),
        (lambda s: plan.compare(s, [0.5], [0]), 'formula.json', 'fit'),
    ],
)
def test_the_error_for_a_missing_file_names_its_command(tmp_path, stage, missing, command):
    with pytest.raises(FileNotFoundError, match=rf'{re.escape(missing)} is missing; write it with: tinynet sweep {command} '):
        stage(Sweep(tmp_path))


def test_collect_without_trained_networks_names_the_command(tmp_path):
    with pytest.raises(ValueError, match='none of the 3 networks .* tinynet sweep run'):
        results.collect(sampled(tmp_path, 3))


def test_fronts_that_cannot_be_fitted(tmp_path):
    sweep = made_up(tmp_path, 5)
    rows_at(sweep, [0.5, 0.6, 0.7, 0.8])
    with pytest.raises(ValueError, match='frontier of 4 networks is too small'):
        results.fit(sweep, share=1)
    rows_at(sweep, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    with pytest.raises(ValueError, match='the best 20% of 7 random networks are a front of 1, .* --share 0.72 or more'):
        results.fit(sweep)
    assert len(frontier(sweep.rows(), 0.72)) == 5
    rows_at(sweep, [0.98, 0.99, 1.0, 1.01, 1.02])
    with pytest.raises(ValueError, match='one budget says nothing'):
        results.fit(sweep, share=1)
    path = rows_at(sweep, [0.5, 0.6, 0.7, 0.8, 1.0])
    path.write_text(path.read_text().replace('60.0', 'nan'))
    with pytest.raises(ValueError, match=r'rows.csv, line 6: accuracy is .nan'):
        results.fit(sweep, share=1)
    assert not (sweep.path / 'formula.json').exists()
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match='truncated'):
        results.fit(sweep, share=1)


def test_a_budget_below_the_smallest_network_is_refused_with_its_cost(tmp_path):
    cfg = recipe(tmp_path / 'data')
    settings = Settings.of(cfg)
    least = cost(scale(settings.base, Scaling(0.35, 0.35, 0.35)), classes=2).macs / cost(settings.base, classes=2).macs
    with pytest.raises(ValueError, match=f'small cannot shrink to 0.01 .* it still costs {least:.3f}'):
        plan.sample(Sweep(tmp_path / 'sweep'), cfg, 4, c=0.01)
    assert not (tmp_path / 'sweep').exists()


def test_a_recipe_without_sweep_settings_is_refused(tmp_path):
    cfg = recipe(tmp_path)
    cfg.pop('sweep')
    with pytest.raises(ValueError, match='has no sweep.base, .*; write sweep = dict'):
        plan.sample(Sweep(tmp_path / 'sweep'), cfg, 4)


def test_trial_configs_have_network_resolution_and_seed(tmp_path):
    cfg = Config.fromfile('configs/sweep/cifar10.py')
    row = dict(name='a', method='tiny', seed=7, r=0.8, w=0.6, d=1.5, fixed_ends=0)
    trial = configure(cfg, row)
    arch = resolve(dict(trial.model.backbone.arch))
    expected = scale(EFFICIENTNET_B0, Scaling(0.8, 0.6, 1.5, fixed_ends=False))
    assert arch.stages == expected.stages
    assert trial.model.head.in_channels == arch.head == expected.head
    assert trial.model.data_preprocessor.resolution == 44
    assert trial.randomness.seed == 7
    assert cfg.model.data_preprocessor.resolution == 56
    own = configure(recipe(tmp_path), row | dict(fixed_ends=1))
    assert resolve(own.model.backbone.arch).stages == scale(Settings.of(recipe(tmp_path)).base, scaling_of(row)).stages


@pytest.mark.parametrize('name, kept', [('cifar10', True), ('imagenet100', False)])
def test_only_compared_networks_have_a_test_part_and_only_one_that_differs_from_the_validation(name, kept):
    """imagenet100 has ``test_dataloader = val_dataloader``: its images choose the front, so they are no test."""
    cfg, row = Config.fromfile(f'configs/sweep/{name}.py'), dict(name='a', seed=0, r=1, w=1, d=1, fixed_ends=1)
    assert 'test_dataloader' in cfg
    for method, expected in (('random', False), ('tiny', kept), ('best_random', kept)):
        trial = configure(cfg, row | dict(method=method))
        assert {key in trial for key in ('test_dataloader', 'test_evaluator', 'test_cfg')} == {expected}


def test_other_classes_than_the_head_are_refused_before_training(tmp_path):
    cfg = recipe(image_folder(tmp_path / 'data', 1))
    cfg.model.head.num_classes = 5
    sweep = Sweep(tmp_path / 'sweep')
    plan.sample(sweep, cfg, 2)
    with pytest.raises(ValueError, match='2 class folders'):
        pending(sweep)


def test_the_newest_complete_checkpoint_is_taken(tmp_path):
    import torch

    for epoch in (8, 9, 10):
        torch.save(dict(epoch=epoch), tmp_path / f'epoch_{epoch}.pth')
    assert [path.stem for path in checkpoints(tmp_path)] == ['epoch_10', 'epoch_9', 'epoch_8']
    data = (tmp_path / 'epoch_10.pth').read_bytes()
    (tmp_path / 'epoch_10.pth').write_bytes(data[: len(data) // 2])
    assert newest_complete(tmp_path).stem == 'epoch_9'
    assert newest_complete(tmp_path / 'none') is None


def test_progress_estimates_the_time_left():
    """The estimate uses MACs: two networks like the first take two minutes, one with twice its MACs also takes two."""
    now = iter([0.0, 60.0, 60.0, 120.0])
    progress = engines.Progress(dict(x=7e6, a=5e6, b=5e6, c=5e6, d=10e6), clock=lambda: next(now))
    assert progress.line(engines.Outcome('x', 'failed', 'Error: y')) == '[1/5] x failed: Error: y (4 trials left, 1 failed)'
    assert progress.line(engines.Outcome('a', 'done', '50 %')) == '[2/5] a 50 % (4 min left, 1 failed)'
    assert progress.line(engines.Outcome('b', 'busy', 'locked')) == '[3/5] b busy: locked (3 min left, 1 failed)'
    assert progress.line(engines.Outcome('d', 'done', '60 %')) == '[4/5] d 60 % (40 s left, 1 failed)'
    assert progress.unfinished == ['x', 'b']
    assert engines.duration(7300) == '2 h 02 min'


def test_the_tool_runs_all_stages(tmp_path, capsys):
    tool = sweep_tool()
    sweep, data = Sweep(tmp_path / 'sweep'), image_folder(tmp_path / 'data', 1)

    def stage(*arguments) -> str:
        assert tool.main([arguments[0], str(sweep.path), *map(str, arguments[1:])]) == 0
        return capsys.readouterr().out

    assert stage('sample', '-n', 40, '--data-root', data, '--band', 0.1, 1).startswith('40 networks of 0.1')
    assert sweep.recipe().train_dataloader.dataset.folder == str(data / 'train')
    assert sweep.settings().classes == 2
    with_results(sweep)
    assert 'all done' in stage('run')
    assert stage('collect') == f'40 trained networks: {sweep.path}/rows.csv\n'
    assert 'Spearman, 95 % interval): r ' in stage('fit')
    added = stage('compare', '--budgets', 0.3, '--seeds', 2)
    assert 'left out: d at 0.3: efficientnet_b0 cannot shrink' in added and '8 trainings added' in added
    for wrong, message in (
        (['sample', '--add', '--data-root', data], 'has its recipe already'),
        (['run', '--jobs', '0'], '--jobs is 0; give 1 or more'),
        (['run', '--address', 'auto'], 'need --engine ray'),
    ):
        with pytest.raises(ValueError, match=message):
            tool.main([wrong[0], str(sweep.path), *map(str, wrong[1:])])
    capsys.readouterr()
    with_results(sweep)
    stage('collect')
    assert 'note: no figure 2' in stage('report')
    assert len(sweep.rows()) == 48
