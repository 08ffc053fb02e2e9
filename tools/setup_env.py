"""Set up a virtual environment: torch, an MMLab stack with the operators of mmcv, and this package.

It uses the standard library only, because it runs before anything is installed. Each step writes a stamp with a hash of its
inputs: a second call does nothing, an interrupted call continues, and a changed requirements file repeats its own step only.

    python3.11 tools/setup_env.py                      # .venv, the maintained forks (onedl-*)
    python3.11 tools/setup_env.py --stack openmmlab    # .venv-openmmlab, the original mmengine, mmcv, mmdet, mmpretrain

The mmcv operators: a wheel that pip finds (``PIP_FIND_LINKS``) is used if its operators load. Otherwise the operators are built
once from source with a precompiled header, 2.5 minutes on two cores instead of 16, and the wheel is kept in ``.cache/wheels``
for the next environment. If nvcc is installed, and torch finds a GPU or ``FORCE_CUDA=1`` is set (for a build on a machine without
a GPU, with ``TORCH_CUDA_ARCH_LIST``), the CUDA operators are built too (not tested).
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
STACKS = {'onedl': '.venv', 'openmmlab': '.venv-openmmlab'}
PYTHONS = ((3, 11), (3, 12))  # all tests were run with the first, the set-up and a part of the tests with the second
# All 78 sources of mmcv include torch/types.h. These flags must equal those of the build, otherwise g++ ignores the precompiled
# header: distutils replaces the flags of Python by CFLAGS, and torch adds its flags after them (nvcc gets none of these).
HEADER, HEADER_FLAGS = 'torch_types.h', '-O2 -g0 -w -fPIC -std=c++17'


def fail(message: str) -> NoReturn:
    """Exit with status 1 and one line."""
    sys.exit(f'setup: {message}')


class Environment:
    """A virtual environment, the stamps of its completed steps, and the folders of its checkout."""

    def __init__(self, stack: str, root: Path = ROOT):
        self.stack, self.root = stack, root
        self.path = root / STACKS[stack]
        self.python = self.path / 'bin' / 'python'
        self.cache = root / '.cache'
        self.requirements = root / 'requirements'

    def step(self, name: str, duration: str, key: str, action: Callable[[], object]) -> None:
        """Run ``action`` unless it was completed before with the same ``key``; print its expected and its measured time."""
        stamp = self.path / '.stamps' / name
        digest = hashlib.sha256(key.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        print(f'setup: {name} ({duration}) ...', flush=True)
        started = time.monotonic()
        action()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest)
        print(f'setup: {name} done in {time.monotonic() - started:.0f} s', flush=True)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        """Run the Python of this environment and capture its output."""
        return subprocess.run([self.python, *arguments], cwd=self.root, capture_output=True, text=True)

    def pip(self, *arguments: str | Path) -> None:
        """Run pip, or exit with one line if it fails."""
        command = [self.python, '-m', 'pip', '-qq', '--disable-pip-version-check', *arguments]
        if subprocess.run(command, cwd=self.root).returncode:
            fail(f'pip {" ".join(map(str, arguments))} failed; fix the error of pip above and call again.')

    def install(self, *files: str, options: tuple[str | Path, ...] = ()) -> None:
        """Install the named requirement files with the pinned versions."""
        arguments = [a for f in files for a in ('-r', self.requirements / f)]
        self.pip('install', '-c', self.requirements / 'constraints.txt', *options, *arguments)

    def text_of(self, *files: str) -> str:
        """The text of the named requirement files."""
        return ''.join((self.requirements / f).read_text() for f in files)

    def pinned(self, module: str) -> str:
        """The requirement of ``module`` ('mmcv') in the file of the stack, for instance 'onedl-mmcv==2.3.6'."""
        lines = self.text_of(f'{self.stack}.txt').splitlines()
        return next(line for line in lines if line.split('==')[0].removeprefix('onedl-') == module)


def make_venv(env: Environment) -> None:
    """Create the virtual environment with pip."""
    if sys.version_info[:2] not in PYTHONS:
        fail(f'Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}; call `make PYTHON=/path/to/python3.11`.')
    shutil.rmtree(env.path, ignore_errors=True)
    venv.create(env.path, with_pip=True)


class OperatorWheel:
    """The mmcv wheel with operators: found by pip, kept from an earlier build, or built.

    It is built in a temporary folder and moved when complete, so that an interrupted build or download leaves no wheel.
    """

    def __init__(self, env: Environment):
        self.env, self.requirement = env, env.pinned('mmcv')
        self.with_cuda = bool(shutil.which('nvcc')) and (
            os.environ.get('FORCE_CUDA') == '1' or env.run('-c', 'import torch; 1 / torch.cuda.is_available()').returncode == 0
        )
        key = env.text_of('torch.txt') + ('cuda' if self.with_cuda else '')
        self.folder = env.cache / 'wheels' / hashlib.sha256(key.encode()).hexdigest()[:12]
        self.partial = self.folder / f'partial-{env.stack}'
        self.log = env.cache / f'mmcv-{env.stack}.log'
        self.build: subprocess.Popen | None = None

    def kept(self) -> bool:
        """Whether an earlier build left a wheel for this Python."""
        name, version = self.requirement.split('==')
        tag = 'cp{}{}'.format(*sys.version_info[:2])
        return any(self.folder.glob(f'{name.replace("-", "_")}-{version}-{tag}-*.whl'))

    def find(self) -> bool:
        """Whether a wheel is kept, or pip finds one that fits without a build; the folder then contains it."""
        if self.kept():
            return True
        self.empty_partial()
        options = ('--no-deps', '--only-binary', ':all:', '-d', self.partial)
        return self.env.run('-m', 'pip', '-q', 'download', *options, self.requirement).returncode == 0 and self.keep()

    def empty_partial(self) -> None:
        """Create the temporary folder, empty."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)

    def keep(self) -> bool:
        """Move the wheel out of the temporary folder; returns whether there is one."""
        for wheel in self.partial.glob('*.whl'):
            os.replace(wheel, self.folder / wheel.name)
        shutil.rmtree(self.partial)
        return self.kept()

    def precompile_header(self) -> str:
        """Compile the header of torch once; returns the CFLAGS that make g++ use it."""
        header = self.env.cache / f'header-{self.env.stack}' / HEADER
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text('#include <torch/types.h>\n')
        query = (
            'import sysconfig as s, torch.utils.cpp_extension as c; print(*c.include_paths(), s.get_path("include"), sep="\\n")'
        )
        includes = [f'-I{path}' for path in self.env.run('-c', query).stdout.split('\n') if path]
        command = ['g++', '-x', 'c++-header', *HEADER_FLAGS.split(), *includes, header, '-o', f'{header}.gch']
        if subprocess.run(command).returncode:
            fail('g++ cannot compile the headers of torch, see above; install g++ 9 or later.')
        return f'-O2 -g0 -w -Winvalid-pch -include {header}'

    def start(self) -> None:
        """Start the build in the background; the caller installs other packages meanwhile."""
        if not shutil.which('g++'):
            fail('g++ is needed to build the mmcv operators; install it (apt install g++), or set PIP_FIND_LINKS to a wheel.')
        settings = dict(MMCV_WITH_OPS='1', FORCE_CUDA=str(int(self.with_cuda)), CFLAGS=self.precompile_header())
        settings |= dict(MAX_JOBS=str(os.cpu_count()), PATH=f'{self.env.python.parent}{os.pathsep}{os.environ["PATH"]}')
        self.empty_partial()
        # without the cache of pip, which may contain a wheel for another torch or without operators
        options = ('--no-cache-dir', '--no-deps', '--no-build-isolation', '--no-binary', self.requirement.split('==')[0])
        command = [self.env.python, '-m', 'pip', '-v', 'wheel', *options, '-w', self.partial, self.requirement]
        print(f'setup:   building {self.requirement} (about 2.5 minutes on two cores, log in {self.log})', flush=True)
        with self.log.open('w') as log:  # a new session, so that stop() also ends the compilers
            self.build = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True)

    def finish(self) -> None:
        """Wait for the build, print its progress every 20 seconds, keep its wheel."""
        while True:
            try:
                code = self.build.wait(timeout=20)
                break
            except subprocess.TimeoutExpired:
                done = re.findall(r'^ *\[(\d+/\d+)\]', self.log.read_text(errors='replace'), re.MULTILINE)
                print(f'setup:   mmcv operators: {done[-1] if done else "0"} files compiled', flush=True)
        if code or not self.keep():
            fail(f'the mmcv build failed, see {self.log}; or set PIP_FIND_LINKS to a folder with a wheel that fits.')

    def stop(self) -> None:
        """End the build if it runs."""
        if self.build and self.build.poll() is None:
            os.killpg(self.build.pid, signal.SIGTERM)

    def loads(self) -> bool:
        """Whether the installed operators load."""
        return self.env.run('-c', 'import mmcv.ops').returncode == 0


