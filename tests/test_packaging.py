"""Packaging: sdist and wheel, models found by name from the wheel, and the costs in the model index."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from packaging.requirements import Requirement
from packaging.version import Version

from tinynet_mm import __version__
from tinynet_mm.cost import cost
from tinynet_mm.mmlab import index
from tinynet_mm.mmlab.configs import input_side
from tinynet_mm.mmlab.versions import RANGES

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ('tinynet_mm', 'configs', 'tools', 'requirements')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'Makefile', 'model-index.yml')


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The sdist of a copy of the checkout, and the wheel built from it."""
    folder = tmp_path_factory.mktemp('build')
    source, dist = folder / 'source', folder / 'dist'
    source.mkdir()
    for name in SHIPPED:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', dist, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    return next(dist.glob('*.tar.gz')), next(dist.glob('*.whl'))


@pytest.fixture(scope='module')
def site(built, tmp_path_factory):
    """The folder of the unpacked wheel."""
    folder = tmp_path_factory.mktemp('site')
    zipfile.ZipFile(built[1]).extractall(folder)
    return folder


@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    """The folder into which pip installed the wheel."""
    folder = tmp_path_factory.mktemp('installed')
    options = ('-q', '--disable-pip-version-check', '--no-deps', '--no-index', '--target', folder)
    subprocess.run([sys.executable, '-m', 'pip', 'install', *options, built[1]], check=True)
    return folder


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file() and '__pycache__' not in p.parts}


def test_the_wheel_has_one_top_level_package(site):
    assert {p.name.split('-')[0] for p in site.iterdir()} == {'tinynet_mm'}


def test_the_wheel_contains_the_package_and_its_configs(site):
    own = {p.relative_to(ROOT).as_posix() for p in (ROOT / 'tinynet_mm').rglob('*.py') if '.mim' not in p.parts}
    assert own <= files_below(site)
    shipped = files_below(site / 'tinynet_mm' / '.mim')
    assert {'model-index.yml', 'tools/train.py', 'configs/ssdlite/ssdlite_tinynet_d_coco.py'} <= shipped
    assert 'tools/setup_env.py' not in shipped
    names = [Path(name).name for name in shipped if name.startswith('configs/') and '_base_' not in name and name.endswith('.py')]
    assert len(names) == len(set(names))  # mim finds configs by file name, which must be unique


@pytest.mark.parametrize(
    'arguments, expected',
    [
        ('--help', 'usage: tinynet VERB'),
        ('--version', f'tinynet_mm {__version__}\n'),
        ('train --help', 'usage: tinynet train'),
        ('cost tinynet_e', '24.36'),
    ],
)
def test_the_installed_command_runs_in_any_folder(installed, tmp_path, arguments, expected):
    """The same calls as in tools/smoke_wheel.sh, which installs the dependencies too."""
    command = [installed / 'bin' / 'tinynet', *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(installed)})
    assert done.returncode == 0 and expected in done.stdout, done.stderr
    assert 'smoke_wheel.sh' not in ' '.join(files_below(installed)) and list(tmp_path.iterdir()) == []


def test_the_sdist_contains_what_a_checkout_needs(built):
    with tarfile.open(built[0]) as archive:
        names = {name.split('/', 1)[1] for name in archive.getnames() if '/' in name}
    assert {
        'LICENSE',
        'Makefile',
        'requirements/constraints.txt',
        'tools/setup_env.py',
        'configs/ssdlite_tinynet_e_coco.py',
    } <= names


def test_every_config_of_the_wheel_loads(site):
    paths = sorted((site / 'tinynet_mm' / '.mim' / 'configs').rglob('*.py'))
    assert len(paths) > 40
    for path in paths:
        assert Config.fromfile(path).filename


