"""Properties that hold for any input, compared with naive references: networks, costs, the formula, augmentation, data sets."""

import json
import math
import tempfile
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from torch import nn

import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
from tinynet_mm.archs import BASES, EFFICIENTNET_B0, FAMILIES, PLAIN_BLOCKS, Arch, Scaling, divisible, scale
from tinynet_mm.bench.fuzz_readers import READERS
from tinynet_mm.cost import cost, parts
from tinynet_mm.data.augment import SSDWarp
from tinynet_mm.data.check import check_root, check_split
from tinynet_mm.data.coco import find_layout
from tinynet_mm.data.convert import FOLDER, convert
from tinynet_mm.data.holdout import held_out
from tinynet_mm.data.images import check_header, header_size, image_size, read_image, write_image
from tinynet_mm.errors import UserError, one_line
from tinynet_mm.files import read_csv, write_csv
from tinynet_mm.formula.budget import parse_budget, readable
from tinynet_mm.formula.solve import TOLERANCE, cost_meter
from tinynet_mm.formula.tiny import TinyFormula
from tinynet_mm.models import ScaledEfficientNet, ScaledGhostNet, ScaledResNet, efficientnet, ghostnet, resnet

# the same cases in each run; no database, since nothing is drawn at random
settings.register_profile(
    'repeatable', derandomize=True, deadline=None, database=None, max_examples=25, suppress_health_check=list(HealthCheck)
)
settings.load_profile('repeatable')

BACKBONES = {'efficientnet': ScaledEfficientNet, 'resnet': ScaledResNet, 'ghostnet': ScaledGhostNet}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# Networks and costs -----------------------------------------------------------------------------------------------------------

MULTIPLIERS = st.floats(0.1, 1.3)
SCALINGS = st.builds(Scaling, r=MULTIPLIERS, w=MULTIPLIERS, d=MULTIPLIERS, fixed_ends=st.booleans(), ceil_depth=st.booleans())


