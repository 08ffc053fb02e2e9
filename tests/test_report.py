"""The report of a detector: scores against pycocotools and brute force, the page of a short training, and wrong input."""

import base64
import contextlib
import importlib.util
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tinynet_mm import report
from tinynet_mm.data.convert import FOLDER
from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import UserError
from tinynet_mm.plots import Boxes
from tinynet_mm.report import detections, figures, page, scores
from tinynet_mm.report.write import _data_name

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'
NAMES = ('cat', 'dog', 'emu', 'none')
IDS = (7, 2, 30, 5)  # not in label order


# Scores -----------------------------------------------------------------------------------------------------------------------


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.integers(0, 60, (count, 2))
    return np.column_stack([corners, corners + rng.integers(8, 40, (count, 2))]).astype(float)


def random_data(seed: int, images: int = 30) -> tuple[dict, dict[int, Boxes]]:
    """Annotations with a crowd in some images, and detections that are moved boxes and false ones; no box is of class 'none'."""
    rng, annotations, found = np.random.default_rng(seed), [], {}
    for image in range(1, images + 1):
        truth, labels = random_boxes(rng, int(rng.integers(0, 6))), rng.integers(0, 3, 6)
        for k, ((x1, y1, x2, y2), label) in enumerate(zip(truth, labels)):
            box = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=int(k == 4))
            annotations.append(dict(box, id=len(annotations) + 1, image_id=image, category_id=IDS[label]))
        moved = truth + rng.normal(0, 2, truth.shape)
        boxes = np.concatenate([moved, random_boxes(rng, 4)])
        guesses = np.concatenate([labels[: len(truth)], rng.integers(0, 3, 4)])
        guesses = np.where(rng.random(len(guesses)) < 0.2, rng.integers(0, 3, len(guesses)), guesses)
        found[image] = Boxes(boxes, guesses, rng.integers(1, 20, len(boxes)) / 20)  # with equal scores
    content = dict(images=[dict(id=k, file_name=f'{k}.jpg') for k in found], annotations=annotations)
    return dict(content, categories=[dict(id=i, name=n) for i, n in zip(IDS, NAMES)]), found


@pytest.mark.parametrize('seed', range(3))
def test_scores_of_classes_are_those_of_pycocotools(seed):
    content, found = random_data(seed)
    result = scores.evaluate(content, NAMES, found)
    for row, category in zip(result.classes[:3], IDS):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = json.loads(json.dumps(content))
            truth.createIndex()
            rows = [
                dict(image_id=k, category_id=IDS[label], bbox=[*box[:2], *(box[2:] - box[:2])], score=score)
                for k, boxes in found.items()
                for box, label, score in zip(boxes.boxes, boxes.labels, boxes.scores)
            ]
            evaluation = COCOeval(truth, truth.loadRes(rows), 'bbox')
            evaluation.params.catIds = [category]  # one class: its AP is the mAP
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert (row.ap, row.ap50) == pytest.approx(tuple(evaluation.stats[:2]), abs=1e-6)
        boxes = [a for a in content['annotations'] if a['category_id'] == category and not a['iscrowd']]
        assert (row.boxes, row.images) == (len(boxes), len({a['image_id'] for a in boxes}))
    assert np.isnan(result.classes[3].ap) and result.classes[3].boxes == 0 and result.classes[3].f1 == 0
    assert result.map == pytest.approx(np.mean([row.ap for row in result.classes[:3]]), abs=1e-6)


@pytest.mark.parametrize('seed', range(4))
def test_the_best_f1_is_the_highest_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    values, right, boxes = rng.integers(0, 10, 40) / 10, rng.random(40) < 0.4, 30
    found = {}
    for threshold in set(values):
        above = values >= threshold
        precision, recall = right[above].mean(), right[above].sum() / boxes
        found[threshold] = 2 * precision * recall / (precision + recall) if precision else 0
    f1, threshold = scores.best_f1(values, right, boxes)
    assert f1 == pytest.approx(max(found.values())) and found[threshold] == pytest.approx(f1)


def test_no_detections_have_an_f1_of_0():
    assert scores.best_f1(np.empty(0), np.empty(0, dtype=bool), 3) == (0.0, 0.0)
    content, found = random_data(0)
    result = scores.evaluate(content, NAMES, {image: Boxes(np.empty((0, 4)), [], []) for image in found})
    assert (result.map, result.f1) == (0, 0) and result.classes[0].precision.max() == 0


def iou_by_hand(a, b) -> float:
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    inside = max(0, width) * max(0, height)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def confusion_by_hand(truth: Boxes, found: Boxes, threshold: float) -> dict:
    """Counts of (true label, found label); None is background."""
    pairs, taken = [], set()
    for k in sorted(range(len(found.boxes)), key=lambda k: (-found.scores[k], k)):
        if found.scores[k] < threshold:
            continue
        free = [j for j in range(len(truth.boxes)) if j not in taken and iou_by_hand(truth.boxes[j], found.boxes[k]) >= 0.5]
        best = max(free, key=lambda j: (iou_by_hand(truth.boxes[j], found.boxes[k]), -j), default=None)
        taken.add(best)
        pairs.append((None if best is None else truth.labels[best], found.labels[k]))
    pairs += [(truth.labels[j], None) for j in range(len(truth.boxes)) if j not in taken]
    return {pair: pairs.count(pair) for pair in pairs}


