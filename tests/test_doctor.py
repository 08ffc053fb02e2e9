"""The environment check for each known fault of the stack; fake modules replace the broken packages."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def doctor():
    spec = importlib.util.spec_from_file_location('tools_doctor', ROOT / 'tools' / 'doctor.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Write a module of one line that hides the real one in the processes of the check."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))

    def write(name: str, code: str = '') -> None:
        path = tmp_path.joinpath(*name.split('.')).with_suffix('.py')
        path.parent.mkdir(exist_ok=True)
        path.write_text(code + '\n')

    return write


def only(findings):
    (finding,) = findings
    return finding


def test_operators_load_here(doctor):
    assert only(doctor.check_operators()).state == 'ok'


def test_torch_and_torchvision_of_two_builds(doctor, put):
    put('torch')
    put('torchvision', 'raise RuntimeError("operator torchvision::nms does not exist")')
    finding = only(doctor.check_torch())
    assert finding.state == 'FAIL' and finding.text.endswith('operator torchvision::nms does not exist')
    assert 'requirements/torch.txt' in finding.fix


def test_mmcv_without_operators(doctor, put):
    put('torch')
    put('mmcv.ops', 'raise ImportError("mmcv/_ext.so: undefined symbol: _ZN3c10")')
    put('mmcv.__init__')
    finding = only(doctor.check_operators())
    assert finding.state == 'FAIL' and 'undefined symbol' in finding.text and 'make env' in finding.fix


def test_a_package_that_crashes_the_interpreter_does_not_crash_the_check(doctor, put):
    put('cv2', 'import os; os.abort()')
    finding = only(doctor.check_opencv())
    assert finding.state == 'FAIL' and 'exit code' in finding.text


def sources(doctor, monkeypatch, **parts):
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', lambda: parts)
    monkeypatch.setattr(doctor, 'version_of', lambda name: '1.0')
    return {finding.part: finding for finding in doctor.check_distributions()}


def test_the_distribution_of_each_package(doctor, monkeypatch):
    parts = dict(mmengine=['onedl-mmengine'], mmcv=['mmcv', 'onedl-mmcv'], mmdet=['mmdet', 'mmdet'])
    found = sources(doctor, monkeypatch, **parts)
    assert found['mmengine'].state == 'ok' and found['mmengine'].text == 'from onedl-mmengine 1.0'
    assert found['mmcv'].state == 'FAIL' and 'installed twice, from mmcv 1.0 and onedl-mmcv 1.0' in found['mmcv'].text
    assert 'pip uninstall mmcv onedl-mmcv' in found['mmcv'].fix
    assert found['mmdet'].state == 'ok'
    assert found['mmpretrain'].state == 'FAIL' and found['mmpretrain'].text == 'not installed'


def test_mmcv_lite_is_reported(doctor, monkeypatch):
    found = sources(doctor, monkeypatch, mmcv=['mmcv-lite'])
    assert found['mmcv'].state == 'FAIL' and 'no operators' in found['mmcv'].text


@pytest.mark.parametrize('versions, state', [(('4.12.0', '4.12.0'), 'ok'), (('4.12.0', '4.9.0'), 'FAIL')])
def test_two_opencvs(doctor, monkeypatch, put, versions, state):
    put('cv2', '__version__ = "4.12.0"')
    found = dict(zip(doctor.OPENCV, versions))
    monkeypatch.setattr(doctor, 'version_of', found.get)
    assert only(doctor.check_opencv()).state == state


@pytest.mark.parametrize(
    'compiled, state, text',
    [('12.8', 'ok', 'A100; mmcv operators for CUDA 12.8'), ('not available', 'note', 'CPU operators only')],
)
def test_a_gpu_and_the_operators_for_it(doctor, put, compiled, state, text):
    put('torch', 'class cuda: device_count = lambda: 1; get_device_name = lambda i: "A100"')
    put('mmcv.__init__')
    put('mmcv.ops', f'get_compiling_cuda_version = lambda: {compiled!r}')
    finding = only(doctor.check_gpu())
    assert finding.state == state and text in finding.text


def test_no_gpu_and_no_torch_differ(doctor, put):
    put('torch', 'class cuda: device_count = lambda: 0')
    put('mmcv.__init__')
    put('mmcv.ops', 'get_compiling_cuda_version = lambda: "not available"')
    assert only(doctor.check_gpu()).text.startswith('none')
    put('torch', 'raise ImportError("libcudart.so is missing")')
    assert 'libcudart.so is missing' in only(doctor.check_gpu()).text


def test_missing_extras_name_the_pip_command(doctor, monkeypatch):
    monkeypatch.setattr(doctor, 'version_of', lambda name: None if name == 'onnx' else '1.0')
    first, second = doctor.check_extras()
    assert 'pymoo 1.0' in first.text and second.text == 'not installed: pip install "tinynet_mm[deploy]"'


def test_our_package_does_not_import(doctor, put):
    put('tinynet_mm', 'raise ImportError("tinynet_mm needs mmcv>=2.0.1,<3.0 (installed: 1.7)")')
    assert only(doctor.check_package()).text == 'ImportError: tinynet_mm needs mmcv>=2.0.1,<3.0 (installed: 1.7)'


@pytest.mark.parametrize('state, code, verdict', [('FAIL', 1, 'doctor: failed: torch'), ('note', 0, 'doctor: all checks passed')])
def test_the_exit_status(doctor, monkeypatch, capsys, state, code, verdict):
    monkeypatch.setattr(doctor, 'CHECKS', [lambda: [doctor.Finding(state, 'torch', 'broken', 'fix it')]])
    assert doctor.main([]) == code
    printed = capsys.readouterr().out
    assert verdict in printed and 'fix: fix it' in printed


def test_an_environment_for_exported_files_passes(doctor, monkeypatch, capsys):
    monkeypatch.setattr(doctor.metadata, 'packages_distributions', lambda: {'numpy': ['numpy']})
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert 'note  training     neither torch nor MMLab is installed' in said and 'FAIL' not in said and 'mmcv.ops' not in said
