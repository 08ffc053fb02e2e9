"""The set-up with a pip that only records its arguments: each step once, recovery, and the choice of the mmcv wheel."""

import importlib.util
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPENCV = 'opencv-python-headless==4.12.0.88'
PYTHON = """#!/bin/sh
echo "$*" >> {root}/calls
if [ -e {root}/failing ] && echo "$*" | grep -q -e "$(cat {root}/failing)"; then exit 1; fi
case "$*" in
    *is_available*) exit 1 ;;
    *" download "*) [ -e {root}/offered ] || exit 1 ;;
    *"import mmcv.ops"*) exit 0 ;;
    *" wheel "*) ;;
    *) exit 0 ;;
esac
while [ "$1" != -w ] && [ "$1" != -d ]; do shift; done
if [ -e {root}/slow ]; then exec sleep 60; fi
echo wheel > "$2/onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl"
if [ -e {root}/cut ]; then exit 1; fi
"""


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('tools_setup_env', ROOT / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bench:
    """A checkout in a temporary folder whose environment's Python is the script above."""

    def __init__(self, tool, root: Path):
        self.tool, self.root = tool, root
        files = {
            'torch': 'torch==1',
            'build': 'wheel==1',
            'common': 'numpy==1',
            'constraints': OPENCV,
            'onedl': 'onedl-mmcv==2.3.6',
        }
        (root / 'requirements').mkdir()
        for name, text in files.items():
            (root / 'requirements' / f'{name}.txt').write_text(f'# {name}\n{text}\n')
        (root / 'setup.py').touch()
        (root / 'pyproject.toml').touch()
        (root / '.cache').mkdir()
        self.script(root / 'bin' / 'g++', '#!/bin/sh\n')

    @staticmethod
    def script(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def create(self, path: Path, with_pip: bool) -> None:
        """In place of venv.create."""
        self.script(path / 'bin' / 'python', PYTHON.format(root=self.root))

    def set_up(self) -> list[str]:
        """Run all steps; what Python was called with."""
        calls = self.root / 'calls'
        calls.write_text('')
        self.tool.set_up(self.tool.Environment('onedl', self.root))
        return calls.read_text().splitlines()

    def fails(self, match: str) -> None:
        with pytest.raises(SystemExit, match=match):
            self.set_up()

    def wheels(self) -> list[str]:
        return [p.name for p in (self.root / '.cache' / 'wheels').glob('*/*.whl')]


@pytest.fixture
def bench(tool, tmp_path, monkeypatch):
    bench = Bench(tool, tmp_path)
    monkeypatch.setattr(tool.venv, 'create', bench.create)
    monkeypatch.setattr(tool.sys, 'version_info', (3, 11, 9))
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:/usr/bin:/bin')
    return bench


def of(calls: list[str], word: str) -> list[str]:
    return [call for call in calls if word in call]


def test_each_step_runs_once_and_a_second_call_does_nothing(bench, capsys):
    calls = bench.set_up()
    assert len(of(calls, ' wheel ')) == 1 and len(of(calls, '-e .')) == 1 and of(calls, 'doctor.py')
    assert of(calls, f'--force-reinstall --no-deps {OPENCV}')
    assert bench.wheels() == ['onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl']
    steps = ['environment', 'torch', 'libraries', 'package', 'doctor']
    printed = capsys.readouterr().out
    assert all(f'setup: {step} done in' in printed for step in steps)
    assert bench.set_up() == []


def test_an_interrupted_setup_continues(bench, capsys):
    (bench.root / 'failing').write_text('common.txt')
    bench.fails('pip install .*common.txt.* failed; fix the error of pip above and call again')
    (bench.root / 'failing').unlink()
    capsys.readouterr()
    bench.set_up()
    printed = capsys.readouterr().out
    assert 'setup: torch' not in printed and 'setup: libraries done' in printed


def test_an_edited_requirements_file_repeats_its_own_step(bench, capsys):
    bench.set_up()
    (bench.root / 'requirements' / 'common.txt').write_text('numpy==2\n')
    capsys.readouterr()
    calls = bench.set_up()
    printed = capsys.readouterr().out
    assert 'setup: libraries done' in printed and 'setup: torch' not in printed and 'setup: package' not in printed
    assert not of(calls, ' wheel ')  # the kept wheel is used


def test_an_environment_without_its_interpreter_is_created_again(bench, capsys):
    bench.set_up()
    (bench.root / '.venv' / 'bin' / 'python').unlink()
    calls = bench.set_up()
    assert of(calls, 'torch.txt') and not of(calls, ' wheel ')


def test_an_incomplete_build_leaves_no_wheel(bench):
    (bench.root / 'cut').touch()
    bench.fails('the mmcv build failed, see .*mmcv-onedl.log')
    assert bench.wheels() == []
    (bench.root / 'cut').unlink()
    assert len(of(bench.set_up(), ' wheel ')) == 1
    assert len(bench.wheels()) == 1


def test_a_failure_of_pip_stops_the_build(bench, monkeypatch):
    started, stop = [], bench.tool.OperatorWheel.stop
    monkeypatch.setattr(bench.tool.OperatorWheel, 'stop', lambda wheel: started.append(wheel) or stop(wheel))
    (bench.root / 'slow').touch()
    (bench.root / 'failing').write_text('common.txt')
    bench.fails('common.txt.* failed')
    assert started[0].build.wait(timeout=10) == -signal.SIGTERM


def test_a_wheel_that_pip_finds_is_used(bench):
    (bench.root / 'offered').touch()
    calls = bench.set_up()
    assert of(calls, ' download ') and not of(calls, ' wheel ')


def test_a_wheel_of_another_torch_is_replaced_by_a_build(bench):
    (bench.root / 'offered').touch()
    (bench.root / 'failing').write_text('import mmcv.ops')
    calls = bench.set_up()
    assert of(calls, ' wheel ') and of(calls, '--force-reinstall --no-deps --no-index')


def test_a_faulty_environment_stops_the_setup(bench):
    (bench.root / 'failing').write_text('doctor.py')
    bench.fails('the environment has a fault')


def test_a_missing_compiler_or_python_is_one_sentence(bench, monkeypatch):
    (bench.root / 'bin' / 'g++').unlink()
    monkeypatch.setenv('PATH', str(bench.root / 'bin'))
    monkeypatch.setattr(bench.tool.shutil, 'which', lambda name: None)
    monkeypatch.setattr(bench.tool.OperatorWheel, 'find', lambda self: False)
    bench.fails(r'g\+\+ is needed .*apt install g\+\+')
    monkeypatch.setattr(sys, 'version_info', (3, 9, 1))
    (bench.root / '.venv' / 'bin' / 'python').unlink()
    bench.fails('Python 3.11 or 3.12 is needed, this is')


def test_a_kept_wheel_of_another_python_is_not_used(bench, monkeypatch):
    bench.set_up()
    monkeypatch.setattr(bench.tool.sys, 'version_info', (3, 12, 1))
    (bench.root / '.venv' / 'bin' / 'python').unlink()
    bench.fails('the mmcv build failed')  # the script above builds for Python 3.11 only
    monkeypatch.setattr(bench.tool.sys, 'version_info', (3, 11, 9))
    assert bench.set_up() and len(bench.wheels()) == 1


def test_cuda_operators_are_built_without_a_gpu_on_request(bench, monkeypatch):
    bench.create(bench.root / '.venv', with_pip=True)
    bench.script(bench.root / 'bin' / 'nvcc', '#!/bin/sh\n')
    assert not bench.tool.OperatorWheel(bench.tool.Environment('onedl', bench.root)).with_cuda
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert bench.tool.OperatorWheel(bench.tool.Environment('onedl', bench.root)).with_cuda
    (bench.root / 'bin' / 'nvcc').unlink()
    monkeypatch.setenv('PATH', str(bench.root / 'bin'))
    assert not bench.tool.OperatorWheel(bench.tool.Environment('onedl', bench.root)).with_cuda


def test_a_linked_environment_is_refused_before_anything_is_written(bench, tmp_path_factory):
    other = tmp_path_factory.mktemp('other')
    (bench.root / '.venv').symlink_to(other)
    bench.fails('.venv is a link to .*; remove the link')
    assert list(other.iterdir()) == []
