"""Look at the environment: versions, where each MMLab part comes from, whether compiled operators load, the GPU.

    python tools/doctor.py        # exit code 1 where something is wrong; the line below it says how to fix it

It stands alone (standard library only, each import tried in a process of its own), because it must also speak where a part is
missing or crashes. What it looks for are the ways in which this stack breaks: torch and torchvision from different builds,
mmcv without operators or built for another torch, both an original and a fork of one MMLab part, two unlike OpenCVs.
"""

import argparse
import importlib.metadata as metadata
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
STACK = 'make env, or pip install -r requirements/onedl.txt (openmmlab.txt for the originals)'


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``state`` is 'ok', 'note' (works, but know it) or 'FAIL', which comes with a fix."""

    state: str
    part: str
    text: str
    fix: str = ''

    def __str__(self) -> str:
        return f'{self.state:5} {self.part:12} {self.text}' + (f'\n      fix: {self.fix}' if self.fix else '')


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def probe(code: str) -> tuple[bool, str]:
    """Run ``code`` in a fresh Python: whether it succeeded, and its last line of output or of the error.

    ``-P`` keeps Python from importing files of the current folder.
    """
    done = subprocess.run([sys.executable, '-P', '-W', 'ignore', '-c', code], capture_output=True, text=True)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f'exit code {done.returncode}'


def check_python() -> list[Finding]:
    state = 'ok' if sys.version_info[:2] == (3, 11) else 'note'
    return [Finding(state, 'python', f'{sys.version.split()[0]} at {sys.executable} (tried with 3.11)')]


def check_torch() -> list[Finding]:
    """torch and torchvision of one build: otherwise torchvision's operators are missing."""
    pair = f'torch {version_of("torch")} with torchvision {version_of("torchvision")}'
    good, last = probe('import torch, torchvision; torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)')
    if good:
        return [Finding('ok', 'torch', f'{pair}; torchvision::nms works')]
    fix = 'install the pair from one index: pip install --force-reinstall -r requirements/torch.txt'
    return [Finding('FAIL', 'torch', f'{pair}: {last}', fix)]


def check_gpu() -> list[Finding]:
    code = (
        'import torch; from mmcv.ops import get_compiling_cuda_version as v; '
        'n = torch.cuda.device_count(); print(*[torch.cuda.get_device_name(i) for i in range(n)] or "-", v(), sep="|")'
    )
    good, last = probe(code)
    if not good:
        return [Finding('note', 'gpu', f'not looked at, since torch or mmcv does not load ({last})')]
    *names, compiled = last.split('|')
    if names == ['-']:
        return [Finding('ok', 'gpu', 'none: everything runs on the CPU')]
    if compiled == 'not available':
        text = f'{", ".join(names)}; mmcv has CPU operators only: training uses the GPU, NMS needs boxes on the CPU'
        return [Finding('note', 'gpu', text, 'with nvcc on the PATH: rm -r .cache/wheels .venv/.stamps/libraries && make env')]
    return [Finding('ok', 'gpu', f'{", ".join(names)}; mmcv operators for CUDA {compiled}')]


def check_distributions() -> list[Finding]:
    """Which distribution each MMLab part comes from; two for one part overwrite each other's files."""
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
    """mmcv's compiled operators load and one of them computes."""
    good, last = probe('import torch; from mmcv.ops import nms; nms(torch.rand(3, 4).cumsum(1), torch.rand(3), 0.5)')
    if good:
        return [Finding('ok', 'mmcv.ops', 'operators load, nms works')]
    fix = 'rebuild for this torch: rm -r .cache/wheels .venv*/.stamps/libraries && make env'
    return [Finding('FAIL', 'mmcv.ops', last, fix)]


def check_opencv() -> list[Finding]:
    """mmcv asks for opencv-python, grad-cam for its headless twin, into one folder: harmless if both are of one version."""
    found = {name: version for name in OPENCV if (version := version_of(name))}
    text = ', '.join(f'{name} {version}' for name, version in found.items()) or 'not installed'
    good, last = probe('import cv2; print(cv2.__version__)')
    if not good:
        fix = f'pip install --force-reinstall --no-deps opencv-python-headless=={next(iter(found.values()), "4.12.0.88")}'
        return [Finding('FAIL', 'opencv', f'{text}: {last}', fix)]
    if len(set(found.values())) > 1:
        version = found.get('opencv-python') or min(found.values())
        fix = 'pip install --force-reinstall --no-deps ' + ' '.join(f'{name}=={version}' for name in found)
        return [Finding('FAIL', 'opencv', f'unlike versions in one folder: {text}', fix)]
    return [Finding('ok', 'opencv', text)]


def check_package() -> list[Finding]:
    """Ours: versions fit, classes register, and configs are found by name."""
    code = (
        'import tinynet_mm; from mmengine.registry import MODELS; import mmdet; '
        'from tinynet_mm.mmlab.registration import config_root; '
        'missing = [n for n in ("TinyNet", "SSDLiteHead") if MODELS.get(n) is None]; assert not missing, missing; '
        'print(tinynet_mm.__version__, "with configs in", config_root() / "configs")'
    )
    good, last = probe(code)
    if good:
        return [Finding('ok', 'tinynet_mm', last)]
    return [Finding('FAIL', 'tinynet_mm', last, 'fix the lines above first; then make env, or pip install -e .')]


def check_extras() -> list[Finding]:
    versions = {name: version_of(name) for name in EXTRAS}
    found = ', '.join(f'{name} {version}' for name, version in versions.items() if version)
    absent = [name for name, version in versions.items() if not version]
    notes = [Finding('note', name, f'absent: pip install "tinynet_mm[{EXTRAS[name]}]"') for name in absent]
    return [Finding('ok', 'extras', found or 'none'), *notes]


CHECKS = (check_python, check_torch, check_distributions, check_operators, check_gpu, check_opencv, check_package, check_extras)


def main(argv=None) -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    with ThreadPoolExecutor(2) as pool:
        findings = [finding for part in pool.map(lambda check: check(), CHECKS) for finding in part]
    print(*findings, sep='\n')
    wrong = [finding.part for finding in findings if finding.state == 'FAIL']
    print(f'doctor: wrong: {", ".join(wrong)}' if wrong else 'doctor: all is well')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