@pytest.fixture(scope='module', autouse=True)
def only_counted_layers():
    """Norms, activations and initialisation do nothing, since they do not count."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (nn.BatchNorm2d, nn.SiLU, nn.ReLU):
            patch.setattr(kind, 'forward', lambda self, x: x)
        for kind in (nn.BatchNorm2d, nn.Conv2d, nn.Linear):
            patch.setattr(kind, 'reset_parameters', lambda self: None)
        for module in (efficientnet, ghostnet, resnet):
            patch.setattr(module, 'init_convolutions', lambda m: None)
        yield


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


# The data check ---------------------------------------------------------------------------------------------------------------


@st.composite
def contents(draw) -> dict:
    """The content of a file in COCO format, with and without faults."""
    ids, area, coordinate = st.integers(1, 5), st.integers(0, 2), st.integers(-12, 30) | st.floats(-12, 30)
    images = [dict(id=draw(ids), file_name=f'{n}.png', width=20, height=16) for n in range(draw(st.integers(0, 4)))]
    boxes = [
        dict(id=n if draw(st.integers(0, 9)) else 1, image_id=draw(ids), category_id=draw(st.integers(1, 3)), area=draw(area),
             bbox=[draw(coordinate), draw(coordinate), draw(coordinate), draw(coordinate)], iscrowd=draw(st.integers(0, 1)))
        for n in range(draw(st.integers(0, 6)))
    ]  # fmt: skip
    return dict(images=images, annotations=boxes, categories=[dict(id=1, name='a'), dict(id=2, name='b')])


def naive_counts(content: dict, lost: set[str]) -> dict[str, int]:
    """What the check must count, by the definitions in its documentation."""
    images, boxes, found = content['images'], content['annotations'], Counter()
    for key, kind in (('images', 'image'), ('annotations', 'annotation')):
        ids = [entry['id'] for entry in content[key]]
        found[f'duplicate {kind} ids'] = len({number for number in ids if ids.count(number) > 1})
    if any(found.values()):
        return +found
    sizes, usable = {image['id']: (20, 16) for image in images}, []
    for box in boxes:
        x, y, w, h = box['bbox']
        found['annotations with the id 0'] += box['id'] == 0
        if box['image_id'] not in sizes:
            found['annotations of an undefined image'] += 1
            continue
        found['annotations of an undefined category'] += box['category_id'] == 3
        area, inside = w >= 1 and h >= 1 and box['area'] > 0, x < 20 and y < 16 and x + w > 0 and y + h > 0
        found['boxes without area'] += not area
        found['boxes completely outside the image'] += area and not inside
        found['boxes partly outside the image'] += area and inside and (x < -1 or y < -1 or x + w > 21 or y + h > 17)
        if area and inside and box['category_id'] < 3 and not box['iscrowd']:
            usable.append(box)
    found['no images in the file'], found['no usable boxes'] = not images, not usable
    found['categories without boxes'] = 2 - len({box['category_id'] for box in usable})
    for image in images:
        crowds = [box['iscrowd'] for box in boxes if box['image_id'] == image['id']]
        found['images without boxes'] += not crowds
        found['images with only crowd annotations'] += bool(crowds) and all(crowds)
        found['missing images'] += image['file_name'] in lost
    return +found


@settings(max_examples=80)
@given(contents(), st.sets(st.sampled_from([f'{n}.png' for n in range(4)]), max_size=2))
def test_the_check_counts_what_a_naive_count_finds(content, lost):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for image in content['images']:
            if image['file_name'] not in lost:
                cv2.imwrite(str(root / image['file_name']), np.zeros((16, 20, 3), np.uint8))
        (root / 'a.json').write_text(json.dumps(content))
        report = check_split(root / 'a.json', root)
    assert (report.images, report.boxes, report.classes) == (len(content['images']), len(content['annotations']), 2)
    assert {finding.kind: finding.count for finding in report.findings} == naive_counts(content, lost)


@given(st.lists(st.sets(st.sampled_from('abc')), min_size=2, max_size=12), st.floats(0.01, 0.99))
def test_both_parts_of_a_division_have_images(classes, share):
    held = held_out(classes, share)
    assert 0 < len(held) < len(classes) and held == sorted(set(held)) and held == held_out(classes, share)


# Readers of data sets ---------------------------------------------------------------------------------------------------------

NAMES = st.text('abcé中Z019 _-.', min_size=1, max_size=6).map(lambda name: name.strip(' .')).filter(bool)
Truth = dict[str, dict[str, tuple[tuple[int, int], list[tuple]]]]  # split -> name of an image -> (its size, its boxes)


@st.composite
def sets(draw) -> Truth:
    """Images with boxes in pixels, whole or with fractions; each class is in train."""
    whole, classes = draw(st.booleans()), draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))

    def span(side: int) -> tuple[float, float]:
        if whole:
            start = draw(st.integers(0, side - 1))
            return start, draw(st.integers(start + 1, side))
        start = round(draw(st.floats(0, side - 1)), 2)
        return start, round(draw(st.floats(start + 1, side)), 2)

    found: Truth = {'train': {}, 'val': {}, 'test': {}}
    for index, name in enumerate(draw(st.lists(NAMES, min_size=2, max_size=4, unique_by=str.lower))):
        width, height = draw(st.integers(2, 40)), draw(st.integers(2, 40))
        labels = classes if index == 0 else draw(st.lists(st.sampled_from(classes), max_size=3))
        split = 'train' if index == 0 else draw(st.sampled_from(['train', 'train', 'val', 'test']))
        boxes = [(label, *span(width), *span(height)) for label in labels]
        found[split][name] = (width, height), [(label, x1, y1, x2, y2) for label, x1, x2, y1, y2 in boxes]
    return {split: images for split, images in found.items() if images}


def every(truth: Truth):
    """The split, name, size and boxes of each image."""
    return ((split, name, *entry) for split, images in truth.items() for name, entry in images.items())


def classes_of(truth: Truth) -> list[str]:
    return sorted({box[0] for *_, boxes in every(truth) for box in boxes})


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def draw_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', np.zeros((size[1], size[0], 3), np.uint8))[1].tobytes())


def coco(root: Path, truth: Truth) -> None:
    names = classes_of(truth)
    for split, images in truth.items():
        content = dict(images=[], annotations=[], categories=[dict(id=7 + n, name=name) for n, name in enumerate(names)])
        for number, (name, ((width, height), boxes)) in enumerate(images.items()):
            draw_image(root / 'images' / f'{name}.png', (width, height))
            content['images'].append(dict(id=number, file_name=f'{name}.png', width=width, height=height))
            for label, x1, y1, x2, y2 in boxes:
                box = dict(id=len(content['annotations']) + 1, image_id=number, category_id=7 + names.index(label))
                content['annotations'].append(dict(box, bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0))
        write(root / 'annotations' / f'{split}.json', json.dumps(content))


def voc(root: Path, truth: Truth) -> None:
    """Pixels count from 1 if all coordinates are whole, else from 0."""
    first = int(all(float(value).is_integer() for *_, boxes in every(truth) for box in boxes for value in box[1:]))
    for _, name, (width, height), boxes in every(truth):
        draw_image(root / 'JPEGImages' / f'{name}.png', (width, height))
        objects = ''.join(
            f'<object><name>{escape(label)}</name><bndbox><xmin>{x1 + first}</xmin><ymin>{y1 + first}</ymin><xmax>{x2}</xmax>'
            f'<ymax>{y2}</ymax></bndbox></object>'
            for label, x1, y1, x2, y2 in boxes
        )
        size = f'<size><width>{width}</width><height>{height}</height></size>'
        write(root / 'Annotations' / f'{name}.xml', f'<annotation><filename>{name}.png</filename>{size}{objects}</annotation>')
    for split, images in truth.items():
        write(root / 'ImageSets' / 'Main' / f'{split}.txt', ''.join(f'{name}\n' for name in images))


def yolo(root: Path, truth: Truth) -> None:
    names = classes_of(truth)
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / 'images' / split / f'{name}.png', (width, height))
        rows = [
            (names.index(label), (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            for label, x1, y1, x2, y2 in boxes
        ]
        write(root / 'labels' / split / f'{name}.txt', ''.join('{} {:.7f} {:.7f} {:.7f} {:.7f}\n'.format(*row) for row in rows))
    paths = {split: f'images/{split}' for split in truth}
    write(root / 'data.yaml', yaml.safe_dump(dict(paths, names=dict(enumerate(names))), allow_unicode=True))


def labelme(root: Path, truth: Truth) -> None:
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / split / f'{name}.png', (width, height))
        shapes = [dict(label=label, shape_type='rectangle', points=[[x2, y1], [x1, y2]]) for label, x1, y1, x2, y2 in boxes]
        content = dict(shapes=shapes, imagePath=f'{name}.png', imageWidth=width, imageHeight=height)
        write(root / split / f'{name}.json', json.dumps(content))


def cvat(root: Path, truth: Truth) -> None:
    found = ''
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / 'images' / f'{name}.png', (width, height))
        shapes = ''.join(
            f'<box label="{escape(label)}" xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}"/>'
            for label, x1, y1, x2, y2 in boxes
        )
        found += f'<image name="{name}.png" subset="{split}" width="{width}" height="{height}">{shapes}</image>'
    labels = ''.join(f'<label><name>{escape(name)}</name></label>' for name in classes_of(truth))
    write(root / 'annotations.xml', f'<annotations><meta><task><labels>{labels}</labels></task></meta>{found}</annotations>')


FORMATS = {'coco': coco, 'voc': voc, 'yolo': yolo, 'labelme': labelme, 'cvat': cvat}


def state(root: Path) -> dict:
    """The content and the time of each file that is not written by the conversion."""
    files = (path for path in root.rglob('*') if path.is_file() and FOLDER not in path.parts)
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def adopted(root: Path, notes: list[str]) -> tuple[dict, list[str]]:
    """The boxes by image, and the splits of the images, as training reads them."""
    layout, found = find_layout(root, hold_out=False, note=notes.append), {}
    for split in (name for name in ('train', 'val', 'test') if getattr(layout, name)):
        place = getattr(layout, split)
        content = json.loads(place.ann_file.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        for image in content['images']:
            assert (place.images / image['file_name']).is_file()
            boxes = [box for box in content['annotations'] if box['image_id'] == image['id']]
            boxes = [(names[box['category_id']], x, y, x + w, y + h) for box in boxes for x, y, w, h in [box['bbox']]]
            found[Path(image['file_name']).stem] = (split, (image['width'], image['height']), boxes)
    return found, list(layout.classes)


@settings(max_examples=20)
@pytest.mark.parametrize('name', FORMATS)
@given(truth=sets())
@example(truth={'train': {'photo 1': ((20, 10), [('a', 1, 2, 5, 6)]), 'photo': ((8, 8), [('a', 0, 0, 8, 8)])}})
def test_a_set_has_its_boxes_in_each_format(name, truth):
    """The boxes, classes and splits are those that were written; a second call writes nothing; the set is unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        root, notes = Path(folder), []
        FORMATS[name](root, truth)
        before = state(root)
        found, classes = adopted(root, notes)
        written = {path: path.read_bytes() for path in (root / FOLDER).rglob('*.json')}
        assert classes == classes_of(truth) and len(found) == sum(map(len, truth.values()))
        for split, image, size, boxes in every(truth):
            stated, sides, read = found[image]
            assert sides == size and [box[0] for box in read] == [box[0] for box in boxes]
            assert stated == split or len(truth) == 1  # of a set with train only, a part is held out
            if boxes:
                np.testing.assert_allclose([box[1:] for box in read], [box[1:] for box in boxes], atol=0.006)
        assert adopted(root, notes) == (found, classes) and len(notes) == (name != 'coco')
        if name != 'coco':
            assert convert(root).note is None and written == {path: path.read_bytes() for path in (root / FOLDER).rglob('*.json')}
        assert not any(report.fatal for report in check_root(root)) or any(not boxes for *_, boxes in every(truth))
        assert state(root) == before


