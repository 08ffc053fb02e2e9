"""tools/cam.py from files to files: maps, comparisons of models, faithfulness; errors in one sentence."""

import csv
import importlib.util
import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tinynet_mm import cli
from tinynet_mm.cam import Evaluator, Explainer, Protocol, Seen, Truth, Wanted, choose, explain_images, read_truth
from tinynet_mm.cam.images import Pipeline, to_batch
from tinynet_mm.cam.tasks import split_paths
from tinynet_mm.data.coco import Split
from tinynet_mm.mmlab import configs, editing
from tinynet_mm.mmlab.checkpoints import build_model, load_model

ROOT = Path(__file__).parent.parent
SSDLITE, LIGHT = (str(ROOT / 'configs' / f'{kind}_tinynet_e_coco.py') for kind in ('ssdlite', 'rtmdet'))
CIFAR = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
NAMES = ('circle', 'square', 'star')


def load_tool(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool('cam')


@pytest.fixture(scope='module')
def coco(tmp_path_factory) -> Path:
    """Six pictures of two sizes with three boxes each, in COCO's format."""
    root, rng = tmp_path_factory.mktemp('coco'), np.random.default_rng(0)
    content = dict(images=[], annotations=[], categories=[dict(id=i + 1, name=name) for i, name in enumerate(NAMES)])
    (root / 'images').mkdir()
    for i in range(6):
        height, width = (96, 128) if i % 2 else (120, 90)
        picture = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        content['images'].append(dict(id=i, file_name=f'{i}.png', height=height, width=width))
        for k, cell in enumerate(rng.choice(16, 3, replace=False)):  # places of anchors of the second level, for a 128 px input
            x, y = (int((cell % 4 * 32 + 2) * width / 128), int((cell // 4 * 32 + 2) * height / 128))
            w, h = width * 28 // 128, height * 28 // 128
            cv2.ellipse(picture, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, rng.integers(100, 255, 3).tolist(), -1)
            box = dict(id=3 * i + k, image_id=i, category_id=k + 1, bbox=[x, y, w, h], area=w * h, iscrowd=0)
            content['annotations'].append(box)
        cv2.imwrite(str(root / 'images' / f'{i}.png'), picture)
    (root / 'annotations').mkdir()
    for split in ('train', 'val'):
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    return root


@pytest.fixture(scope='module')
def weights(coco, tmp_path_factory) -> Path:
    """A checkpoint of a detector whose scores differ from box to box, as after training."""
    _, model = random_detector(coco)
    torch.manual_seed(1)
    set_statistics(model)
    for level, (scores, boxes) in enumerate(zip(model.bbox_head.cls_convs, model.bbox_head.reg_convs)):
        last = [[m for m in convs.modules() if isinstance(m, torch.nn.Conv2d)][-1] for convs in (scores, boxes)]
        torch.nn.init.normal_(last[0].weight, std=0.3 if level == 1 else 0.02)  # most boxes come from the second level
        torch.nn.init.normal_(last[1].weight, std=1e-3)  # and are nearly its anchors
        torch.nn.init.zeros_(last[1].bias)
        torch.nn.init.normal_(last[0].bias, std=1.0 if level == 1 else 0.01)
    path = tmp_path_factory.mktemp('weights') / 'a.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=NAMES))), path)
    return path


@pytest.fixture
def detector(coco, weights):
    cfg = editing.prepare(configs.load_config(SSDLITE), coco, 128)
    return cfg, load_model(cfg, str(weights))


@pytest.fixture
def call(coco, weights, tmp_path):
    """The tool with a config, a checkpoint and further arguments; results are in tmp_path / 'out'."""
    common = [SSDLITE, str(weights), '--input-size', '128', '--data-root', str(coco), '--out', str(tmp_path / 'out')]
    return lambda *more: tool.main([*common, *map(str, more)])


def rows_of(path: Path) -> list[dict]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def random_detector(coco: Path, config: str = SSDLITE):
    cfg = editing.prepare(configs.load_config(config), coco, 128)
    return cfg, build_model(cfg, seed=0)


def set_statistics(model: torch.nn.Module) -> None:
    """Norms get the statistics of a random batch: without them activations nearly vanish before the head."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.randn(8, 3, 128, 128), mode='tensor')
    model.eval()


@pytest.fixture
def light(coco):
    """The light detector with scores that differ from box to box."""
    cfg, model = random_detector(coco, LIGHT)
    torch.manual_seed(1)
    set_statistics(model)
    for layer in model.bbox_head.rtm_cls:
        torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.zeros_(layer.bias)
    return cfg, model


# The tool ---------------------------------------------------------------------------------------------------------------------


def test_maps_of_a_folder(coco, detector, call, tmp_path, capsys):
    out = tmp_path / 'out'
    assert call(coco / 'images', '--target', 'all', '--per-box', '--topk', 2, '--score-thr', 0) == 0
    rows = rows_of(out / 'maps.csv')
    assert len(rows) == 12 and {Path(row['image']).name for row in rows} == {f'{i}.png' for i in range(6)}
    written = [row for row in rows if row['file']]
    assert written and f'{len(written)} maps of 6 images in {out}' in capsys.readouterr().out
    for row in written:
        height, width = cv2.imread(row['image']).shape[:2]
        values = np.load(out / row['file'].replace('.jpg', '.npy'))
        assert values.shape == (height, width) and 0 <= values.min() <= values.max() <= 1.001
        assert cv2.imread(str(out / row['file'])) is not None
        assert row['classes'] in NAMES and float(row['highest']) > 0
        x1, y1, x2, y2 = map(float, row['boxes'].split())
        assert -1 <= x1 < x2 <= width + 1 and -1 <= y1 < y2 <= height + 1
    assert all(row['note'] for row in rows if not row['file'])
    assert not list(out.glob('.*'))

    cfg, model = detector  # the same again, one image and no files
    sample = Pipeline(cfg, model)(coco / 'images' / '3.png')
    answers = Explainer(model)(*to_batch([sample]), partial(choose, wanted=Wanted('all', threshold=0, topk=2, per_box=True)))[0]
    own = [row for row in written if row['image'] == str(sample.path)]
    expected = [sample.put_back(answer.map) for answer in answers if answer.map is not None]
    for row, values in zip(own, expected, strict=True):
        np.testing.assert_allclose(np.load(out / row['file'].replace('.jpg', '.npy')), values, atol=2e-3)


def test_boxes_are_those_of_mmdets_own_inference(coco, detector, call, tmp_path):
    from mmdet.apis import inference_detector

    image = str(coco / 'images' / '1.png')
    call(image, '--target', 'all', '--score-thr', 0, '--topk', 3)
    row = rows_of(tmp_path / 'out' / 'maps.csv')[0]
    found = inference_detector(detector[1], image).pred_instances
    boxes = np.array([box.split() for box in row['boxes'].split(';')], dtype=float)
    np.testing.assert_allclose(boxes, found.bboxes[:3].numpy(), atol=0.6)
    assert [float(s) for s in row['scores'].split(';')] == pytest.approx(found.scores[:3].tolist(), abs=1e-4)
    assert row['classes'].split(';') == [NAMES[i] for i in found.labels[:3]]


def test_classifier_from_its_own_config(coco, tmp_path):
    args = [CIFAR, '--random-weights', str(coco / 'images'), '--out', str(tmp_path), '--target', 'all', '--topk', '3']
    assert tool.main(args) == 0
    rows = rows_of(tmp_path / 'maps.csv')
    assert len(rows) == 18 and {row['layers'] for row in rows} == {'level0'} and {row['boxes'] for row in rows} == {''}
    first = [row for row in rows if row['image'].endswith('/0.png')]
    assert [float(row['scores']) for row in first] == sorted((float(row['scores']) for row in first), reverse=True)
    assert all(row['file'].startswith(f'0_{place + 1}_') for place, row in enumerate(first) if row['file'])
    with pytest.raises(ValueError, match="none of the 10 classes of this model is 'aeroplane'. Did you mean airplane"):
        tool.main([*args[:5], '--target', 'class=aeroplane'])


def test_comparison_is_a_figure_in_png_and_pdf(coco, weights, call, tmp_path, capsys):
    out, images = tmp_path / 'figure5', [str(coco / 'images' / f'{i}.png') for i in range(2)]
    more = ['--input-size', '128', '--data-root', str(coco), '--score-thr', '0', '--out', str(out)]
    assert tool.main([images[0], '--compare', f'{SSDLITE}={weights}', f'{SSDLITE}={weights}', images[1], *more]) == 0
    assert f'{out}.png and {out}.pdf' in capsys.readouterr().out
    picture = cv2.imread(f'{out}.png')
    assert picture.shape[1] > 600 and Path(f'{out}.pdf').read_bytes().startswith(b'%PDF')
    with pytest.raises(ValueError, match='give CONFIG=CHECKPOINT for each model'):
        tool.main([*images, '--compare', SSDLITE, *more])


def test_benchmark_writes_its_row(coco, weights, tmp_path):
    common = [SSDLITE, str(weights), str(coco / 'images'), '--input-size', '128', '--data-root', str(coco)]
    assert load_tool('benchmark_cam').main([*common, '--images', '2', '--rounds', '2', '--out', str(tmp_path / 'a.csv')]) == 0
    row = rows_of(tmp_path / 'a.csv')[0]
    assert float(row['folder_ratio_least']) <= float(row['folder_ratio']) <= float(row['folder_ratio_most'])
    assert row['input'] == '128x128' and row['images'] == '2' and float(row['passes_ms']) > 0 and row['method'] == 'hirescam'
    with pytest.raises(SystemExit):
        load_tool('benchmark_cam').main([*common, '--images', '0'])


def sentence(capsys, argv: list[str]) -> str:
    """The message that a user sees: one line on stderr, exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.run(partial(tool.main, argv))
    error = capsys.readouterr().err.strip().split('\n')[-1]
    assert stopped.value.code == 2 and error.startswith('error: ')
    return error.removeprefix('error: ')


def test_bad_input_is_one_sentence(coco, weights, tmp_path, capsys):
    image, note = str(coco / 'images' / '0.png'), tmp_path / 'note.jpg'
    note.write_text('no image')
    (tmp_path / 'empty').mkdir()
    say = partial(sentence, capsys)
    assert say([SSDLITE, image]) == f'no checkpoint: give the .pth file of {SSDLITE} after it, or --random-weights to go without.'
    assert 'give a config, its checkpoint and images' in say([])
    assert 'no images: name files or folders' in say([SSDLITE, '--random-weights'])
    assert f'{note} is not an image that can be read' in say([SSDLITE, str(weights), str(note)])
    assert 'folder without images' in say([SSDLITE, str(weights), str(tmp_path / 'empty')])
    assert 'no checkpoint at' in say([SSDLITE, str(tmp_path / 'x.pth'), image])
    common = [SSDLITE, str(weights), '--input-size', '128', '--out', str(tmp_path / 'out'), image]
    assert "SingleStageDetector has no layer 'backbone.blok'" in say([*common, '--layer', 'backbone.blok'])
    assert "none of the 3 classes of this model is 'circel'. Did you mean circle?" in say([*common, '--target', 'class=circel'])
    text = say([*common, '--layer', 'bbox_head.reg_convs.0', '--score-thr', '0'])
    assert text.startswith('no map can be drawn') and 'bbox_head.reg_convs.0 has no gradient' in text
    assert 'layers with a map: level' in text and 'reg_convs' not in text.split('with a map:')[1]
    assert say([*common, '--topk', '0']) == '--topk 0: at least one box or class must be explained.'
    assert '--batch 0: at least one image' in say([*common, '--batch', '0'])
    assert '--method gradcam,layercam: one method draws maps' in say([*common, '--method', 'gradcam,layercam'])
    assert '--limit -1: give the number of images' in say([*common, '--data-root', str(coco), '--evaluate', '--limit', '-1'])
    assert '--topk 0: at least one' in say([*common, '--data-root', str(coco), '--evaluate', '--topk', '0'])
    assert say([*common, '--device', 'gpu']).startswith('--device gpu is not available')
    assert 'box 3 was asked for, but no box reaches' in say([*common, '--target', 'box=3', '--score-thr', '1'])


def test_a_truncated_image_is_one_sentence(coco, call, tmp_path, capsys):
    whole = (coco / 'images' / '0.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(whole[: len(whole) // 8])
    with pytest.raises(ValueError, match=r'cut.png is not an image that can be read'):
        call(tmp_path / 'cut.png')


def test_images_before_an_error_are_listed(coco, call, tmp_path):
    whole = (coco / 'images' / '0.png').read_bytes()
    images = [tmp_path / f'{name}.png' for name in 'abc']
    for image in images:
        image.write_bytes(whole)
    images[2].write_bytes(whole[: len(whole) // 8])
    with pytest.raises(ValueError, match=r'c.png is not an image that can be read'):
        call(*images, '--score-thr', 0, '--batch', 1)
    assert [Path(row['image']).name for row in rows_of(tmp_path / 'out' / 'maps.csv')] == ['a.png', 'b.png']


def test_paths_are_separated():
    assert split_paths(['c.py', 'w.pth', 'a.jpg', 'b']) == ('c.py', 'w.pth', [Path('a.jpg'), Path('b')])
    assert split_paths(['c.py', 'a.jpg']) == ('c.py', None, [Path('a.jpg')])
    assert split_paths(['c.py', 'https://x/y']) == ('c.py', 'https://x/y', [])


# Faithfulness -----------------------------------------------------------------------------------------------------------------


def test_faithfulness_of_a_set_and_its_continuation(coco, call, tmp_path, capsys):
    evaluate = partial(call, '--evaluate', '--limit', 2, '--score-thr', 0, '--topk', 1, '--method', 'auto,gradcam')
    assert evaluate() == 0
    out = tmp_path / 'out'
    rows = rows_of(out / 'faithfulness.csv')
    assert [row['source'] for row in rows] == ['hirescam', 'gradcam', 'centre blob', 'random']
    assert all(row['steps'] == '10' and row['iou'] == '0.5' and row['device'] == 'cpu' for row in rows)
    assert 'pointing' in capsys.readouterr().out
    journal = (out / 'faithfulness.jsonl').read_text().split('\n')
    assert len(journal) == 4  # protocol, two images, and the end of the last line
    (out / 'faithfulness.jsonl').write_text('\n'.join(journal[:2]) + '\n{"image": "cut sh')
    before = (out / 'faithfulness.csv').read_text()
    assert evaluate() == 0
    assert (out / 'faithfulness.csv').read_text() == before
    with pytest.raises(ValueError, match='run with other settings or an older version: delete it'):
        evaluate('--method', 'layercam')


def test_the_same_command_gives_the_same_maps_and_scores(coco, call, tmp_path):
    """Also the random maps of the evaluation: every picture and table is the same."""
    found, method = [], ('--method', 'gradcam', '--score-thr', 0)
    for _ in range(2):
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        assert call(*sorted((coco / 'images').glob('*'))[:2], '--topk', 2, *method) == 0
        assert call('--evaluate', '--limit', 2, '--topk', 1, *method) == 0
        found.append({path.name: path.read_bytes() for path in (tmp_path / 'out').rglob('*') if path.suffix in ('.jpg', '.csv')})
    assert found[0] == found[1] and len(found[0]) > 2


@pytest.mark.parametrize('name, scores', [('detector', lambda rows: rows.softmax(1)), ('light', lambda rows: rows.sigmoid())])
def test_measures_of_one_box_by_hand(coco, request, name, scores):
    cfg, model = request.getfixturevalue(name)
    explainer = Explainer(model, 'eigencam', ['level0'])
    protocol = Protocol('eigencam', 'level0', 'val', 0, score_threshold=0.0, iou=1e-6, boxes_per_image=1, steps=4)
    evaluator = Evaluator({'eigencam': explainer}, cfg, protocol)
    truth = Truth(coco / 'images' / '1.png', np.array([[5.0, 5, 120, 90]]), np.array([0]))
    row = next(r for r in evaluator(truth) if r['source'] == 'eigencam')

    sample = Pipeline(cfg, model)(truth.path)
    inputs, metas = to_batch([sample])
    answer = explainer(inputs, metas, partial(choose, wanted=Wanted('class', 0, threshold=0)))[0][0]
    candidate = answer.question.candidates[0]
    back = sample.put_back(answer.map)
    y, x = np.unravel_index(back.argmax(), back.shape)
    assert row['pointing'] == float(5 <= x + 0.5 <= 120 and 5 <= y + 0.5 <= 90)
    assert row['energy'] == pytest.approx(back[5:90, 5:120].sum() / back.sum(), rel=1e-4)

    order = np.argsort(-answer.map.ravel(), kind='stable')  # no two values of this map are equal where it is not zero
    curve = []
    for k in range(5):
        image = inputs.clone().reshape(3, -1)
        image[:, order[: k * len(order) // 4]] = 0
        with torch.no_grad():
            maps = model.bbox_head(model.extract_feat(image.reshape(inputs.shape)))[0]
        logits = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, model.bbox_head.cls_out_channels) for m in maps])
        curve.append(float(scores(logits)[candidate.row, candidate.label]))
    assert row['deletion'] == pytest.approx(sum((a + b) / 8 for a, b in zip(curve, curve[1:])), abs=2e-3)


def test_truth_is_read_with_the_models_labels(coco):
    split = Split(coco / 'annotations' / 'val.json', coco / 'images')
    truths = read_truth(split, ['star', 'moon', 'circle'], limit=3)
    assert [t.path.name for t in truths] == ['0.png', '2.png', '5.png']
    content = json.loads(split.ann_file.read_text())
    star = next(a['bbox'] for a in content['annotations'] if a['category_id'] == 3)
    assert truths[0].labels.tolist() == [2, 0]
    assert truths[0].boxes[1].tolist() == [star[0], star[1], star[0] + star[2], star[1] + star[3]]
    with pytest.raises(ValueError, match='has the categories circle, square, star, the model the classes cat: none is in both'):
        read_truth(split, ['cat'])


def test_parallel_batches_give_the_same_maps(detector, coco):
    cfg, model = detector
    files = sorted((coco / 'images').iterdir())

    def maps(threads: int) -> list[Seen]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found = explain_images(Explainer(model), cfg, files, Wanted('top1', threshold=0.0), batch_size=2)
            return [one for several in found for one in several]
        finally:
            assert torch.get_num_threads() == threads
            torch.set_num_threads(before)

    alone, beside = maps(1), maps(3)
    assert [one.sample.path for one in alone] == [one.sample.path for one in beside] and len(alone) == 6
    assert [one.has_map for one in alone] == [one.has_map for one in beside] and any(one.has_map for one in alone)
    for one, other in zip(alone, beside):
        assert one.labels == other.labels
        if one.has_map:
            np.testing.assert_allclose(one.values, other.values, atol=1e-4)
