"""All tools answer --help and wrong arguments at once, before a heavy library is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'torchvision', 'matplotlib', 'sklearn', 'pymoo', 'onnxruntime')
# runs a tool as `python tools/x.py` does and prints its exit status and the heavy modules that were imported
CALL = """
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as stop:
    print('\\nstatus', stop.code)
print('imported', *sorted(set({heavy!r}) & set(sys.modules)))
"""


def call(tool: str, *arguments: str) -> tuple[str, str]:
    """The exit status of a tool and the heavy modules that it imported."""
    code = f'import sys; sys.argv = {[f"tools/{tool}", *arguments]!r}\n' + CALL.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    status = next(line.split()[1] for line in lines if line.startswith('status '))
    return status, lines[-1].removeprefix('imported').strip()


@pytest.mark.parametrize('tool', TOOLS)
def test_help_imports_nothing_heavy(tool):
    assert call(tool, '--help') == ('0', '')


@pytest.mark.parametrize('tool', TOOLS)
def test_a_wrong_argument_imports_nothing_heavy(tool):
    assert call(tool, '--no-such-option') == ('2', '')
