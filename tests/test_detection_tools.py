"""The main of train, test and predict on drawn shapes: the written files, resuming, and messages for wrong input."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler

from tinynet_mm.data.images import read_image
from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import checkpoints, weights
from tinynet_mm.mmlab.reading import first_not_finite, read
from tinynet_mm.mmlab.running import check_batches

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'
SIZE = ('--input-size', '64')


def tool(name: str):
    """The main of tools/NAME.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location(f'tools_{name}', Path('tools') / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes')
    list(make_shapes(root, ShapesSpec(train=8, val=4, test=4, size=64, class_train=1, class_val=1, class_size=32)))
    return root / 'coco'


def train(shapes: Path, out: Path, *more: str, config: str = CONFIG) -> int:
    common = ('--data-root', str(shapes), *SIZE, '--schedule', 'short', '--work-dir', str(out))
    settings = ('train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'train_cfg.val_interval=1')
    loaders = [f'{s}_dataloader.{k}' for s in ('val', 'test') for k in ('num_workers=0', 'persistent_workers=False')]
    split = more.index('--cfg-options') if '--cfg-options' in more else len(more)
    more, options = more[:split], more[split + 1 :]
    start = () if '--resume' in more else ('--from-scratch',)
    return tool('train')([config, *common, *start, *more, '--cfg-options', *settings, *loaders, *options])


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('trained')
    assert train(shapes, out, '--epochs', '1') == 0
    return out


def test_training_writes_checkpoint_and_config(trained):
    checkpoint = read(trained / 'epoch_1.pth')
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == ('circle', 'square', 'triangle', 'star', 'ring')
    assert (trained / 'ssdlite_tinynet_e_coco.py').is_file() and 'ema_state_dict' in checkpoint


def test_a_training_resumes_from_its_last_epoch_without_a_download(trained, shapes, tmp_path, monkeypatch):
    out = Path(shutil.copytree(trained, tmp_path / 'resumed'))
    monkeypatch.setattr(checkpoints, 'unreachable', lambda url: pytest.fail(f'asks for {url}'))
    assert train(shapes, out, '--epochs', '2', '--resume') == 0
    before, after = (read(out / f'epoch_{n}.pth')['meta'] for n in (1, 2))
    assert (before['iter'], after['iter']) == (1, 2) and (before['epoch'], after['epoch']) == (1, 2)


def test_testing_writes_metrics_with_their_protocol_and_a_sheet(trained, shapes, tmp_path):
    arguments = [CONFIG, str(trained / 'epoch_1.pth'), '--data-root', str(shapes), *SIZE, '--out', str(tmp_path)]
    assert tool('test')(arguments) == 0
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert 0 <= written['metrics']['coco/bbox_mAP'] <= 1 and written['protocol']['images'] == 4
    assert (tmp_path / 'detections.png').stat().st_size > 10000


def test_predicting_draws_and_writes_json(trained, shapes, tmp_path, capsys):
    config = str(trained / 'ssdlite_tinynet_e_coco.py')
    arguments = [config, str(trained / 'epoch_1.pth'), str(shapes / 'images'), '--out', str(tmp_path), '--score-thr', '0.001']
    assert tool('predict')(arguments) == 0
    rows = json.loads((tmp_path / 'predictions.json').read_text())
    pictures = sorted((shapes / 'images').rglob('*.jpg'))
    assert pictures and len(list(tmp_path.glob('*.jpg'))) == len(pictures)
    assert {row['category'] for row in rows} <= {'circle', 'square', 'triangle', 'star', 'ring'}
    assert all(0 <= row['bbox'][0] <= 64 and row['score'] >= 0.001 for row in rows)


def test_prediction_lists_a_broken_image_and_finishes_the_others(trained, shapes, tmp_path, capsys):
    complete = next((shapes / 'images').rglob('*.jpg')).read_bytes()
    folder = tmp_path / 'in'
    (folder / 'b').mkdir(parents=True)
    (folder / 'half.jpg').write_bytes(complete[: len(complete) // 2])
    (folder / 'x.jpg').write_bytes(complete)
    (folder / 'b' / 'x.jpg').write_bytes(complete)
    config = str(trained / 'ssdlite_tinynet_e_coco.py')
    arguments = [config, str(trained / 'epoch_1.pth'), str(folder), str(folder / 'b'), '--out', str(tmp_path / 'out')]
    assert tool('predict')([*arguments, '--score-thr', '0.001']) == 1
    assert 'half.jpg is not an image that can be read' in capsys.readouterr().err
    rows = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    assert {row['file_name'] for row in rows} == {str(folder / 'x.jpg'), str(folder / 'b' / 'x.jpg')}
    assert sorted(p.name for p in (tmp_path / 'out').glob('*.jpg')) == ['x-2.jpg', 'x.jpg']  # one drawing for each input


def test_an_image_whose_name_is_not_utf8_is_predicted(trained, shapes, tmp_path):
    """In a new process: OpenCV ends a process with a segmentation fault if it gets such a name."""
    name, complete = os.fsdecode(b'caf\xe9'), next((shapes / 'images').rglob('*.jpg')).read_bytes()
    folder, out = tmp_path / 'in', tmp_path / os.fsdecode(b'r\xe9sultats')
    folder.mkdir()
    (folder / f'{name}.jpg').write_bytes(complete)
    (folder / f'{name}-2.jpg').write_bytes(complete[:300])
    command = [sys.executable, 'tools/predict.py', trained / 'ssdlite_tinynet_e_coco.py', trained / 'epoch_1.pth', folder]
    environment = os.environ | {'PYTHONIOENCODING': 'utf-8:strict'}
    done = subprocess.run([*command, '--out', out, '--score-thr', '0.001'], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and 'in 1 images: ' in done.stdout
    assert 'caf?-2.jpg is not an image that can be read' in done.stderr
    assert {row['file_name'] for row in json.loads((out / 'predictions.json').read_text())} == {str(folder / f'{name}.jpg')}
    assert read_image(out / f'{name}.jpg').shape == (64, 64, 3)


@pytest.mark.parametrize('text', ['nan', '7'])
def test_a_score_threshold_outside_0_to_1_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stop:
        tool('predict')(['config.py', 'best.pth', 'photo.jpg', '--score-thr', text])
    assert stop.value.code == 2 and f'{text} is not between 0 and 1' in capsys.readouterr().err


LOG = r'\d\d/\d\d \d\d:\d\d:\d\d - mmengine - INFO - '
OURS = re.compile(LOG + r'|mAP \d\S*, mAP50 |metrics: |ground truth next to|\d+ objects in')


@pytest.mark.parametrize('name', ['test', 'predict'])
def test_a_tool_prints_only_our_lines_and_the_log(name, trained, shapes, tmp_path):
    """Warnings of libraries appear at import, so the tool runs in a new process."""
    images = [str(shapes / 'images')] if name == 'predict' else []
    arguments = [str(trained / 'ssdlite_tinynet_e_coco.py'), str(trained / 'epoch_1.pth'), *images, '--out', str(tmp_path)]
    done = subprocess.run([sys.executable, f'tools/{name}.py', *arguments], capture_output=True, text=True, timeout=300)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 and lines
    assert [line for line in lines if not OURS.match(line)] == []


def test_every_format_of_weights_is_tested_and_predicted(trained, shapes, tmp_path):
    """Plain state dicts, float16 and published .safetensors have no meta information of a training."""
    content = read(trained / 'epoch_1.pth')
    torch.save(content['state_dict'], tmp_path / 'plain.pth')
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in content['state_dict'].items()}, tmp_path / 'half.pth')
    published = weights.publish(trained / 'epoch_1.pth', tmp_path / 'published')
    config = str(trained / 'ssdlite_tinynet_e_coco.py')
    image = str(next((shapes / 'images').rglob('*.jpg')))
    found = []
    for path in (trained / 'epoch_1.pth', tmp_path / 'plain.pth', tmp_path / 'half.pth', *published):
        assert tool('predict')([config, str(path), image, '--out', str(tmp_path / 'out'), '--score-thr', '0.01']) == 0
        found.append([row['category'] for row in json.loads((tmp_path / 'out' / 'predictions.json').read_text())])
    assert found[0] and all(names == found[0] for names in found[1:2] + found[3:])
    assert tool('test')([config, str(published[1]), '--out', str(tmp_path / 'tested')]) == 0


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', 'float16'])
def test_a_training_starts_from_weights_that_it_cannot_resume(trained, shapes, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(checkpoints, 'unreachable', lambda url: pytest.fail(f'asks for {url}'))
    content = read(trained / 'epoch_1.pth')['state_dict']
    if suffix == 'float16':
        source = tmp_path / 'half.pth'
        torch.save({k: v.half() if v.is_floating_point() else v for k, v in content.items()}, source)
    else:
        (source,) = (p for p in weights.publish(trained / 'epoch_1.pth', tmp_path) if p.suffix == suffix)
    out = tmp_path / 'work'
    with pytest.raises(UserError, match=r'has no optimizer, message_hub.*cannot continue from it; .* load_from='):
        train(shapes, out, '--epochs', '1', '--resume', str(source))
    assert not out.exists()
    settings = 'optim_wrapper.optimizer.lr=0'
    assert train(shapes, out, '--epochs', '1', '--cfg-options', settings, f'load_from={source}') == 0
    started = read(out / 'epoch_1.pth')['state_dict']
    learned = [key for key in content if key.endswith('weight')]
    assert all(torch.allclose(started[key], content[key], rtol=2e-3, atol=1e-6) for key in learned)


def test_weights_of_another_head_or_network(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    runner = SimpleNamespace(cfg=Config(dict(load_from='x.pth')), model=net)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    assert checkpoints.start_from(runner, dict(state_dict=state)) is None
    note = checkpoints.start_from(runner, dict(state_dict=state | {'1.weight': torch.zeros(9, 3)}))
    assert 'x.pth has 3 tensors of the model; 1 other' in note and '1.weight' not in runner.start['state_dict']
    with pytest.raises(UserError, match='x.pth has no tensor of the model'):
        checkpoints.start_from(runner, dict(state_dict={'a': torch.zeros(1)}))
    with pytest.raises(FileNotFoundError, match='no checkpoint at nowhere.pth'):
        checkpoints.read_start(Config(dict(load_from='nowhere.pth')))


def test_a_training_with_averaged_weights_is_tested_with_its_own_config(trained, tmp_path):
    assert tool('test')([str(trained / 'ssdlite_tinynet_e_coco.py'), str(trained / 'epoch_1.pth'), '--out', str(tmp_path)]) == 0


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    content = read(trained / 'epoch_1.pth')
    next(v for k, v in content['state_dict'].items() if k.endswith('conv_stem.weight')).fill_(torch.nan)
    torch.save(content, tmp_path / 'nan.pth')
    with pytest.raises(UserError, match='conv_stem.weight has values that are not finite'):
        tool('test')([str(trained / 'ssdlite_tinynet_e_coco.py'), str(tmp_path / 'nan.pth'), '--out', str(tmp_path)])
    with pytest.raises(UserError, match='not finite, so the training failed; use an earlier checkpoint'):
        weights.publish(tmp_path / 'nan.pth', tmp_path / 'out', raw=False)
    torch.save(dict(state_dict={}), tmp_path / 'empty.pth')
    with pytest.raises(UserError, match='contains no weights'):
        weights.publish(tmp_path / 'empty.pth', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_refused_training_leaves_no_work_directory(shapes, tmp_path):
    """MMEngine has written its config and a log when it builds the optimizer. A folder that was there before stays."""
    (tmp_path / 'old').mkdir()
    for name in ('new', 'old'):
        with pytest.raises(UserError, match='AdamW cannot be built'):
            train(shapes, tmp_path / name, '--cfg-options', 'optim_wrapper.optimizer.betas=(5,5)')
    assert not (tmp_path / 'new').exists() and list((tmp_path / 'old').iterdir())


def test_a_learning_rate_that_is_too_high_stops_a_detector(shapes, tmp_path):
    with pytest.raises(UserError, match='is nan at iteration|is inf at iteration|tensors of the model are not finite'):
        train(shapes, tmp_path / 'work', '--epochs', '4', '--cfg-options', 'optim_wrapper.optimizer.lr=1e30')
    assert not list((tmp_path / 'work').glob('*.pth')) or all(
        first_not_finite(read(p)['state_dict']) is None for p in (tmp_path / 'work').glob('*.pth')
    )


@pytest.mark.parametrize('images', range(9, 18))
def test_a_last_batch_of_one_image_is_dropped(images):
    note, loader = batches_of(images, 8)
    assert (note is not None) == (images % 8 == 1)
    assert len(loader) == (images // 8 if note else -(-images // 8))


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(UserError, match='batch norms need two images or more; give --cfg-options train_dataloader.batch_size=2'):
        batches_of(5, 1)


def test_norms_in_evaluation_mode_train_on_any_batch():
    class Norm(torch.nn.BatchNorm2d):
        def train(self, mode: bool = True):
            return super().train(False)  # as norm_eval of a backbone

    for images, batch in ((5, 1), (9, 8)):
        note, loader = batches_of(images, batch, Norm(1))
        assert note is None and len(loader) == -(-images // batch)


@pytest.mark.parametrize('images', [9, 10])
def test_a_batch_sampler_drops_the_last_image(images):
    class Set(list):
        def get_data_info(self, index: int) -> dict:
            return dict(width=2 + index % 2, height=2)

    data = Set(range(images))
    batches = AspectRatioBatchSampler(DefaultSampler(data, shuffle=False), 8)
    note, loader = batches_of(images, 8, loader=torch.utils.data.DataLoader(data, batch_sampler=batches))
    assert (note is not None) == (images == 9) and [len(batch) for batch in loader] == ([8] if images == 9 else [8, 2])


def test_batches_that_never_end_drop_nothing():
    sampler = InfiniteSampler(range(9), shuffle=False)
    note, loader = batches_of(9, 8, loader=torch.utils.data.DataLoader(range(9), 8, sampler=sampler))
    assert note is None and not loader.batch_sampler.drop_last


def batches_of(images: int, batch: int, model: torch.nn.Module | None = None, loader: torch.utils.data.DataLoader | None = None):
    """The note of check_batches and the loader of a Runner with this number of images; its loop has the right length."""
    loader = loader or torch.utils.data.DataLoader(range(images), batch)
    loop = SimpleNamespace(_max_epochs=3, _max_iters=3 * len(loader))
    cfg = Config(dict(train_dataloader=dict(batch_size=batch)))
    model = model or torch.nn.BatchNorm2d(1)
    note = check_batches(SimpleNamespace(world_size=1, train_dataloader=loader, train_loop=loop, cfg=cfg, model=model))
    assert loop._max_iters == 3 * len(loader)
    return note, loader


def broken(shapes: Path, tmp_path: Path, change) -> Path:
    """A copy of the set with its training annotations changed by ``change(content, root)``."""
    root = Path(shutil.copytree(shapes, tmp_path / 'broken'))
    file = next((root / 'annotations').glob('*train*.json'))
    content = json.loads(file.read_text())
    change(content, root)
    file.write_text(json.dumps(content))
    return root


def truncate(content: dict, root: Path) -> None:
    image = next(p for p in root.rglob(content['images'][0]['file_name']))
    image.write_bytes(image.read_bytes()[:600])


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda c, r: c.update(images=[], annotations=[]), 'no images in the file'),
        (lambda c, r: c['annotations'].clear(), 'no usable boxes'),
        (lambda c, r: c['categories'].pop(), 'differ in ring'),
        (truncate, 'unreadable images'),
    ],
    ids=['empty file', 'no boxes', 'wrong classes', 'truncated JPEG'],
)
def test_bad_data_stops_before_training(shapes, tmp_path, change, words):
    root = broken(shapes, tmp_path, change)
    with pytest.raises(ValueError, match=words):
        train(root, tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_too_few_images_for_a_batch(shapes, tmp_path):
    config = tmp_path / 'complete_batches.py'
    config.write_text(f'_base_ = {str(Path(CONFIG).resolve())!r}\ntrain_dataloader = dict(batch_size=64, drop_last=True)\n')
    with pytest.raises(ValueError, match='images do not fill one batch of 64 .*train_dataloader.batch_size='):
        tool('train')([str(config), '--data-root', str(shapes), *SIZE, '--work-dir', str(tmp_path / 'work')])


def test_no_data_and_unknown_settings_stop_before_training(shapes, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        train(tmp_path / 'nowhere', tmp_path / 'work')
    with pytest.raises(FileNotFoundError, match='link COCO to data/coco'):
        tool('train')([CONFIG, '--work-dir', str(tmp_path / 'work')])
    with pytest.raises(ValueError, match="has no 'optimzer'"):
        tool('train')([CONFIG, '--data-root', str(shapes), '--cfg-options', 'optim_wrapper.optimzer.lr=1'])
    with pytest.raises(ValueError, match='unknown architecture'):
        common = ['--data-root', str(shapes), *SIZE, '--work-dir', str(tmp_path / 'work')]
        tool('train')([CONFIG, *common, '--cfg-options', 'model.backbone.arch=z'])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='--amp needs a CUDA GPU'):
            tool('train')([CONFIG, '--amp', '--data-root', str(shapes)])
    assert not list(tmp_path.glob('work/**/*.pth'))
