"""Properties that hold for any input, compared with naive references: networks, costs, the formula, augmentation, data sets."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from torch import nn

import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
from tinynet_mm.archs import BASES, EFFICIENTNET_B0, FAMILIES, PLAIN_BLOCKS, Arch, Scaling, divisible, scale
from tinynet_mm.cost import cost, parts
from tinynet_mm.data.augment import SSDWarp
from tinynet_mm.errors import UserError
from tinynet_mm.formula.budget import parse_budget, readable
from tinynet_mm.formula.solve import TOLERANCE, cost_meter
from tinynet_mm.formula.tiny import TinyFormula
from tinynet_mm.models import ScaledEfficientNet, ScaledGhostNet, ScaledResNet

BACKBONES = {'efficientnet': ScaledEfficientNet, 'resnet': ScaledResNet, 'ghostnet': ScaledGhostNet}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# Networks and costs -----------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures('only_counted_layers')
MULTIPLIERS = st.floats(0.1, 1.3)
SCALINGS = st.builds(Scaling, r=MULTIPLIERS, w=MULTIPLIERS, d=MULTIPLIERS, fixed_ends=st.booleans(), ceil_depth=st.booleans())


def built(arch: Arch) -> nn.Module:
    with torch.device('meta'):
        return BACKBONES[arch.family](arch, out_indices=(-1,)).eval()


def counted(arch: Arch) -> tuple[int, int, int]:
    """MACs, parameters and activations of the built backbone: weights of each layer times the pixels that it writes."""
    model, found = built(arch), [0, 0, 0]

    def after(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        found[0] += layer.weight.numel() * output.numel() // output.shape[1]
        found[2] += output.numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(after)
    with torch.no_grad():
        model(torch.empty(1, 3, arch.resolution, arch.resolution, device='meta'))
    found[1] = sum(parameter.numel() for parameter in model.parameters())
    return tuple(found)


@given(st.sampled_from(sorted(BASES)), SCALINGS)
def test_any_scaling_builds_a_network_of_the_counted_cost(base, scaling):
    arch = scale(BASES[base], scaling)
    assert arch.resolution >= 1 and all(stage.channels % arch.divisor == 0 and stage.repeats >= 1 for stage in arch.stages)
    assert tuple(cost(arch, classes=0)) == counted(arch)


@st.composite
def tables(draw) -> dict:
    """A valid base table of any family."""
    family = FAMILIES[draw(st.sampled_from(sorted(FAMILIES)))]
    stages = []
    for index in range(draw(st.integers(1, 3))):
        block = draw(st.sampled_from(family.blocks))
        stage = dict(block=block, channels=draw(st.integers(1, 40)), repeats=draw(st.integers(1, 3)))
        stage |= dict(kernel=draw(st.sampled_from([1, 3, 5, 7])), stride=draw(st.integers(1, 3)))
        stage['expansion'] = 1 if block in PLAIN_BLOCKS else draw(st.floats(0.1, 7))
        stage['se'] = draw(st.just(0.0) | st.floats(0, 1)) if family.se else 0.0
        stages.append(dict(stage, joined=bool(family.joined and index and draw(st.booleans()))))
    head = draw(st.integers(0, 50)) if family.head else 0
    return dict(
        name='mine', family=family.name, resolution=draw(st.integers(1, 70)), stem=draw(st.integers(1, 40)), stages=stages,
        head=head, hidden=draw(st.integers(0, 50)) if family.hidden and head else 0, divisor=draw(st.integers(1, 16)),
        stem_kernel=draw(st.sampled_from([1, 3, 7])) if family.any_stem_kernel else 3, stem_pool=family.stem_pool,
    )  # fmt: skip


@settings(max_examples=60)
@given(tables())
def test_any_valid_table_builds_a_network_of_the_counted_cost(table):
    arch = Arch.from_dict(json.loads(json.dumps(table)))
    assert json.loads(json.dumps(asdict(arch))) == table | dict(activation='')
    assert tuple(cost(arch, classes=0)) == counted(arch)


@settings(max_examples=150)
@given(tables(), st.data())
def test_a_wrong_field_of_a_table_is_refused_or_builds(table, data):
    """Any JSON value in any place: one sentence, or a network whose cost is right."""
    part = data.draw(st.sampled_from([table, *table['stages']]))
    part[data.draw(st.sampled_from(sorted(part)) | st.text(max_size=5))] = data.draw(JSON)
    try:
        arch = Arch.from_dict(table)
    except UserError:
        return
    found = cost(arch, classes=0)
    assert min(found) > 0
    if found.params < 1e6 and sum(stage.repeats for stage in arch.stages) < 12:
        assert tuple(found) == counted(arch)


@given(st.sampled_from(sorted(BASES)), *[st.tuples(MULTIPLIERS, MULTIPLIERS).map(sorted)] * 3)
def test_a_larger_network_never_costs_less(base, r, w, d):
    small, large = (cost(scale(BASES[base], Scaling(r[i], w[i], d[i], fixed_ends=False))) for i in (0, 1))
    assert all(a <= b for a, b in zip(small, large))


@given(tables(), st.integers(0, 100))
def test_costs_add(table, classes):
    """Equal blocks cost the same, each part is counted once, and maps of four times the pixels cost four times as much."""
    arch = Arch.from_dict(table)
    assert tuple(cost(arch, classes=classes)) == tuple(map(sum, zip(*(found for _, found in parts(arch, classes=classes)))))

    def repeated(n: int) -> np.ndarray:
        last = replace(arch.stages[-1], repeats=n)
        return np.array(cost(replace(arch, stages=(*arch.stages[:-1], last)), classes=classes))

    assert (repeated(3) - repeated(2) == repeated(2) - repeated(1)).all()
    sides = 4 * math.prod(stage.stride for stage in arch.stages)
    once, twice, four = (cost(arch, resolution=factor * sides, classes=classes).macs for factor in (1, 2, 4))
    assert four - twice == 4 * (twice - once)


@settings(max_examples=200)
@given(st.floats(1e-3, 5000), st.integers(1, 64))
def test_a_width_is_the_nearest_multiple(value, divisor):
    multiples = [divisor * k for k in range(1, int(value / divisor) + 3)]
    nearest = min(multiples, key=lambda m: (abs(m - value), -m))
    if nearest < 0.9 * value:
        nearest += divisor
    assert divisible(value, divisor) == nearest


# The formula ------------------------------------------------------------------------------------------------------------------

FORMULA = TinyFormula.published()
BASE_MACS = cost(EFFICIENTNET_B0).macs
SHARES = st.floats(FORMULA.range[0] * 1.001, FORMULA.range[1] * 0.999)


@given(SHARES)
def test_a_solution_meets_its_budget(share):
    """The built network is at most 3 % above the budget, and the next larger one is above it."""
    found = FORMULA.solve(share * BASE_MACS)
    macs, params, _ = counted(scale(EFFICIENTNET_B0, found.scaling))
    assert (found.achieved, found.cost.params) == (macs + 1280 * 1000, params + 1281 * 1000)
    assert found.achieved <= (1 + TOLERANCE) * found.budget
    assert found.next_step is None or found.next_step.achieved > found.budget
    assert found.achieved > found.budget or found.next_step is not None


@given(SHARES, st.floats(1.2, 3))
def test_a_larger_budget_gives_a_larger_network(share, factor):
    """Steps of the width are up to 15 % of the budget, so budgets of a ratio of 1.2 differ."""
    assume(share * factor < FORMULA.range[1])
    small, large = (FORMULA.solve(s * BASE_MACS) for s in (share, share * factor))
    assert small.achieved < large.achieved
    assert small.scaling.r <= large.scaling.r + small.r_std and small.scaling.d <= large.scaling.d + small.d_std


@settings(max_examples=8)
@given(st.sampled_from(['params', 'activations']), st.floats(0.08, 0.8))
def test_a_budget_in_another_unit_is_met(quantity, share):
    meter = cost_meter(quantity)
    budget = meter.measure(EFFICIENTNET_B0) * share
    try:
        found = FORMULA.solve(budget, meter=meter)
    except UserError:  # the base has more parameters in its ends
        assume(False)
    assert getattr(cost(scale(EFFICIENTNET_B0, found.scaling)), quantity) == found.achieved <= (1 + TOLERANCE) * budget


@settings(max_examples=100)
@given(st.floats() | st.integers() | st.just(10**400))
def test_a_wrong_budget_is_one_sentence(budget):
    assume(not FORMULA.range[0] * BASE_MACS <= budget <= FORMULA.range[1] * BASE_MACS)
    with pytest.raises(UserError) as caught:
        FORMULA.solve(budget)
    assert len(str(caught.value)) < 400


@settings(max_examples=300)
@given(st.text(max_size=12) | st.from_regex(r'[0-9.]{1,6}(e[0-9]{1,4})? ?[kMGBT]?', fullmatch=True) | st.integers() | st.floats())
def test_any_text_is_a_budget_or_one_sentence(text):
    try:
        budget = parse_budget(text)
    except UserError as error:
        assert len(str(error)) < 200
    else:
        assert isinstance(budget, int) and 1 <= budget < 10**18


@settings(max_examples=200)
@given(st.integers(1, 10**13))
def test_a_printed_budget_is_read_back(value):
    assert abs(parse_budget(readable(value)) - value) <= 0.006 * value


# Augmentation -----------------------------------------------------------------------------------------------------------------


@st.composite
def scenes(draw) -> tuple[np.ndarray, np.ndarray]:
    """An image with one to three rectangles, each bright in one colour channel, and their boxes."""
    width, height = draw(st.integers(1, 160)), draw(st.integers(1, 160))
    image, boxes = np.zeros((height, width, 3), np.uint8), []
    for channel in range(draw(st.integers(0, 3))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
        image[y1:y2, x1:x2, channel] = 255
        boxes.append((x1, y1, x2, y2))
    return image, np.array(boxes, np.float32).reshape(-1, 4)


def warped(image: np.ndarray, boxes: np.ndarray, seed: int, **options) -> dict:
    np.random.seed(seed)
    numbers = np.arange(len(boxes))
    results = dict(img=image, gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes.copy())), gt_bboxes_labels=numbers)
    return SSDWarp(mean=(0, 0, 0), **options)(dict(results, gt_ignore_flags=numbers % 2 == 1))


@settings(max_examples=150)
@given(
    scenes(),
    st.integers(0, 2**31 - 1),
    st.integers(1, 96),
    st.tuples(st.floats(1, 4), st.floats(1, 4)).map(sorted),
    st.booleans(),
)
def test_boxes_stay_with_what_they_show(scene, seed, size, ratios, crop):
    image, boxes = scene
    before = image.copy()
    options = dict(size=size, expand_ratio=tuple(ratios), distort=False) | ({} if crop else dict(min_ious=None))
    results = warped(image, boxes, seed, **options)
    found, labels = results['gt_bboxes'].tensor.numpy(), results['gt_bboxes_labels']
    assert (image == before).all() and results['img'].shape == (size, size, 3) and results['img'].dtype == np.uint8
    assert len(found) == len(labels) == len(results['gt_ignore_flags']) and (results['gt_ignore_flags'] == labels % 2).all()
    assert not len(boxes) or len(found) or not crop  # a crop has the centre of a box inside
    assert (found >= 0).all() and (found <= size).all() and (found[:, 2:] > found[:, :2]).all()
    for label, (x1, y1, x2, y2) in zip(labels, found):
        ys, xs = np.nonzero(results['img'][..., label] > 127)
        if min(x2 - x1, y2 - y1) >= 3:  # smaller ones may have no pixel of more than half of their colour
            np.testing.assert_allclose((x1, y1, x2, y2), (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), atol=1.01)


@given(scenes(), st.integers(0, 2**31 - 1))
def test_one_seed_is_one_result(scene, seed):
    first, second = (warped(*scene, seed, size=48) for _ in range(2))
    assert (first['img'] == second['img']).all() and (first['gt_bboxes'].tensor == second['gt_bboxes'].tensor).all()
    assert first['scale_factor'] == second['scale_factor'] and (first['gt_bboxes_labels'] == second['gt_bboxes_labels']).all()
