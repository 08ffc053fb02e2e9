"""The tables: rounding, levels, presets, and the errors of wrong architectures."""

import dataclasses

import numpy as np
import pytest
from timm.layers import make_divisible

from tinynet_mm.archs import BASES, INFERRED, PRESETS, Arch, Scaling, divisible, preset, resolve, scale
from tinynet_mm.cost import cost
from tinynet_mm.errors import UserError
from tinynet_mm.paper.inferred import BUDGETS, infer

# name -> input, stem, channels and repeats of the stages, from the authors' published code
TINYNETS = {
    'tinynet_a': (192, 32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 4, 4, 5, 1)),
    'tinynet_b': (188, 32, (16, 24, 32, 64, 88, 144, 240), (1, 2, 2, 3, 3, 4, 1)),
    'tinynet_c': (184, 32, (8, 16, 24, 40, 64, 104, 176), (1, 2, 2, 3, 3, 3, 1)),
    'tinynet_d': (152, 32, (8, 16, 24, 40, 64, 104, 176), (1, 1, 1, 2, 2, 3, 1)),
    'tinynet_e': (106, 32, (8, 16, 24, 40, 56, 96, 160), (1, 1, 1, 2, 2, 2, 1)),
}


@pytest.mark.parametrize('divisor', [4, 8])
def test_widths_round_as_in_timm(divisor):
    values = np.random.default_rng(0).uniform(0.5, 3000, 2000)
    expected = [make_divisible(v, divisor) for v in values]
    assert divisible(values, divisor).tolist() == expected == [divisible(v, divisor) for v in values]


@pytest.mark.parametrize('name', TINYNETS)
def test_tinynets_equal_the_published_ones(name):
    arch = preset(name)
    found = tuple(s.channels for s in arch.stages), tuple(s.repeats for s in arch.stages)
    assert (arch.resolution, arch.stem, *found) == TINYNETS[name] and arch.head == 1280


def test_giants_have_their_published_inputs_and_parameters():
    names = [f'efficientnet_b{i}' for i in range(8)]
    assert [preset(name).resolution for name in names] == [224, 240, 260, 300, 380, 456, 528, 600]
    millions = [round(cost(preset(name)).params / 1e6, 1) for name in names]
    assert millions == [5.3, 7.8, 9.1, 12.2, 19.3, 30.4, 43.0, 66.3]  # as printed by timm, torchvision and the authors


def test_every_base_is_a_preset_and_scaling_by_one_changes_nothing():
    for name, base in BASES.items():
        assert preset(name) == base == scale(base, Scaling())


def test_joined_stages_are_one_level():
    assert [len(runs) for runs in BASES['ghostnet_a'].levels] == [1, 1, 1, 1, 1, 1, 2, 1, 1]
    assert [len(runs) for runs in BASES['ghostnet_100'].levels] == [1, 1, 1, 1, 1, 1, 3, 1, 4]
    assert all(len(runs) == 1 for runs in BASES['resnet50'].levels)
    assert sum(BASES['ghostnet_100'].levels, ()) == BASES['ghostnet_100'].stages


def test_depth_is_at_least_one_block_and_follows_the_rounding_rule():
    arch = scale(BASES['efficientnet_b0'], Scaling(d=0.01))
    assert {s.repeats for s in arch.stages} == {1}
    assert round(cost(arch).macs / 1e6) == 173  # table 1: "shrinking B0 to the minimum depth results in 173M FLOPs"
    assert [s.repeats for s in scale(BASES['resnet50'], Scaling(d=0.5)).stages] == [2, 2, 3, 2]  # 1.5 rounds to even
    assert [s.repeats for s in scale(BASES['resnet50'], Scaling(d=0.6, ceil_depth=True)).stages] == [2, 3, 4, 2]


def test_ends_scale_only_without_fixed_ends():
    fixed, free = (scale(BASES['ghostnet_a'], Scaling(w=0.5, fixed_ends=f)) for f in (True, False))
    assert (fixed.stem, fixed.head, fixed.hidden) == (28, 1680, 1400)
    assert (free.stem, free.head, free.hidden) == (16, 840, 700)
    assert fixed.stages == free.stages


@pytest.mark.parametrize('name', sorted(INFERRED))
def test_inferred_presets_are_reproducible_and_meet_the_paper(name):
    assert PRESETS[name][1] == infer(name)
    budget, found = BUDGETS[name], cost(preset(name))
    assert found.macs == pytest.approx(budget.macs, rel=0.01)
    assert not budget.params or found.params == pytest.approx(budget.params, rel=0.015)


def test_resolve_accepts_names_multipliers_and_tables():
    d = PRESETS['tinynet_d'][1]
    assert resolve(dict(r=d.r, w=d.w, d=d.d)).stages == preset('tinynet_d').stages
    assert resolve(dict(base='resnet50', w=0.5)).stages[0].channels == 128
    for name in PRESETS:
        assert resolve(dataclasses.asdict(preset(name))) == preset(name) == resolve(preset(name))


TABLE = dataclasses.asdict(preset('resnet18'))


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        ('tinynet_f', 'Did you mean tinynet_'),
        ('TinyNet_D', 'Did you mean tinynet_d'),
        (dict(r=0.5, depth=2), "unknown key 'depth'.* r, w, d"),
        (dict(r=0), 'positive'),
        (dict(w='wide'), 'positive'),
        (dict(d=float('nan')), 'positive'),
        (dict(base='resnet101'), "unknown base 'resnet101'; known: .*resnet50"),
        (3, 'arch=3: give a name'),
        (dict(stages=[]), 'not a base table .*resolution'),
        (dict(TABLE, stages=[dict(block='basic', width=3)]), 'for each stage block, channels'),
        (dict(TABLE, stages=[]), 'at least one stage'),
        (dict(TABLE, family='vgg'), "unknown family 'vgg'"),
        (dict(TABLE, stages=[dict(block='ghost', channels=8)]), 'stage 0.*basic'),
        (dict(TABLE, stages=[dict(block='basic', channels=0)]), 'stage 0.*positive'),
        (dict(TABLE, stages=[dict(block='basic', channels=8, joined=True)]), 'joined'),
    ],
)
def test_wrong_architectures_are_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        resolve(arch)


def test_another_family_is_refused():
    with pytest.raises(ValueError, match='tinynet_a is of the family efficientnet, but ghostnet is required, like ghostnet_a'):
        resolve('tinynet_a', family='ghostnet')
    assert isinstance(resolve(dict(d=0.5), base='resnet50', family='resnet'), Arch)


@pytest.mark.parametrize('base', ['efficientnet_b0', 'ghostnet_a', 'ghostnet_100'])
def test_squeeze_excite_can_be_set_for_all_stages(base):
    arch = resolve(dict(base=base, w=0.5, se=0))
    assert {stage.se for stage in arch.stages} == {0}
    with_se = resolve(dict(base=base, w=0.5))
    assert [dataclasses.replace(stage, se=0) for stage in with_se.stages] == list(arch.stages)
    assert {stage.se for stage in resolve(dict(base=base, se=0.25)).stages} == {0.25}


@pytest.mark.parametrize(
    'table, words', [(dict(se=2), 'from 0'), (dict(se='no'), 'from 0'), (dict(base='resnet50', se=0.5), 'no squeeze-excite')]
)
def test_a_wrong_squeeze_excite_ratio_is_refused(table, words):
    with pytest.raises(UserError, match=words):
        resolve(table)
