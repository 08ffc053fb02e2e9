"""Set up a virtual environment that can train, test and ship: torch, an MMLab stack with mmcv's operators, this package.

Standard library only, because it runs before anything is installed. Every step leaves a stamp with a hash of what went into
it, so a second call does nothing, an interrupted one goes on, and an edited requirements file repeats its own step only.

    python3.11 tools/setup_env.py                      # .venv, the maintained forks (onedl-*)
    python3.11 tools/setup_env.py --stack openmmlab    # .venv-openmmlab, the original mmengine, mmcv, mmdet, mmpretrain

The mmcv operators: a wheel that pip can see is taken (``PIP_FIND_LINKS``); otherwise they are built once from source with a
precompiled header, 2.5 minutes on two cores instead of 16, and the wheel is kept in ``.cache/wheels`` for the next environment.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
CONSTRAINTS = REQUIREMENTS / 'constraints.txt'
CACHE = ROOT / '.cache'
STACKS = {'onedl': '.venv', 'openmmlab': '.venv-openmmlab'}
# torch/types.h is the header all of mmcv's 78 sources parse. These flags must equal those of the build, or g++ ignores the
# precompiled header: distutils puts CFLAGS in place of Python's own flags, torch adds the rest after them.
HEADER, HEADER_FLAGS = 'torch_types.h', '-O2 -g0 -w -fPIC -std=c++17'


def fail(message: str) -> None:
    sys.exit(f'setup: {message}')


class Environment:
    """One virtual environment and the stamps of the steps done in it."""

    def __init__(self, stack: str):
        self.stack = stack
        self.path = ROOT / STACKS[stack]
        self.python = self.path / 'bin' / 'python'
        self.stamps = self.path / '.stamps'

    def step(self, name: str, key: str, action) -> None:
        """Run ``action`` unless it was completed before with the same ``key``; print what it cost."""
        stamp = self.stamps / name
        digest = hashlib.sha256(key.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        print(f'setup: {name} ...', flush=True)
        started = time.monotonic()
        action()
        self.stamps.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest)
        print(f'setup: {name} done in {time.monotonic() - started:.0f} s', flush=True)

    def pip(self, *arguments: str) -> None:
        command = [self.python, '-m', 'pip', '-qq', '--disable-pip-version-check', *arguments]
        if subprocess.run(command, cwd=ROOT).returncode:
            fail(f'pip {" ".join(map(str, arguments))} failed; mend what pip says above and call again, finished steps are kept.')

    def install(self, *files: str) -> None:
        arguments = [a for f in files for a in ('-r', str(REQUIREMENTS / f))]
        self.pip('install', '-c', str(CONSTRAINTS), *arguments)


def text_of(*files: str) -> str:
    return ''.join((REQUIREMENTS / f).read_text() for f in files)


def pinned(stack: str, module: str) -> str:
    """The requirement line of ``module`` ('mmcv') in the stack's file, e.g. 'onedl-mmcv==2.3.6'."""
    lines = (REQUIREMENTS / f'{stack}.txt').read_text().splitlines()
    return next(line for line in lines if line.split('==')[0].removeprefix('onedl-') == module)


def make_venv(env: Environment) -> None:
    if sys.version_info[:2] != (3, 11):
        fail(f'Python 3.11 is needed, this is {sys.version.split()[0]}; call `make PYTHON=/path/to/python3.11`.')
    shutil.rmtree(env.path, ignore_errors=True)
    venv.create(env.path, with_pip=True)


def find_wheel(env: Environment, requirement: str, folder: Path) -> bool:
    """True if pip finds a fitting wheel of ``requirement`` without building; it then lies in ``folder``."""
    if has_wheel(requirement, folder):
        return True
    command = [env.python, '-m', 'pip', '-q', 'download', '--no-deps', '--only-binary', ':all:', '-d', folder, requirement]
    return subprocess.run(command, capture_output=True).returncode == 0


