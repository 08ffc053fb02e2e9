"""``import tinynet_mm`` in new interpreters: it imports nothing heavy, and our classes are registered once MMLab is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.hub import get_config, get_model

import tinynet_mm
from tinynet_mm.mmlab import versions
from tinynet_mm.mmlab.registration import config_root


def python(code: str, path: os.PathLike | None = None) -> subprocess.CompletedProcess:
    """Run ``code`` in a new interpreter, with ``path`` first in the search path."""
    env = os.environ | ({'PYTHONPATH': os.fspath(path)} if path else {})
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=env, timeout=300)


def test_the_core_imports_neither_torch_nor_mmlab():
    code = (
        'import sys, tinynet_mm, tinynet_mm.archs, tinynet_mm.cost, tinynet_mm.paper.inferred, tinynet_mm.formula.solve; '
        'print([m for m in ("torch", "mmengine", "mmcv", "mmdet", "mmpretrain") if m in sys.modules])'
    )
    assert python(code).stdout.strip() == '[]'


def registering_modules() -> list[str]:
    """Names of our modules that register a class."""
    package = Path(tinynet_mm.__file__).parent
    paths = [p for p in package.rglob('*.py') if '.register_module(' in p.read_text() and '.mim' not in p.parts]
    return ['.'.join(p.relative_to(package.parent).with_suffix('').parts) for p in paths]


@pytest.mark.parametrize(
    'order',
    [
        'import tinynet_mm; import mmpretrain; import mmdet',  # ours first
        'import mmdet; import tinynet_mm; import mmpretrain',  # ours in the middle
    ],
)
def test_classes_are_registered_in_any_order_of_imports(order):
    code = (
        f'import sys; {order}; from mmdet.registry import MODELS, TRANSFORMS; from mmpretrain.registry import MODELS as OTHERS; '
        'from mmengine.config.utils import MODULE2PACKAGE as names; '
        'print(MODELS.get("SSDLiteHead").__module__, OTHERS.get("TinyNet").__module__, TRANSFORMS.get("SSDWarp").__module__, '
        'names["tinynet_mm"], "tinynet_e_in1k" in mmpretrain.list_models(), '
        f'set({registering_modules()}) - set(sys.modules))'
    )
    result = python(code)
    expected = 'tinynet_mm.models.ssdlite tinynet_mm.models.efficientnet tinynet_mm.data.augment tinynet_mm.registry True set()'
    assert result.stdout.strip().endswith(expected), result.stderr


@pytest.mark.parametrize('module', ['data.augment', 'mmlab.configs', 'mmlab.texts', 'mmlab.running', 'training.progress'])
def test_a_module_that_imports_mmlab_can_be_the_first_import(module):
    result = python(f'import tinynet_mm.{module}; print("imported")')
    assert result.stdout.strip() == 'imported', result.stderr


def fake(folder, package: str, version: str, body: str = ''):
    (folder / package).mkdir()
    (folder / package / '__init__.py').write_text(body)
    (folder / package / 'version.py').write_text(f"__version__ = '{version}'\n")


def test_an_unsupported_version_is_one_sentence(tmp_path):
    fake(tmp_path, 'mmengine', '0.7.4')
    fake(tmp_path, 'mmdet', '2.28.0')
    result = python('import tinynet_mm; print("imported"); import mmengine', tmp_path)
    assert result.stdout.strip() == 'imported'  # the core works without MMLab
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(
        'tinynet_mm.errors.MissingPackageError: tinynet_mm needs mmengine>=0.10.0,<1.0 (installed: 0.7.4) and mmdet>=3.2.0,<4.0'
    )
    assert 'requirements/onedl.txt' in last


def test_transformers_5_switches_off_the_multimodal_models_of_mmpretrain(tmp_path):
    (tmp_path / 'transformers').mkdir()
    (tmp_path / 'transformers' / '__init__.py').touch()
    (tmp_path / 'transformers-5.17.0.dist-info').mkdir()
    (tmp_path / 'transformers-5.17.0.dist-info' / 'METADATA').write_text('Name: transformers\nVersion: 5.17.0\n')
    assert 'Error' in python('import mmpretrain.models', tmp_path).stderr
    result = python('import tinynet_mm, mmpretrain.models as m; print(len(m.MODELS) > 100)', tmp_path)
    assert result.stdout.strip() == 'True', result.stderr


def test_versions_of_this_environment_fit_and_missing_packages_have_none():
    versions.check_versions()
    assert versions.version_of('mmengine') and versions.version_of('mmcv')
    assert versions.version_of('surely_not_installed') is None


@pytest.mark.parametrize(
    'name, file',
    [
        ('ssdlite/ssdlite_tinynet_d_coco', 'ssdlite_tinynet_d_coco.py'),  # MMEngine needs a folder in the name
        ('imagenet/tinynet_e_in1k', 'imagenet/tinynet_e_in1k.py'),
    ],
)
def test_mmengine_finds_our_configs_by_name_in_the_checkout(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the current folder is not the checkout
    cfg = get_config(f'tinynet_mm::{name}.py')
    assert cfg.model.backbone.type == 'TinyNet'
    model = get_model(f'tinynet_mm::{name}.py')
    assert type(model.backbone).__module__ == 'tinynet_mm.models.efficientnet'
    assert (config_root() / 'configs' / file).exists()


def test_the_version_is_a_version():
    assert tinynet_mm.__version__.count('.') == 2


RESUME = """
import sys

import tinynet_mm
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, *x, mode='tensor'):
        return {'loss': self.layer(torch.stack(x)).square().mean()}


def train(epochs, resume):
    loader = dict(dataset=[torch.ones(1)] * 4, sampler=dict(type='DefaultSampler', shuffle=False), batch_size=2)
    loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
    runner = Runner(Line(), sys.argv[1], loader, train_cfg=loop, optim_wrapper=wrapper, resume=resume, log_level='ERROR')
    runner.train()
    return runner.iter


print(train(1, False), train(2, True))
"""


def test_training_resumes_from_a_checkpoint_with_loss_curves(tmp_path):
    """mmengine 0.10.7 alone fails under torch >= 2.6, see mmlab/loaders.py."""
    script = tmp_path / 'resume.py'
    script.write_text(RESUME)
    result = subprocess.run([sys.executable, '-W', 'ignore', script, tmp_path / 'work'], capture_output=True, text=True)
    assert result.stdout.strip().splitlines()[-1:] == ['2 4'], result.stderr
    assert 'Falling back' not in result.stderr
