"""ncnn files: convert an ONNX file with pnnx, name the inputs and outputs, write the description.

An ncnn network is three files: ``.param`` (the graph as text), ``.bin`` (the weights, float32) and ``.json`` (the description,
see :class:`~tinynet_mm.deploy.spec.Spec`). The batch is always one image.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ..errors import UserError
from .packages import package
from .spec import INPUT, Spec

RUN = """
import sys
import numpy as np
from tinynet_mm.deploy.backends import open_network
np.savez(sys.argv[3], **open_network(sys.argv[1]).run(np.load(sys.argv[2])))
"""
HEADER = 2  # lines of a .param file before its layers: a number, and the counts of layers and blobs


def to_ncnn(source: Path, target: Path, spec: Spec) -> Path:
    """Convert an ONNX file to ncnn; returns ``target``.

    Args:
        source: the ONNX file, with a batch of one image.
        target: the ``.param`` file to write; ``.bin`` and ``.json`` have the same name.
        spec: description of the file.

    Raises:
        UserError: pnnx fails, or the graph has an operator that ncnn does not have.
        MissingPackageError: pnnx or ncnn is not installed.
    """
    program, layer_to_index = package('pnnx').EXEC_PATH, package('ncnn').layer_to_index
    names = [output.name for output in package('onnx').load(str(source), load_external_data=False).graph.output]
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(source, Path(folder) / 'model.onnx')
        shape = f'inputshape=[1,3,{spec.height},{spec.width}]'
        ran = subprocess.run([program, str(copy), shape, 'fp16=0'], capture_output=True, text=True, cwd=folder)
        made, weights = (Path(folder) / f'model.ncnn.{suffix}' for suffix in ('param', 'bin'))
        if ran.returncode or not made.is_file():
            last = ([*ran.stdout.splitlines(), *ran.stderr.splitlines()] or ['no message'])[-1]
            raise UserError(f'pnnx cannot convert the network to ncnn ({last.strip()}); export .onnx or .xml instead.')
        text = made.read_text()
        missing = [kind for kind in layer_types(text) if layer_to_index(kind) < 0]
        if missing:
            raise UserError(f'ncnn does not have the operators {", ".join(missing)}; export .onnx or .xml, or with --post raw.')
        target.write_text(renamed(text, {'in0': INPUT} | {f'out{place}': name for place, name in enumerate(names)}))
        shutil.copy(weights, target.with_suffix('.bin'))
    target.with_suffix('.json').write_text(spec.to_json())
    return target


def layer_types(text: str) -> list[str]:
    """The types of the layers of a ``.param`` file, without repetition."""
    return list(dict.fromkeys(line.split()[0] for line in text.splitlines()[HEADER:] if line.strip()))


def renamed(text: str, names: dict[str, str]) -> str:
    """The text of a ``.param`` file with other names of blobs."""
    return re.sub(r'(?<=\s)(in0|out\d+)(?=\s)', lambda found: names.get(found[0], found[0]), text)


def run_apart(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a file in a process of its own, since ncnn stops the process on some wrong graphs; returns the outputs by name.

    Args:
        path: the ``.param`` file.
        images: a batch in the form of the description.

    Raises:
        UserError: the file does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / 'images.npy', Path(folder) / 'outputs.npz'
        np.save(given, images)
        ran = subprocess.run([sys.executable, '-c', RUN, str(path), str(given), str(found)], capture_output=True, text=True)
        if ran.returncode:
            last = f'signal {-ran.returncode}' if ran.returncode < 0 else (ran.stderr.splitlines() or [''])[-1]
            raise UserError(f'ncnn cannot run the converted network ({last}); export .onnx or .xml, or with --post raw.')
        with np.load(found) as outputs:
            return dict(outputs)