def has_wheel(requirement: str, folder: Path) -> bool:
    name, version = requirement.split('==')
    return any(folder.glob(f'{name.replace("-", "_")}-{version}-*.whl'))


def precompile_header(env: Environment, folder: Path) -> str:
    """Compile torch's header once; returns the CFLAGS that make g++ use it."""
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / HEADER
    header.write_text('#include <torch/types.h>\n')
    query = 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent / "include")'
    include = subprocess.run([env.python, '-c', query], capture_output=True, text=True, check=True).stdout.strip()
    command = ['g++', '-x', 'c++-header', *HEADER_FLAGS.split(), f'-I{include}', f'-I{include}/torch/csrc/api/include']
    python_include = subprocess.run([env.python, '-c', 'import sysconfig; print(sysconfig.get_path("include"))'],
                                    capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    subprocess.run([*command, f'-I{python_include}', str(header), '-o', f'{header}.gch'], check=True)
    return f'-O2 -g0 -w -Winvalid-pch -include {header}'


def start_mmcv_build(env: Environment, requirement: str, wheels: Path) -> subprocess.Popen:
    """Start building the operators; the caller goes on installing what does not need them."""
    if not shutil.which('g++'):
        fail('g++ is needed to build the mmcv operators; install it (apt install g++) or offer a wheel by PIP_FIND_LINKS.')
    flags = precompile_header(env, CACHE / f'header-{env.stack}')
    settings = dict(MMCV_WITH_OPS='1', FORCE_CUDA='0', CFLAGS=flags, MAX_JOBS=str(os.cpu_count()))
    settings['PATH'] = f'{env.python.parent}{os.pathsep}{os.environ["PATH"]}'
    log = (CACHE / f'mmcv-{env.stack}.log').open('w')
    command = [env.python, '-m', 'pip', '-v', 'wheel', '--no-deps', '--no-build-isolation', '--no-binary', requirement.split('==')[0]]
    print(f'setup:   building {requirement} (about 2.5 minutes on two cores, log in {log.name})', flush=True)
    return subprocess.Popen([*command, '-w', wheels, requirement], env=os.environ | settings, stdout=log, stderr=log)


def install_libraries(env: Environment) -> None:
    """Everything beside torch; the mmcv build, if there is one, runs meanwhile."""
    requirement = pinned(env.stack, 'mmcv')
    wheels = CACHE / 'wheels' / hashlib.sha256(text_of('torch.txt').encode()).hexdigest()[:12]
    wheels.mkdir(parents=True, exist_ok=True)
    build = None if find_wheel(env, requirement, wheels) else start_mmcv_build(env, requirement, wheels)
    started = time.monotonic()
    try:
        env.install('common.txt', 'torch.txt')
        print(f'setup:   common libraries in {time.monotonic() - started:.0f} s', flush=True)
        if build and build.wait():
            fail(f'the mmcv build failed, see {CACHE}/mmcv-{env.stack}.log; a fitting wheel can be offered by PIP_FIND_LINKS.')
    finally:
        if build and build.poll() is None:
            build.terminate()
    env.pip('install', '-c', str(CONSTRAINTS), '--find-links', str(wheels), '-r', str(REQUIREMENTS / f'{env.stack}.txt'))


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--stack', choices=STACKS, default='onedl')
    env = Environment(parser.parse_args(argv).stack)
    started = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    env.step('environment', sys.version, lambda: make_venv(env))
    env.step('torch', text_of('torch.txt', 'build.txt'), lambda: env.install('build.txt', 'torch.txt'))
    libraries = text_of('torch.txt', 'common.txt', 'constraints.txt', f'{env.stack}.txt')
    env.step('libraries', libraries, lambda: install_libraries(env))
    package = (ROOT / 'setup.py').read_text()
    env.step('package', package, lambda: env.pip('install', '--no-build-isolation', '--no-deps', '-e', '.'))
    print(f'setup: {env.path.name} ready ({time.monotonic() - started:.0f} s)', flush=True)


if __name__ == '__main__':
    main()