def test_the_command_works_from_the_wheel(site, tmp_path):
    entry = (next(site.glob('*.dist-info')) / 'entry_points.txt').read_text()
    assert 'tinynet = tinynet_mm.command:script' in entry

    def run(*words):
        command = [sys.executable, '-m', 'tinynet_mm', *words]
        environment = os.environ | dict(PYTHONPATH=str(site))
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    for tool in ('make_tables', 'setup_env', 'make_index'):
        assert not (site / 'tinynet_mm' / '.mim' / 'tools' / f'{tool}.py').exists()
    done = run('formula', '--budget', '75M', '--write-configs', 'mine')
    assert done.returncode == 0, done.stderr
    paths = sorted((tmp_path / 'mine').glob('*.py'))
    assert [path.name.split('_')[0] for path in paths] == ['efficientnet', 'rtmdet', 'ssdlite']
    for path in paths:
        assert str(site) in path.read_text() and Config.fromfile(path).model.backbone.type == 'ScaledEfficientNet'
    lost = run('train', 'rtmdet_tinynet_e_coco')
    assert lost.returncode == 2 and 'data/coco' in lost.stderr  # the config is found, the data is not


BY_NAME = """
import sys
import numpy as np
import tinynet_mm
assert tinynet_mm.__file__.startswith(sys.argv[1]), tinynet_mm.__file__
from mmengine.config import Config
from mmengine.hub import get_config, get_model

name = 'tinynet_mm::ssdlite/ssdlite_tinynet_e_coco.py'
assert get_config(name).filename.startswith(sys.argv[1])
open('child.py', 'w').write(f'_base_ = {name!r}\\nmodel = dict(bbox_head=dict(num_classes=3))\\n')
assert Config.fromfile('child.py').model.backbone.arch == 'e'
detector = get_model(name)

import torch
from mmdet.apis import DetInferencer
torch.nn.init.normal_(detector.bbox_head.cls_convs[0][1].bias, std=9)
torch.save({'state_dict': detector.state_dict()}, 'weights.pth')
inferencer = DetInferencer('ssdlite_tinynet_e_coco', weights='weights.pth', scope='tinynet_mm', device='cpu')
pairs = zip(inferencer.model.state_dict().values(), detector.state_dict().values())
assert all(torch.equal(*pair) for pair in pairs)
result = inferencer(np.full((64, 80, 3), 90, np.uint8), return_vis=True, no_save_vis=True)
assert len(result['predictions'][0]['bboxes']) > 0 and result['visualization'][0].shape == (64, 80, 3)

import mmpretrain
classifier = mmpretrain.get_model('tinynet_e_in1k')
assert classifier.backbone.__module__ == 'tinynet_mm.models.efficientnet'
assert classifier(torch.zeros(1, 3, 106, 106)).shape == (1, 1000)
print('found by name')
"""


