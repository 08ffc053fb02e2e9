"""Broken configs, numbers, output paths and images of a training: one sentence, status 2, nothing written, bounded memory."""

import errno
import io
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hostile import CONFIG, DEEP, commands
from hostile import made as made
from hostile import say as say
from mmengine.config import Config
from PIL import Image
from test_detection_tools import shapes as shapes
from test_detection_tools import tool
from test_detection_tools import trained as trained  # fixtures

from tinynet_mm import errors, files
from tinynet_mm.data.images import read_image, write_image
from tinynet_mm.mmlab.configs import check_text
from tinynet_mm.training import ClassFolders
from tinynet_mm.training.datasets import BrokenImage

# Configs ----------------------------------------------------------------------------------------------------------------------

READS = 'is not a config that MMEngine reads'
CONFIGS = {  # name of the file: (content, or what is appended to a good one, what predict says)
    'syntax.py': ('model = dict(', READS),
    'empty.py': ('', 'has no model'),
    'no_model.py': ('x = 1', 'has no model .*; give the config of a training'),
    'model_of_a_list.py': ('model = [1]', 'has no model'),
    'no_type.py': ('model = dict()', 'has a part without type'),
    'missing_base.py': ("_base_ = 'nowhere.py'", 'a base of this config is missing'),
    'number_as_base.py': ('_base_ = 5', READS),
    'package_as_base.py': ("_base_ = 'nowhere::x.py'", READS),
    'own_base.py': ("_base_ = 'own_base.py'", 'is a base of itself, through .*; correct _base_'),
    'circle.py': ("_base_ = 'circle_2.py'", 'circle.py is a base of itself, through .*circle_2.py'),
    'raises.py': ('x = 1 / 0', f'{READS} .*ZeroDivisionError'),
    'undefined.py': ('x = y', f'{READS} .*NameError'),
    'nested.py': (f'x = {DEEP}', READS),
    'zero_byte.py': ('x = 1\0', READS),
    'bad.yaml': ('model: [1', READS),
    'list.yaml': ('[1, 2]', READS),
    'bad.json': ('{', READS),
    'deep.json': (DEEP, READS),
    'name.txt': ('model = dict()', READS),
    '+unknown_type': ("\nmodel['neck']['type'] = 'Nowhere'\n", 'names an unknown type: Nowhere'),
    '+unknown_key': ("\nmodel['neck']['x'] = 1\n", "argument that does not exist: .* 'x'; correct it"),
    '+null_backbone': ("\nmodel['backbone'] = None\n", 'has a part without type'),
    '+wrong_channels': ("\nmodel['neck']['in_channels'] = (5, 5)\n", 'values with which SSDNeck cannot be built'),
    '+text_as_size': ("\nmodel['bbox_head']['input_size'] = 'x'\n", 'values with which SSDLiteHead cannot be built'),
    '+size_of_100000': ("\nmodel['bbox_head']['input_size'] = 100000\n", 'anchors for input_size=100000'),
    '+unknown_arch': ("\nmodel['backbone']['arch'] = 'z'\n", "unknown architecture 'tinynet_z'. Did you mean"),
    '+no_pipeline': ('\ntest_dataloader = None\n', 'has no test_dataloader with a pipeline: give a config with one'),
    '+missing_module': ("\ncustom_imports = dict(imports=['nowhere.module'], allow_failed_imports=False)\n", 'nowhere.module'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_configs(name, made, tmp_path, say):
    content, sentence = CONFIGS[name]
    good = made['config'].read_text() if name[0] == '+' else ''
    path = tmp_path / (f'{name[1:]}.py' if good else name)
    path.write_text(good + content)
    (tmp_path / 'circle_2.py').write_text("_base_ = 'circle.py'")
    say.refuse(sentence, 'predict', path, made['checkpoint'], made['image'], '--out', tmp_path / 'out')


@pytest.mark.parametrize('command', ['test', 'report', 'export', 'cam', 'int8', 'latency'])
def test_every_tool_refuses_a_config(command, made, tmp_path, say):
    (tmp_path / 'broken.py').write_text('model = dict(')
    broken = made | dict(config=tmp_path / 'broken.py')
    say.refuse(f'broken.py {READS}', *commands(broken, made['checkpoint'], tmp_path / 'out')[command])


@pytest.mark.parametrize(
    'option, sentence',
    [
        ('foo', 'is not KEY=VALUE, for instance'),
        ('=1', 'is not KEY=VALUE, for instance'),
        ('foo=1', "the config has no 'foo'"),
        ('train_cfg.val_interval=0', 'val_interval=0 is no interval; give a whole number above 0'),
        ('train_cfg.val_interval=nan', 'val_interval=nan is no interval'),
        ('train_cfg.max_epochs=-1', 'max_epochs=-1 trains nothing; give a whole number above 0'),
        ('log_level=LOUD', 'log_level=LOUD is no level; give DEBUG, INFO'),
        ('optim_wrapper.optimizer.lr=nan', 'lr=nan is no learning rate'),
        ('optim_wrapper.optimizer.lr=x', 'lr=x is no learning rate'),
        ('train_dataloader.batch_size=0', 'batch_size=0 is no batch'),
        ('train_dataloader.num_workers=-1', 'num_workers=-1 is no number of processes'),
        ('randomness.seed=99999999999', 'seed=99999999999 is no seed; give 0 to 4294967295'),
        ('load_from=5', 'load_from=5 is no checkpoint'),
        ('custom_hooks=5', 'custom_hooks=5'),
        ('auto_scale_lr.base_batch_size=0', 'base_batch_size=0 is no batch'),
    ],
)
def test_settings_of_a_training(option, sentence, made, tmp_path, say):
    data = ('--data-root', made['data'], '--schedule', 'short', '--work-dir', tmp_path / 'work')
    say.refuse(sentence, 'train', CONFIG, *data, '--cfg-options', option)


@pytest.mark.parametrize(
    'option, sentence',
    [
        ('model.bbox_head.num_classes=3', 'the data do not fit: .*`num_classes` .3. .* give --data-root'),
        ('optim_wrapper.optimizer.type=Nowhere', 'names an unknown type: Nowhere'),
        ('default_hooks.logger.interval=0', 'values with which LoggerHook cannot be built .*greater than 0'),
    ],
)
def test_settings_that_a_started_training_finds(option, sentence, made, tmp_path_factory, say):
    work = tmp_path_factory.mktemp('work')
    options = ('--input-size', '64', '--schedule', 'short', '--workers', '0', '--from-scratch', '--work-dir', work)
    settings = ('--cfg-options', f'visualizer.name={work.name}', option)
    say.refuse(sentence, 'train', CONFIG, '--data-root', made['data'], *options, *settings)


CODE = '{{$A:\\\'+str(__import__("os").mkdir("RAN")),#|}}'


def test_a_path_is_not_code_in_the_written_config(made, shapes, tmp_path, say):
    """MMEngine evaluates such a path when it reads the config of the work directory."""
    data = Path(shutil.copytree(made['data'], tmp_path / CODE))
    common = ('--schedule', 'short', '--from-scratch', '--work-dir')
    sentence = r'contains "\{\{", which MMEngine evaluates in a config; rename it'
    say.refuse(f'--data-root: .*{sentence}', 'train', CONFIG, '--data-root', data, *common, tmp_path / 'work')
    say.refuse(f'config.work_dir: .*{sentence}', 'train', CONFIG, '--data-root', made['data'], *common, tmp_path / CODE)
    option = 'val_evaluator.outfile_prefix=a{{x}}'
    command = ('train', CONFIG, '--data-root', made['data'], *common, tmp_path / 'work', '--cfg-options', option)
    say.refuse(f'config.val_evaluator.outfile_prefix: .*{sentence}', *command)
    say.refuse(f'config.work_dir: .*{sentence}', 'test', made['config'], made['checkpoint'], '--out', tmp_path / CODE)
    classifier = ('train', 'configs/cifar10/tinynet_e_cifar10.py', '--from-scratch', '--work-dir', tmp_path / 'work')
    say.refuse(f'--data-root: .*{sentence}', *classifier, '--data-root', shutil.copytree(shapes.parent / 'imagenet', data / 'x'))
    with pytest.raises(errors.UserError, match=r"config.a\[1\]: 'x\{\{' contains"):
        check_text(Config(dict(a=[1, 'x{{'])), 'config')


# Numbers ----------------------------------------------------------------------------------------------------------------------

BIG = '1' + '0' * 30
LINE_OF = dict(  # a command without its number
    cam=('cam', '{config}', '{checkpoint}', '{image}', '--out', '{out}'),
    predict=('predict', '{exported}', '{image}', '--out', '{out}'),
    torch=('predict', '{config}', '{checkpoint}', '{image}', '--out', '{out}'),
    export=('export', '{config}', '{checkpoint}', '--out', '{out}/model.onnx'),
    int8=('export', '{config}', '{checkpoint}', '--out', '{out}/model.onnx', '--int8', '--data-root', '{data}'),
    report=('report', '{config}', '{checkpoint}', '--data-root', '{data}', '--out', '{out}'),
    train=('train', CONFIG, '--data-root', '{data}', '--work-dir', '{out}'),
    curves=('plot_curves', '{run}', '--out', '{out}/curves.png'),
    shapes=('make_shapes', '{out}'),
    subset=('make_subset', '{images}', '{out}', '--classes', '2', '--train', '1', '--val', '1'),
    convert=('convert_dataset', '{data}', '--out', '{out}'),
    sample=('sweep', 'sample', '{out}'),
    formula=('formula',),
    cost=('cost',),
)
NUMBERS = [
    *(('cam', f'--topk={n}', 'at least one box or class') for n in ('0', '-1')),
    *(('cam', f'--batch={n}', 'at least one image') for n in ('0', '-1')),
    *(('cam', f'--input-size={n}', 'give 32 to 8192 pixels') for n in ('0', '-5', '100000', BIG)),
    *(('cam', f'--device={name}', 'is not available .*; leave it out, or give cpu') for name in ('tpu', 'meta', 'cuda:99', '')),
    *(('torch', f'--device={name}', 'is not available') for name in ('tpu', 'meta', '5')),
    *(('report', f'--device={name}', 'is not available') for name in ('tpu', 'meta')),
    *(('predict', f'--device={name}', 'ONNX Runtime') for name in ('tpu', 'cuda:99', '', '5')),
    *(('predict', f'--score-thr={n}', 'is not between 0 and 1|invalid probability') for n in ('nan', '2', '-1', 'x')),
    *(('predict', f'--threads={n}', 'threads') for n in ('0', '-1', '1000000', BIG)),
    *(('predict', f'--tile={n}', 'tile') for n in ('0', '-1', '1')),
    ('export', f'--batch={BIG}', 'give the number of images, up to 1024'),
    ('export', '--batch=-1', 'give the number of images'),
    *(('export', f'--input-size={n}', '--input-size|give 32 to 8192 pixels') for n in ('0', '-1', '100000', 'x')),
    *(('int8', f'--max-drop={n}', 'is not from 0 to 100') for n in ('nan', '-1', 'inf')),
    *(('train', f'--epochs={n}', 'is not a whole number above 0|invalid') for n in ('0', '-1', '1.5', 'nan')),
    *(('train', f'--input-size={n}', 'give 32 to 8192 pixels|above 0') for n in ('0', '-1', '100000')),
    *(('train', f'--val-share={n}', 'is not above 0 and below 1') for n in ('0', '1', 'nan', 'inf')),
    *(('curves', f'--smoothing={n}', 'smoothing is') for n in ('nan', '1', '-1', 'inf')),
    *(('shapes', f'--{key}=-1', 'give at least') for key in ('train', 'val', 'test', 'size', 'class-size', 'seed')),
    ('shapes', '--size=1000000', 'size=1000000: give at least 32 and at most 8192'),
    ('shapes', '--train=1000000000', 'at most 1000000'),
    *(('subset', f'--{key}=-1', 'give at least 1, and a seed of 0 or above') for key in ('classes', 'train', 'val', 'seed')),
    ('subset', f'--classes={BIG}', 'request fewer'),
    *(('convert', f'--val-share={n}', 'is not above 0 and below 1') for n in ('0', 'nan')),
    *(('formula', f'--budget={n}', 'is not a budget; write a number') for n in ('0', '-1', 'nan', '', '1e30')),
    *(('formula', f'--params={n}', 'is not a budget; write a number') for n in ('0', 'inf', '')),
    *(('formula', f'--latency-ms={n}', 'is not a positive') for n in ('0', '-1', 'nan', 'inf')),
    *(('cost', f'efficientnet_b0:{key}={n}', 'positive numbers up to 1000') for key in 'rwd' for n in ('0', 'nan', '1e300')),
    *(('cost', f'efficientnet_b0 --classes={n}', 'classes=.*: give 0 for the backbone alone') for n in ('-1', BIG, '9' * 400)),
    *(('cost', f'efficientnet_b0 --resolution={n}', 'give at least one pixel') for n in ('0', '-1', BIG, '9' * 400)),
    *(('formula', f'--budget=75M --classes={n}', 'classes=') for n in ('-5', BIG, '9' * 400)),
    *(('cam', f'--target=box={n}', 'give one of top1, class=NAME, box=K') for n in ('9' * 20, '9' * 5000, '²')),
    ('cost', 'efficientnet_b0:r=x', 'r=x is not a number; write multipliers like'),
]  # fmt: skip


@pytest.mark.parametrize('line, option, sentence', NUMBERS, ids=[f'{line} {option}'[:60] for line, option, _ in NUMBERS])
def test_numbers(line, option, sentence, made, shapes, tmp_path, say):
    places = made | dict(out=tmp_path / 'out', images=shapes.parent / 'imagenet')
    command = [part.format(**places) for part in LINE_OF[line]]
    say.refuse(sentence, *command, *option.split(' '))


@pytest.mark.parametrize(
    'options, sentence',
    [
        (('--target', 'box=999999999'), 'no map can be drawn; .*box 999999999 was asked for'),
        (('--evaluate', '--score-thr', '1'), 'the model finds none of the annotated objects with a score of 1'),
    ],
)
def test_a_cam_without_a_map_leaves_nothing(options, sentence, made, tmp_path, say):
    out = tmp_path / 'new' / 'folder'
    command = ('cam', made['config'], made['checkpoint'], made['image'], '--data-root', made['data'], '--out', out)
    say.refuse(sentence, *command, *options)
    assert not (tmp_path / 'new').exists()


def test_tiles_that_never_end(made, tmp_path, say):
    command = ('predict', made['exported'], made['image'], '--out', tmp_path / 'out', '--tile', '32')
    say.refuse('give at least 32 pixels, and from 0 to 0.9', *command, '--tile-overlap', '0.999')


# Output paths -----------------------------------------------------------------------------------------------------------------


def outputs(made: dict, shapes: Path, out: Path) -> dict[str, tuple]:
    """A command of each tool that writes, with its output at ``out``, to which a suffix is added for a file."""
    data = ('--data-root', made['data'])
    model = (made['config'], made['checkpoint'])
    return dict(
        predict=('predict', made['exported'], made['image'], '--out', out),
        cam=('cam', *model, made['image'], '--out', out),
        compare=('cam', made['image'], '--compare', f'{model[0]}={model[1]}', '--out', out),
        export=('export', *model, '--out', f'{out}.onnx'),
        golden=('make_golden', made['exported'], made['image'], '--out', out),
        test=('test', *model, *data, '--out', out),
        report=('report', *model, *data, '--out', out),
        publish=('publish', model[1], '--out-dir', out),
        train=('train', CONFIG, *data, '--input-size', '64', '--from-scratch', '--work-dir', out),
        save=('formula', '--budget', '75M', '--save', f'{out}.json'),
        configs=('formula', '--budget', '75M', '--write-configs', out),
        published=('formula', '--published', f'{out}.csv'),
        curves=('plot_curves', made['run'], '--out', f'{out}.png'),
        results=('plot_results', 'results/paper_imagenet.csv', '--y', 'top1', '--out', f'{out}.png'),
        shapes=('make_shapes', out, '--train', '2', '--val', '1', '--test', '1', '--class-train', '1', '--class-val', '1'),
        subset=('make_subset', shapes.parent / 'imagenet', out, '--classes', '2', '--train', '1', '--val', '1'),
        sweep=('sweep', 'sample', out, '-n', '1'),
        latency=('latency', made['exported'], '--runtime', 'onnx', '--runs', '1', '--warmup', '0', '--out', f'{out}.csv'),
        tables=('make_tables', '--csv', f'{out}.csv', '--docs', f'{out}.md', '--latency', f'{out}_2.md'),
    )


@pytest.mark.parametrize(
    'command', outputs(dict.fromkeys(('config', 'checkpoint', 'exported', 'image', 'data', 'run')), Path(), Path())
)
def test_an_output_below_a_file(command, made, shapes, tmp_path, say):
    (tmp_path / 'file').touch()
    say.refuse('cannot write .*file/out', *outputs(made, shapes, tmp_path / 'file' / 'out')[command])


@pytest.mark.parametrize(
    'command',
    ['export', 'golden', 'publish', 'train', 'save', 'configs', 'published', 'curves', 'shapes', 'sweep', 'cam', 'predict'],
)
def test_an_empty_output(command, made, shapes, tmp_path, say, monkeypatch):
    name, *arguments = outputs(made, shapes, tmp_path / 'out')[command]
    mine = str(tmp_path)
    say.refuse(
        'the path is empty; give a path, or . for the current folder',
        name,
        *('' if str(a).startswith(mine) else a for a in arguments),
    )


@pytest.mark.parametrize('command', ['export', 'save', 'published', 'curves', 'results', 'latency', 'tables'])
def test_an_output_that_is_a_pipe(command, made, shapes, tmp_path, say):
    for suffix in ('.onnx', '.json', '.csv', '.png', '.md'):
        os.mkfifo(tmp_path / f'out{suffix}')
    say.refuse(r'cannot write .*out\.\w+: it is a device, pipe or socket', *outputs(made, shapes, tmp_path / 'out')[command])
    assert all(path.is_fifo() for path in tmp_path.glob('out.*'))


@pytest.mark.parametrize('command', ['predict', 'cam', 'compare'])
def test_an_output_that_is_an_input(command, made, tmp_path, say):
    shutil.copyfile(made['image'], tmp_path / 'photo.png')
    picture = write_image(tmp_path / 'other.jpg', read_image(made['image']))
    out = tmp_path / 'photo' if command == 'compare' else tmp_path
    name, *arguments = outputs(made | dict(image=tmp_path), Path(), out)[command]
    os.link(picture, tmp_path / 'photo.jpg')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    say.refuse(r'cannot write .*\.(jpg|png): it is also an input, and would be replaced; choose another --out', name, *arguments)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize('command', ['export', 'save', 'published', 'curves', 'results', 'latency', 'tables'])
def test_an_output_file_that_is_a_folder(command, made, shapes, tmp_path, say):
    for suffix in ('.onnx', '.json', '.csv', '.png', '.md'):
        (tmp_path / f'out{suffix}').mkdir()
    say.refuse(r'cannot write .*out\.\w+: .*(folder|directory)', *outputs(made, shapes, tmp_path / 'out')[command])


@pytest.mark.skipif(not Path('/sys/kernel').is_dir(), reason='a folder in which nobody can write')
@pytest.mark.parametrize(
    'command', ['predict', 'cam', 'golden', 'publish', 'train', 'save', 'configs', 'shapes', 'subset', 'sweep', 'curves']
)
def test_an_output_that_cannot_be_written(command, made, shapes, tmp_path, say):
    say.refuse('cannot write .*/sys/nowhere/x', *outputs(made, shapes, Path('/sys/nowhere/x'))[command])


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Files of this process have at most ``size`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    'command', ['predict', 'golden', 'publish', 'save', 'configs', 'curves', 'results', 'shapes', 'subset', 'latency']
)
def test_a_full_disk(command, made, shapes, tmp_path):
    name, *arguments = outputs(made, shapes, tmp_path / 'out')[command]
    with small_disk(150), redirect_stdout(io.StringIO()), pytest.raises(errors.UserError) as caught:
        tool(name)([str(argument) for argument in arguments])
    assert re.match('cannot write .*out.*: File too large; choose another path, or free disk space', str(caught.value))
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and path.name != 'out.csv'] + list(tmp_path.glob('.*'))


@pytest.mark.parametrize('code', errors.FULL)
def test_a_full_disk_below_a_library_is_one_sentence(code, capsys):
    def main():
        raise OSError(code, os.strerror(code))

    with pytest.raises(SystemExit) as stop:
        errors.run(main)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and 'free disk space, or choose another path' in said and 'Traceback' not in said


def test_a_failed_rename_leaves_no_temporary(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EBUSY, 'Device or resource busy')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(errors.UserError, match='cannot write .*x.json: Device or resource busy; choose another path'):
        files.write_json(tmp_path / 'x.json', {})
    assert not list(tmp_path.iterdir())


def test_a_subset_is_not_written_into_its_source(shapes, tmp_path, say):
    root = Path(shutil.copytree(shapes.parent / 'imagenet', tmp_path / 'imagenet'))
    for target in (root, root / 'train', root / 'train' / 'new', root / 'val'):
        say.refuse(
            'is in the source .*; give another folder',
            'make_subset',
            root,
            target,
            '--classes',
            '2',
            '--train',
            '1',
            '--val',
            '1',
        )


# Training ---------------------------------------------------------------------------------------------------------------------


def test_a_truncated_jpeg_of_a_classifier_is_broken(tmp_path):
    for number in range(3):
        path = tmp_path / 'train' / 'cat' / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # OpenCV fills the rest with grey
    (tmp_path / 'train' / 'cat' / '1.jpg').write_bytes((tmp_path / 'train' / 'cat' / '0.jpg').read_bytes() + b'more')
    pipeline = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    found = ClassFolders(str(tmp_path), 'train', pipeline, broken='skip', test_mode=True)
    assert [found[index] is None for index in range(3)] == [False, False, True] and found.broken_images() == [str(path)]
    with pytest.raises(BrokenImage, match="2.jpg: does not decode as an image; replace it, or train with broken='skip'"):
        ClassFolders(str(tmp_path), 'train', pipeline)[2]