@pytest.mark.parametrize('seed, threshold', product(range(3), (0.0, 0.5, 0.96)))
def test_the_confusion_matrix_is_a_count_by_hand(seed, threshold):
    content, found = random_data(seed)
    kept = [a for a in content['annotations'] if not a['iscrowd']]
    truth, expected = {}, np.zeros((4, 4), dtype=int)
    for image in found:
        rows = [a for a in kept if a['image_id'] == image]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in rows)]
        truth[image] = Boxes(np.array(corners), [IDS.index(a['category_id']) for a in rows])
        for (a, b), count in confusion_by_hand(truth[image], found[image], threshold).items():
            expected[3 if a is None else a, 3 if b is None else b] += count
    matrix = scores.confusion(truth, found, 3, threshold)
    assert (matrix == expected).all() and matrix[:3].sum() == len(kept)
    assert threshold or (matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3]))).sum() > 0  # classes are confused


def test_the_boxes_of_each_image_are_those_of_its_annotations():
    content, found = random_data(3)
    for crowd in (False, True):
        boxes = detections.boxes_of(content, NAMES, found, crowd)
        assert list(boxes) == list(found)
        for image, each in boxes.items():
            own = [a for a in content['annotations'] if a['image_id'] == image and bool(a['iscrowd']) == crowd]
            assert each.labels.tolist() == [IDS.index(a['category_id']) for a in own]
            assert each.boxes.tolist() == [[*a['bbox'][:2], *(np.add(a['bbox'][:2], a['bbox'][2:]))] for a in own]


def test_detections_on_a_crowd_do_not_count():
    nothing, crowd = Boxes(np.empty((0, 4)), []), np.array([[0, 0, 50, 50]])
    found = Boxes([[10, 10, 20, 20], [60, 60, 80, 80]], [0, 1], [0.9, 0.8])
    assert scores.confusion({1: nothing}, {1: found}, 2, 0.5).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert scores.confusion({1: nothing}, {1: found}, 2, 0.5, {1: crowd}).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize('count', [1, 3, 7, 8, 80])
def test_the_figures_have_all_classes(count):
    curve = np.linspace(1, 0, 101)
    rows = [scores.ClassScores(f'class {k}', 5, 5, 0.5, 0.6, curve, 0.5, 0.3) for k in range(count)]
    rows.append(scores.ClassScores('without boxes', 0, 0, np.nan, np.nan, -np.ones(101), 0.0, 0.0))
    (axes,) = figures.precision_recall(rows).axes
    assert len(axes.lines) == (count if count <= 7 else count + 1)  # and their mean
    assert all((line.get_ydata() == curve).all() for line in axes.lines[:count])
    matrix = np.arange((count + 1) ** 2).reshape(count + 1, -1)
    (axes,) = figures.confusion_figure(matrix, [f'class {k}' for k in range(count)]).axes
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, matrix / matrix.sum(1, keepdims=True))
    assert [text.get_text() for text in axes.get_xticklabels()][-1] == 'background'
    assert len(axes.texts) == ((count + 1) ** 2 - 1 if count <= 15 else 0)


def test_no_classes_with_boxes_draw_empty_axes():
    row = scores.ClassScores('a', 0, 0, np.nan, np.nan, -np.ones(101), 0.0, 0.0)
    assert not figures.precision_recall([row]).axes[0].lines


# The page ---------------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The texts, pictures and loaded addresses of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.texts, self.sources, self.tags = [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ('src', 'href', 'srcset')]

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    """Drawn shapes with a class and a picture whose names are HTML."""
    root = tmp_path_factory.mktemp('shapes')
    list(make_shapes(root, ShapesSpec(train=8, val=6, test=1, size=64, class_train=1, class_val=1, class_size=32)))
    for file in (root / 'coco' / 'annotations').glob('*.json'):
        content = json.loads(file.read_text())
        content['categories'][0]['name'] = '<b>circle</b>'
        if 'val' in file.name:
            old = next((root / 'coco').rglob(content['images'][0]['file_name']))
            new = old.with_name('<i>x&y.jpg')
            shutil.move(old, new)
            content['images'][0]['file_name'] = content['images'][0]['file_name'].replace(old.name, new.name)
        file.write_text(json.dumps(content))
    return root / 'coco'


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', Path('tools') / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def train(shapes: Path, out: Path) -> int:
    common = [CONFIG, '--data-root', str(shapes), '--input-size', '64', '--schedule', 'short', '--from-scratch', '--epochs', '1']
    return tool('train')([*common, '--work-dir', str(out), '--workers', '0', '--cfg-options', f'visualizer.name={out.name}'])


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('trained')
    assert train(shapes, out) == 0
    return out


