"""User-defined base tables: the model builds what the cost counts, and a field that it would ignore is refused."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import tinynet_mm  # noqa: F401 (registers the backbones)
from tinynet_mm import cost as costs
from tinynet_mm.archs import ACTIVATIONS, BASES, EFFICIENTNET_B0, FAMILIES, PLAIN_BLOCKS, Arch, Scaling, resolve, scale
from tinynet_mm.cost import cost
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab.counting import count_images
from tinynet_mm.models import Classifier, ghostnet, resnet
from tinynet_mm.models import blocks as efficientnet_blocks


def random_table(family: str, rng: np.random.Generator) -> dict:
    """A small random table that is valid for its family, with every field that the family may set."""
    record = FAMILIES[family]

    def stage(index: int) -> dict:
        block = str(rng.choice(record.blocks))
        plain = block in PLAIN_BLOCKS
        return dict(
            block=block,
            channels=int(rng.integers(1, 9)) * 8,
            repeats=int(rng.integers(1, 3)),
            kernel=int(rng.choice([3, 5, 7])),
            stride=int(rng.integers(1, 3)),
            expansion=1 if plain else float(rng.choice([0.5, 1, 2.5, 4])),
            se=float(rng.choice([0, 0.05, 0.25])) if record.se else 0.0,
            joined=bool(record.joined and index and rng.random() < 0.3),
        )

    head = int(rng.integers(0, 3)) * 40 if record.head else 0
    return dict(
        name='mine', family=family, resolution=int(rng.integers(33, 65)), stem=int(rng.integers(1, 5)) * 8,
        stages=[stage(i) for i in range(rng.integers(1, 4))], head=head, hidden=24 if record.hidden and head > 40 else 0,
        divisor=int(rng.choice([4, 8])), stem_kernel=int(rng.choice([3, 5, 7])) if record.any_stem_kernel else 3,
        stem_pool=record.stem_pool, activation=str(rng.choice(['', *ACTIVATIONS])),
    )  # fmt: skip


def test_cost_and_models_have_the_blocks_of_all_families():
    """Each block of a family has a cost function and a module, and neither table has another block."""
    models = dict(efficientnet=efficientnet_blocks.BLOCKS, resnet=resnet.BLOCKS, ghostnet=ghostnet.BLOCKS)
    assert {name: set(family.blocks) for name, family in FAMILIES.items()} == {name: set(t) for name, t in models.items()}
    assert set(costs.BLOCKS) == {block for family in FAMILIES.values() for block in family.blocks}
    assert {family.backbone for family in FAMILIES.values()} <= set(MODELS.module_dict)


@pytest.mark.parametrize('family', FAMILIES)
def test_100_random_tables_cost_what_the_built_network_does(family):
    rng = np.random.default_rng(0)
    for index in range(100):
        arch = Arch.from_dict(random_table(family, rng))
        with torch.device('meta'):
            model = Classifier(backbone(arch), 7)
            found = count_images(model, arch.resolution)
        assert found == cost(arch, classes=7), arch
        built = {type(m).__name__ for m in model.modules()} & set(ACTIVATION_CLASSES.values())
        gates = {'ReLU'} if family == 'ghostnet' else set()  # of squeeze-excite
        assert built - gates <= {ACTIVATION_CLASSES[arch.activation or FAMILIES[family].activation]}
        if index < 3:
            image = torch.zeros(2, 3, arch.resolution, arch.resolution)
            assert Classifier(backbone(arch), 7)(image).shape == (2, 7)


def backbone(arch: Arch):
    return MODELS.build(dict(type=FAMILIES[arch.family].backbone, arch=arch, out_indices=(-1,)))


ACTIVATION_CLASSES = dict(ReLU='ReLU', ReLU6='ReLU6', SiLU='SiLU', HSwish='Hardswish')


@pytest.mark.parametrize(
    'base, change, words',
    [
        ('efficientnet_b0', dict(stem_kernel=7), 'stem_kernel=7, but the stem is a 3x3 convolution'),
        ('efficientnet_b0', dict(stem_pool=True), 'stem_pool=True, but the stem has no pooling'),
        ('efficientnet_b0', dict(hidden=64), 'hidden=64, but only a GhostNet with a head'),
        ('resnet50', dict(head=64), 'head=64, but there is no convolution'),
        ('resnet50', dict(stem_pool=False), 'stem_pool=False, but the stem ends with pooling'),
        ('resnet50', dict(stem_kernel=4), 'stem_kernel=4 is not odd'),
        ('ghostnet_a', dict(head=0), 'hidden=1400, but only a GhostNet with a head'),
        ('ghostnet_a', dict(activation='Tanh'), "activation='Tanh'; known: ReLU"),
    ],
)
def test_a_table_that_the_model_does_not_build_is_refused(base, change, words):
    with pytest.raises(UserError, match=words):
        Arch.from_dict(asdict(BASES[base]) | change)


@pytest.mark.parametrize(
    'base, field, value', [('resnet50', 'se', 0.25), ('resnet18', 'expansion', 2), ('resnet50', 'joined', True)]
)
def test_a_stage_that_the_model_does_not_build_is_refused(base, field, value):
    table = asdict(BASES[base])
    table['stages'] = [dict(table['stages'][0], **{field: value})]
    with pytest.raises(UserError, match=field):
        Arch.from_dict(table)


def test_heads_grow_with_w_above_1_as_in_the_authors_code():
    """max(1280, 1280 w) features; the stem stays."""
    w = np.array([0.35, 1.0, 1.3, 2.8])
    wide = scale(EFFICIENTNET_B0, Scaling(r=1.0, w=w, d=1.0))
    assert np.all(wide.head == [1280, 1280, 1664, 3584]) and wide.stem == 32
    assert scale(EFFICIENTNET_B0, Scaling(w=1.3)).head == 1664


@pytest.mark.parametrize('kind, base', [('ScaledEfficientNet', 'efficientnet_b0'), ('ScaledGhostNet', 'ghostnet_a')])
@pytest.mark.parametrize('activation', ['ReLU6', 'HSwish'])
def test_a_backbone_without_squeeze_excite_and_with_another_activation(kind, base, activation):
    """The form for int8: the config's arguments reach the model, and the cost follows."""
    arch = dict(r=0.2, w=0.4, d=0.3, se=0)
    backbone = MODELS.build(dict(type=kind, arch=arch, act_cfg=dict(type=activation)))
    names = {type(module).__name__ for module in backbone.modules()}
    assert 'SqueezeExcite' not in names and not any(name.endswith(('SiLU', 'Swish')) and name != 'HSwish' for name in names)
    assert names & {'ReLU6'} or activation != 'ReLU6'
    expected = cost(resolve(dict(base=base, **arch)), classes=10)
    assert count_images(Classifier(backbone, 10), 48).params == expected.params
    assert expected.params < cost(resolve(dict(base=base, r=0.2, w=0.4, d=0.3)), classes=10).params


@pytest.mark.parametrize(
    'field, value', [('head', 1280.5), ('stem', None), ('resolution', '224'), ('stem_kernel', 3.0), ('divisor', True)]
)
def test_a_field_of_another_type_is_refused(field, value):
    table = asdict(EFFICIENTNET_B0) | {field: value}
    with pytest.raises(UserError, match=f'{field}=.* is not a whole number'):
        Arch.from_dict(table)


@pytest.mark.parametrize(
    'field, value', [('channels', 24.5), ('repeats', 2.5), ('kernel', 3.0), ('se', '0.25'), ('expansion', float('nan'))]
)
def test_a_field_of_a_stage_of_another_type_is_refused(field, value):
    table = asdict(EFFICIENTNET_B0)
    table['stages'] = [dict(stage) for stage in table['stages']]
    table['stages'][2][field] = value
    with pytest.raises(UserError, match=f'stage 2: {field}=.* is not a'):
        Arch.from_dict(table)
