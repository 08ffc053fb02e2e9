"""Check the environment: versions, the distribution of each MMLab package, compiled operators, the GPU.

    python tools/doctor.py        # exit status 1 if a check fails; the line below a failure says how to fix it

It uses the standard library only and tries each import in a separate process, so it also works if a package is missing or
crashes. It finds the known faults of this stack: torch and torchvision from different builds, mmcv without operators or built
for another torch, an original and a fork of one MMLab package installed together, two different versions of OpenCV.
"""

import argparse
import importlib.metadata as metadata
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
EXTRAS = {
    'timm': 'onedl',
    'scikit-learn': 'formula',
    'pymoo': 'formula',
    'grad-cam': 'cam',
    'onnx': 'deploy',
    'onnxruntime': 'deploy',
    'ray': 'ray',
}
PYTHONS = ((3, 11), (3, 12))
CHECKOUT = (Path(__file__).resolve().parents[1] / 'requirements').is_dir()  # not in a wheel
OPERATORS = 'MMCV_WITH_OPS=1 FORCE_CUDA=0 pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps onedl-mmcv'
STACK = (
    'make env, or pip install -r requirements/onedl.txt (openmmlab.txt for the originals)'
    if CHECKOUT
    else 'install torch and mmcv with operators (see docs/installation.md), then pip install "tinynet_mm[onedl]"'
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``state`` is 'ok', 'note' (it works, with a limit) or 'FAIL', which has a fix."""

    state: str
    part: str
    text: str
    fix: str = ''

    def __str__(self) -> str:
        return f'{self.state:5} {self.part:12} {self.text}' + (f'\n      fix: {self.fix}' if self.fix else '')


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def probe(code: str) -> tuple[bool, str]:
    """Run ``code`` in a new Python process; returns success, and the last line of the output or of the error.

    ``-P`` keeps Python from importing files of the current folder.
    """
    done = subprocess.run([sys.executable, '-P', '-W', 'ignore', '-c', code], capture_output=True, text=True)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f'exit code {done.returncode}'


def check_python() -> list[Finding]:
    """The version of Python."""
    state = 'ok' if sys.version_info[:2] in PYTHONS else 'note'
    return [Finding(state, 'python', f'{sys.version.split()[0]} at {sys.executable} (supported: 3.11, 3.12)')]


def check_torch() -> list[Finding]:
    """Torch and torchvision are of one build; otherwise the operators of torchvision are missing."""
    pair = f'torch {version_of("torch")} with torchvision {version_of("torchvision")}'
    good, last = probe('import torch, torchvision; torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)')
    if good:
        return [Finding('ok', 'torch', f'{pair}; torchvision::nms works')]
    pins = '-r requirements/torch.txt' if CHECKOUT else 'torch torchvision'
    fix = f'install the pair from one index: pip install --force-reinstall {pins}'
    return [Finding('FAIL', 'torch', f'{pair}: {last}', fix)]


def check_gpu() -> list[Finding]:
    """The GPUs that torch finds, and whether mmcv has operators for them."""
    code = (
        'import torch; from mmcv.ops import get_compiling_cuda_version as v; '
        'n = torch.cuda.device_count(); print(*[torch.cuda.get_device_name(i) for i in range(n)] or "-", v(), sep="|")'
    )
    good, last = probe(code)
    if not good:
        return [Finding('note', 'gpu', f'not checked: torch or mmcv does not load ({last})')]
    *names, compiled = last.split('|')
    if names == ['-']:
        return [Finding('ok', 'gpu', 'none: everything runs on the CPU')]
    if compiled == 'not available':
        text = f'{", ".join(names)}; mmcv has CPU operators only: training uses the GPU, NMS needs boxes on the CPU'
        build = 'rm -r .cache/wheels .venv*/.stamps/libraries && make env' if CHECKOUT else OPERATORS.replace('CUDA=0', 'CUDA=1')
        return [Finding('note', 'gpu', text, f'with nvcc on the PATH: {build}')]
    return [Finding('ok', 'gpu', f'{", ".join(names)}; mmcv operators for CUDA {compiled}')]


def check_distributions() -> list[Finding]:
    """The distribution of each MMLab package; two distributions of one package overwrite each other's files."""
    sources = metadata.packages_distributions()
    findings = []
    for part in MMLAB:
        names = sorted(set(sources.get(part, [])))
        found = ' and '.join(f'{name} {version_of(name)}' for name in names)
        if not names:
            findings.append(Finding('FAIL', part, 'not installed', STACK))
        elif len(names) > 1:
            fix = f'pip uninstall {" ".join(names)}, then {STACK}'
            findings.append(Finding('FAIL', part, f'installed twice, from {found}', fix))
        elif names == ['mmcv-lite']:
            findings.append(
                Finding('FAIL', part, f'from {found}, which has no operators', f'pip uninstall mmcv-lite, then {STACK}')
            )
        else:
            findings.append(Finding('ok', part, f'from {found}'))
    return findings


def check_operators() -> list[Finding]:
    """The compiled operators of mmcv load, and one of them runs."""
    good, last = probe('import torch; from mmcv.ops import nms; nms(torch.rand(3, 4).cumsum(1), torch.rand(3), 0.5)')
    if good:
        return [Finding('ok', 'mmcv.ops', 'operators load, nms works')]
    fix = 'rebuild for this torch: ' + ('rm -r .cache/wheels .venv*/.stamps/libraries && make env' if CHECKOUT else OPERATORS)
    return [Finding('FAIL', 'mmcv.ops', last, fix)]


def check_opencv() -> list[Finding]:
    """OpenCV has one version: mmcv installs opencv-python, grad-cam opencv-python-headless, both in the same folder."""
    found = {name: version for name in OPENCV if (version := version_of(name))}
    text = ', '.join(f'{name} {version}' for name, version in found.items()) or 'not installed'
    good, last = probe('import cv2; print(cv2.__version__)')
    if not good:
        fix = f'pip install --force-reinstall --no-deps opencv-python-headless=={next(iter(found.values()), "4.12.0.88")}'
        return [Finding('FAIL', 'opencv', f'{text}: {last}', fix)]
    if len(set(found.values())) > 1:
        version = found.get('opencv-python') or min(found.values())
        fix = 'pip install --force-reinstall --no-deps ' + ' '.join(f'{name}=={version}' for name in found)
        return [Finding('FAIL', 'opencv', f'different versions in one folder: {text}', fix)]
    return [Finding('ok', 'opencv', text)]


def check_package() -> list[Finding]:
    """This package: versions fit, classes are registered, and configs are found."""
    code = (
        'import tinynet_mm; from mmengine.registry import MODELS; import mmdet; '
        'from tinynet_mm.mmlab.registration import config_root; '
        'missing = [n for n in ("TinyNet", "SSDLiteHead") if MODELS.get(n) is None]; assert not missing, missing; '
        'print(tinynet_mm.__version__, "with configs in", config_root() / "configs")'
    )
    good, last = probe(code)
    if good:
        return [Finding('ok', 'tinynet_mm', last)]
    return [Finding('FAIL', 'tinynet_mm', last, f'fix the lines above first; then {"make env" if CHECKOUT else STACK}')]


def check_extras() -> list[Finding]:
    """The optional packages, with the pip command for a missing one."""
    versions = {name: version_of(name) for name in EXTRAS}
    found = ', '.join(f'{name} {version}' for name, version in versions.items() if version)
    absent = [name for name, version in versions.items() if not version]
    notes = [Finding('note', name, f'not installed: pip install "tinynet_mm[{EXTRAS[name]}]"') for name in absent]
    return [Finding('ok', 'extras', found or 'none'), *notes]


def check_runtime() -> list[Finding]:
    """An environment without torch and MMLab: it runs exported files, counts costs, and converts data."""
    text = 'neither torch nor MMLab is installed: exported files run, training does not'
    return [Finding('note', 'training', text, STACK)]


RUNTIME = (check_python, check_runtime, check_opencv, check_extras)
CHECKS = (check_python, check_torch, check_distributions, check_operators, check_gpu, check_opencv, check_package, check_extras)


def main(argv: list[str] | None = None) -> int:
    """Run all checks and print the findings; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    sources = metadata.packages_distributions()
    checks = CHECKS if any(package in sources for package in ('torch', *MMLAB)) else RUNTIME
    with ThreadPoolExecutor(2) as pool:
        findings = [finding for part in pool.map(lambda check: check(), checks) for finding in part]
    print(*findings, sep='\n')
    wrong = [finding.part for finding in findings if finding.state == 'FAIL']
    print(f'doctor: failed: {", ".join(wrong)}' if wrong else 'doctor: all checks passed')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