def test_models_are_found_by_name_from_the_wheel(site, tmp_path):
    """The wheel is first on the path, and the checkout is not on it."""
    script = tmp_path / 'by_name.py'
    script.write_text(BY_NAME)
    command = [sys.executable, '-W', 'ignore', script, site]
    env = os.environ | {'PYTHONPATH': str(site)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout.strip().endswith('found by name'), done.stderr[-3000:]
    assert 'Failed to search registry' not in done.stderr + done.stdout


# The index --------------------------------------------------------------------------------------------------------------------


def entries() -> list[dict]:
    paths = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    return [model for path in paths for model in yaml.safe_load((ROOT / path).read_text())['Models']]


def test_the_index_lists_every_config_once():
    listed = sorted(model['Name'] for model in entries())
    configs = [p.stem for p in (ROOT / 'configs').glob('*_coco.py')]
    configs += [p.stem for p in (ROOT / 'configs' / 'imagenet').glob('*_in1k.py')]
    assert listed == sorted(configs), 'run tools/make_index.py'
    for model in entries():
        assert (ROOT / model['Config']).exists(), 'run tools/make_index.py'


def test_classifiers_cost_as_in_the_closed_form():
    classifiers = [model for model in entries() if model['Config'].startswith('configs/imagenet/')]
    assert len(classifiers) >= 14
    for model in classifiers:
        cfg = Config.fromfile(ROOT / model['Config'])
        expected = cost(index.build_on_meta(cfg).backbone.arch, input_side(cfg))
        listed = model['Metadata']
        assert (listed['FLOPs'], listed['Parameters']) == (expected.macs, expected.params), (
            f'{model["Name"]}: run tools/make_index.py'
        )


@pytest.mark.parametrize('name', ['ssdlite_tinynet_d_coco', 'rtmdet_tinynet_d_coco'])
def test_detectors_cost_as_listed(name):
    group = index.GROUPS[0]
    assert index.entry(group, ROOT / 'configs' / f'{name}.py') in entries(), 'run tools/make_index.py'


def test_an_index_is_written_completely(tmp_path):
    for name in ('_base_', 'imagenet/_base_'):
        shutil.copytree(ROOT / 'configs' / name, tmp_path / 'configs' / name)
    shutil.copy(ROOT / 'configs' / 'ssdlite_tinynet_e_coco.py', tmp_path / 'configs')
    shutil.copy(ROOT / 'configs' / 'imagenet' / 'tinynet_e_in1k.py', tmp_path / 'configs' / 'imagenet')
    written = index.write_index(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in written][-1] == 'model-index.yml'
    models = [model for path in written[:-1] for model in yaml.safe_load(path.read_text())['Models']]
    assert models == [model for model in entries() if model['Name'] in ('ssdlite_tinynet_e_coco', 'tinynet_e_in1k')]
    assert not list(tmp_path.rglob('*.partial'))


# Requirements -----------------------------------------------------------------------------------------------------------------


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


MODULES = {'mmdetection': 'mmdet'}


@pytest.mark.parametrize('stack', ['onedl', 'openmmlab'])
def test_the_pinned_stacks_fit_what_the_package_accepts(stack):
    for pin in pins(stack):
        module = pin.name.removeprefix('onedl-')
        first, last = RANGES[MODULES.get(module, module)]
        (version,) = [Version(spec.version) for spec in pin.specifier]
        assert Version(first) <= version < Version(last)


def test_the_package_requires_no_mmlab_distribution(site):
    metadata = next(site.glob('*.dist-info')) / 'METADATA'
    lines = [line for line in metadata.read_text().splitlines() if line.startswith('Requires-Dist: ')]
    required = [Requirement(line.removeprefix('Requires-Dist: ')) for line in lines]
    always = {r.name for r in required if r.marker is None}
    assert {'numpy', 'opencv-python'} <= always and 'torch' not in always
    assert not any(name.startswith(('mm', 'onedl-')) for name in always)
    extras = {r.name for r in required if r.marker and r.marker.evaluate({'extra': 'openmmlab'})}
    assert {'mmengine', 'mmcv', 'mmdet', 'mmpretrain'} <= extras


def test_constraints_pin_all_named_packages():
    fixed = {r.name.lower().replace('_', '-'): r.specifier for r in pins('constraints')}
    for name in ('torch', 'common', 'build'):
        for requirement in pins(name):
            key = requirement.name.lower().replace('_', '-')
            if key in fixed and requirement.specifier:
                assert requirement.specifier == fixed[key], f'{name}.txt and constraints.txt disagree on {key}'
            assert requirement.specifier or key in fixed, f'{key} of {name}.txt has no pin'


DISTRIBUTIONS = {
    'cv2': 'opencv-python',
    'PIL': 'pillow',
    'pytorch_grad_cam': 'grad-cam',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml',
}
STACKS = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain'}
UNDECLARED: set[str] = set()


def imported_names() -> set[str]:
    """The top-level third-party names that the package and the tools import."""
    names = set()
    for path in [*(ROOT / 'tinynet_mm').rglob('*.py'), *(ROOT / 'tools').glob('*.py')]:
        if '.mim' in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split('.')[0])
    own = {'tinynet_mm', *(path.stem for path in (ROOT / 'tools').glob('*.py'))}
    return names - set(sys.stdlib_module_names) - own


def test_every_import_is_declared(site):
    metadata = next(site.glob('*.dist-info/METADATA')).read_text()
    lines = [line.split(': ', 1)[1] for line in metadata.splitlines() if line.startswith('Requires-Dist: ')]
    declared = {Requirement(line).name.lower() for line in lines}
    needed = {DISTRIBUTIONS.get(name, name) for name in imported_names() - UNDECLARED}
    assert sorted(needed - declared) == []
    assert imported_names() >= STACKS