def install_libraries(env: Environment) -> None:
    """Install all packages except torch; the mmcv build, if one is needed, runs meanwhile."""
    wheel = OperatorWheel(env)
    find_links = ('--find-links', wheel.folder)
    try:
        if not wheel.find():
            wheel.start()
        started = time.monotonic()
        env.install('common.txt', 'torch.txt')
        print(f'setup:   common libraries in {time.monotonic() - started:.0f} s', flush=True)
        if wheel.build:
            wheel.finish()
        env.install(f'{env.stack}.txt', options=find_links)
        if not wheel.loads() and not wheel.build:
            print('setup:   the mmcv wheel that pip found does not load; building one', flush=True)
            wheel.start()
            wheel.finish()
            env.pip('install', '--force-reinstall', '--no-deps', '--no-index', *find_links, wheel.requirement)
        headless_opencv(env)
    finally:
        wheel.stop()


def headless_opencv(env: Environment) -> None:
    """Reinstall opencv-python-headless, which needs no libGL, over opencv-python, which mmcv requires, in the same folder."""
    pin = next(line for line in env.text_of('constraints.txt').splitlines() if line.startswith('opencv-python-headless=='))
    env.pip('install', '--force-reinstall', '--no-deps', pin)


def run_doctor(env: Environment) -> None:
    """Check the environment, or exit with one line if a check fails."""
    if subprocess.run([env.python, env.root / 'tools' / 'doctor.py'], cwd=env.root).returncode:
        fail(f'the environment has a fault, see above; fix it, or delete {env.path.name} and call again.')