# Tables -----------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.fixed_dictionaries(dict(name=st.text(), macs=st.integers(), acc=st.floats(allow_nan=False))), min_size=1))
def test_a_table_is_read_as_it_was_written(rows):
    """Texts that look like numbers become numbers; written again, they are the same file."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_csv(Path(folder) / 'a.csv', rows)
        found = read_csv(path, ('macs',))
        assert [row['macs'] for row in found] == [row['macs'] for row in rows]
        assert [row['acc'] for row in found] == [row['acc'] for row in rows]
        assert read_csv(write_csv(Path(folder) / 'b.csv', found)) == found


# What tools/fuzz.py found -----------------------------------------------------------------------------------------------------

DEEP, DIGITS, LONG = b'[' * 100_000, b'9' * 5000, b'x' * 20_000
BOMB = b'a0: &a0 [x, x]\n' + b''.join(b'a%d: &a%d [%s]\n' % (n + 1, n + 1, b', '.join([b'*a%d' % n] * 9)) for n in range(9))
LOG = 'run/20260101_000000/vis_data/scalars.json'
FOUND = {  # name: (reader, file, what is replaced, by what, what the reader says; None if it accepts the file)
    'ids 1 and 1.0': ('coco', 'annotations/val.json', b'"id": 2,\n      "image_id"', b'"id": 1.0, "image_id"', 'fatal'),
    'a category twice': ('coco', 'annotations/val.json', b'"categories": [', b'"categories": [{"id": 3, "name": "nut"},', 'dupl'),
    'a list as supercategory': ('coco', 'annotations/train.json', b'"part"', b'[]', None),
    'a list as category of a box': ('coco', 'annotations/train.json', b'"category_id": 1', b'"category_id": []', 'fatal'),
    'a long category id': ('coco', 'annotations/train.json', b'"id": 1,\n      "name"', b'"id": "%s", "name"' % LONG, 'needs a'),
    'an object as image id': ('single', 'annotations/train.json', b'"id": 1,\n      "file', b'"id": {}, "file', 'fatal'),
    'a list as image of a box': ('single', 'annotations/train.json', b'"image_id": 1', b'"image_id": [1]', 'fatal'),
    'a number as folder': ('marker', 'tinynet_coco/source.json', b'"folders": [', b'"folders": [1.5,', None),
    'a long folder': ('marker', 'tinynet_coco/source.json', b'"folders": [', b'"folders": ["%s",' % LONG, None),
    'a text as share': ('marker', 'tinynet_coco/source.json', b'"val_share": 0.2', b'"val_share": "x"', None),
    'a long name in a list': ('voc', 'ImageSets/Main/train.txt', b'a 1', LONG, 'neither an image'),
    'a long coordinate in XML': ('voc', 'Annotations/a.xml', b'<xmin>1<', b'<xmin>%s<' % LONG, 'not a finite number'),
    'a long label of CVAT': ('cvat', 'annotations.xml', b'<name>bolt<', b'<name>%s<' % LONG, 'not one of the labels'),
    'a coordinate of 400 digits': ('labelme', 'a.json', b'12', b'1' * 400, 'not a finite number'),
    'a deep data.yaml': ('yolo', 'data.yaml', b'nc: 2', b'nc: ' + DEEP[:500], 'is not YAML'),
    'a class ²': ('yolo', 'data.yaml', b'  1: nut', '  ²: nut'.encode(), 'has no class names'),
    'a class of 5000 digits': ('yolo', 'data.yaml', b'  1: nut', b'  ? "%s"\n  : nut' % DIGITS, 'has no class names'),
    'a month 99': ('yolo', 'data.yaml', b'nc: 2', b'nc: 2001-99-99', 'is not YAML'),
    'names of 10^9 letters': ('yolo', 'data.yaml', b'names:\n  0: bolt', BOMB + b'names:\n  0: *a9', 'has no class names'),
    'a path of 10^9 letters': ('yolo', 'data.yaml', b'path: .', BOMB + b'path: *a9', None),
    'a deep line of a log': ('log', LOG, b'{"lr": 0.1', b'{"lr": ' + DEEP, None),
    'a number of 5000 digits in a log': ('log', LOG, b'{"lr": 0.1', b'{"lr": ' + DIGITS, None),
    'a text as iteration': ('log', LOG, b'"iter": 2', b'"iter": "x"', None),
    'a list as epoch': ('log', LOG, b'"epoch": 1', b'"epoch": []', None),
    'NaN as epoch': ('log', LOG, b'"epoch": 1', b'"epoch": NaN', None),
    'a lone surrogate as key': ('log', LOG, b'{"lr"', b'{"\\ud800"', None),
    'a large field': ('table', 'rows.csv', b'net0,', b'x' * 200_000 + b',', 'is not CSV'),
    'no names of networks': ('sweep', 'samples.csv', b'name,', b'nome,', "no column 'name'"),
    'a network named ..': ('sweep', 'samples.csv', b'net0,', b'..,', 'not that of a network'),
    'an unknown method': ('sweep', 'samples.csv', b'random', b'x', "the method 'x'"),
    'a text as target': ('sweep', 'samples.csv', b'tiny,6,0.5', b'tiny,6,x', "the target 'x'"),
    'an underscore in a target': ('sweep', 'samples.csv', b'tiny,6,0.5', b'tiny,6,0_5', 'the target'),
    'an underscore in a number': ('sweep', 'samples.csv', b'random,1', b'random,0_1', 'not a finite number'),
    'an accuracy of 400 digits': ('sweep', 'trials/net0/result.json', b'50.0', b'1' * 400, None),
    'an accuracy as text': ('sweep', 'trials/net0/result.json', b'50.0', b'"50"', None),
    'a lone surrogate as device': ('sweep', 'trials/net0/result.json', b'"cpu"', b'"\\ud800"', None),
    'a list as length scale': ('formula', 'formula.json', b'"length": 1', b'"length": [], "_": 1', 'not a complete formula'),
    'a noise of 1e308': ('formula', 'formula.json', b'"noise": 0.005', b'"noise": 1e308', 'not a complete formula'),
    'a noise of 400 digits': ('formula', 'formula.json', b'"noise": 0.005', b'"noise": ' + b'1' * 400, 'not a complete formula'),
    'a text as multiplier': ('formula', 'formula.json', b'0.86', b'"x"', 'not a complete formula'),
    'a multiplier more': ('formula', 'formula.json', b'0.86', b'0.86, 0.5', '5 values of x and 6 of y'),
    'a list as description': ('spec', 'model.json', b'{', b'[], {', 'has no description'),
    'a deep description': ('spec', 'model.json', b'"batch": 1', b'"batch": ' + DEEP, 'has no description'),
}  # fmt: skip


@pytest.mark.parametrize('name', FOUND)
def test_what_the_fuzzing_found_stays_fixed(name, tmp_path):
    reader, file, old, new, sentence = FOUND[name]
    READERS[reader].make(tmp_path)
    content = (tmp_path / file).read_bytes()
    assert old in content
    (tmp_path / file).write_bytes(content.replace(old, new, 1))
    said = None
    try:
        READERS[reader].read(tmp_path)
    except UserError as error:
        said = str(error)
        assert len(one_line(error)) < 2100
    assert (said is None) == (sentence is None) and (sentence is None or sentence in said), said


@pytest.mark.parametrize('broken_header', [False, True])
def test_a_png_cannot_ask_for_more_memory_than_it_has_bytes(broken_header, tmp_path):
    """OpenCV reads a header that Pillow refuses."""
    path = write_image(tmp_path / 'a.png', np.zeros((2, 2, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') - 4] = 0x20  # the length of this part
    data[data.index(b'IHDR') + 15] ^= broken_header
    path.write_bytes(data)
    for reader in (read_image, image_size, *([check_header, header_size] if broken_header else [])):
        with pytest.raises(UserError, match='a part of the file is missing'):
            reader(path)


@pytest.mark.parametrize('sides', [(1, 1), (2, 2), (7, 7), (1, 30)])
def test_the_check_measures_an_image_of_a_few_pixels(sides, tmp_path):
    for suffix in ('png', 'jpg', 'bmp', 'webp'):
        path = write_image(tmp_path / f'a.{suffix}', np.zeros((*sides, 3), np.uint8))
        assert image_size(path) == sides[::-1]