def test_a_training_ends_with_a_page_that_loads_nothing(trained):
    found = Page(trained / 'report' / 'report.html')
    assert not {'script', 'link', 'iframe'} & set(found.tags) and '@import' not in (trained / 'report/report.html').read_text()
    assert len(found.sources) >= 8 and all(source.startswith('data:image/') for source in found.sources)
    for source in found.sources:
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition(',')[2])))
        picture.load()
        assert min(picture.size) > 100 and len(set(picture.convert('L').resize((40, 40)).getdata())) > 3
    for title in ('Learning curves', 'Classes', 'Precision and recall', 'Confusion matrix', 'Detections', 'Settings'):
        assert title in found.texts


def test_all_texts_are_escaped(trained):
    found = Page(trained / 'report' / 'report.html')
    assert '<b>circle</b>' in found.texts and any(text.startswith('<i>x&y.jpg: ') for text in found.texts)


def test_the_page_has_the_scores_of_the_log(trained):
    found = Page(trained / 'report' / 'report.html')
    rows = [json.loads(line) for line in next(trained.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    logged = next(row['coco/bbox_mAP'] for row in rows if 'coco/bbox_mAP' in row)
    assert float(found.texts[found.texts.index('mAP') - 1]) == pytest.approx(logged, abs=1e-3)
    settings = dict(zip(found.texts, found.texts[1:]))
    assert settings['optimizer'] == f'AdamW, learning rate up to {max(row["lr"] for row in rows if "lr" in row):.3g}'
    assert settings['input'] == '64 x 64 pixels' and re.match(
        r'1 of 1, highest bbox_mAP 0\.\d+ after epoch 1', settings['epochs']
    )


def test_a_report_of_a_checkpoint_without_a_log(trained, shapes, tmp_path, capsys):
    checkpoint = shutil.copy(trained / 'epoch_1.pth', tmp_path / 'model.pth')
    arguments = [CONFIG, str(checkpoint), '--data-root', str(shapes), '--input-size', '64', '--split', 'test']
    assert tool('report')(arguments) == 0
    written = tmp_path / 'report' / 'report.html'
    assert f'report: {written}' in capsys.readouterr().out
    found = Page(written)
    assert any(text.startswith('No learning curves: ') for text in found.texts)
    assert any('Detections on the test split, 1 image,' in text for text in found.texts)


@pytest.mark.parametrize('file', ['annotations/train.json', f'{FOLDER}/annotations/val.json', 'train/_annotations.coco.json'])
def test_the_page_has_the_name_of_the_data(file):
    assert _data_name(Path('/data/birds') / file) == 'birds'


def test_a_missing_value_of_the_template_is_an_error():
    with pytest.raises(Exception, match='undefined'):
        page.render(dict(title='x'))


# Failures ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('error', [ValueError('a bug\nin two lines'), MemoryError('full')])
def test_a_report_that_fails_does_not_fail_the_training(error, shapes, tmp_path, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr('tinynet_mm.report.training.write', fail)
    assert train(shapes, tmp_path) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f'warning: no report ({type(error).__name__}: ') and 'the training is complete' in last
    assert (tmp_path / 'epoch_1.pth').is_file() and not (tmp_path / 'report').exists()


def test_wrong_input_of_the_tool_is_one_sentence(trained, shapes, tmp_path):
    common = [str(trained / 'epoch_1.pth'), '--input-size', '64', '--out', str(tmp_path / 'out')]
    with pytest.raises(FileNotFoundError, match='no such config'):
        tool('report')(['configs/nothing.py', *common])
    with pytest.raises(UserError, match='takes detectors'):
        tool('report')(['configs/cifar10/tinynet_e_cifar10.py', str(trained / 'epoch_1.pth')])
    with pytest.raises(FileNotFoundError, match='no checkpoint|nothing.pth'):
        tool('report')([CONFIG, 'nothing.pth', '--data-root', str(shapes)])
    file = tmp_path / 'file'
    file.write_text('')
    with pytest.raises(UserError, match='cannot write'):
        tool('report')([CONFIG, *common[:3], '--data-root', str(shapes), '--out', str(file / 'out')])
    assert not (tmp_path / 'out').exists()


def test_data_of_other_classes_is_refused(trained, shapes, tmp_path):
    root = Path(shutil.copytree(shapes, tmp_path / 'other'))
    for file in (root / 'annotations').glob('*.json'):
        file.write_text(file.read_text().replace('"square"', '"cube"'))
    cfg = Config.fromfile(trained / 'ssdlite_tinynet_e_coco.py')
    cfg.val_dataloader.dataset.data_root = f'{root}/'
    cfg.val_dataloader.dataset.ann_file = str(next((root / 'annotations').glob('*val*.json')))
    with pytest.raises(UserError, match='has no category square, a class of the model; give the data set'):
        report.write(cfg, str(trained / 'epoch_1.pth'), tmp_path)