def set_up(env: Environment) -> None:
    """Run all steps; skip those that are completed."""
    if env.path.is_symlink():  # its steps would change the environment of another checkout
        fail(f'{env.path.name} is a link to {env.path.resolve()}; remove the link and call again.')
    if not env.python.exists():  # a new environment, or one without its interpreter: start again
        shutil.rmtree(env.path / '.stamps', ignore_errors=True)
    env.step('environment', 'seconds', f'{sys.version_info[:2]} {sys.base_prefix}', lambda: make_venv(env))
    env.step('torch', 'a minute, 5 GB', env.text_of('torch.txt', 'build.txt'), lambda: env.install('build.txt', 'torch.txt'))
    libraries = env.text_of('torch.txt', 'common.txt', 'constraints.txt', f'{env.stack}.txt')
    env.step('libraries', '3 to 4 minutes', libraries, lambda: install_libraries(env))
    package = ' '.join([str(env.root), *((env.root / name).read_text() for name in ('pyproject.toml', 'setup.py'))])
    package += ' '.join(sorted(path.name for path in (env.root / 'configs').glob('*')))  # tinynet_mm/.mim has a link to each
    env.step('package', 'seconds', package, lambda: env.pip('install', '--no-build-isolation', '--no-deps', '-e', '.'))
    env.step('doctor', 'seconds', libraries + package, lambda: run_doctor(env))


def main(argv: list[str] | None = None) -> None:
    """Set up the environment of a stack; a second process waits for the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--stack', choices=STACKS, default='onedl')
    env = Environment(parser.parse_args(argv).stack)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('setup: terminated; call again to continue, completed steps are kept.'))
    started = time.monotonic()
    env.cache.mkdir(exist_ok=True)
    with (env.cache / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second make waits for the first
            set_up(env)
        except KeyboardInterrupt:
            fail('interrupted; call again to continue, completed steps are kept.')
    print(f'setup: {env.path.name} ready ({time.monotonic() - started:.0f} s)', flush=True)


if __name__ == '__main__':
    main()
