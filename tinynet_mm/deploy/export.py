"""Export a classifier to ONNX, and compare the file with the model.

The time of a tiny network in eager PyTorch is mostly overhead, so latency is measured on the exported file, in ONNX Runtime. The
export folds batch norms into their convolutions.
"""

import copy
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import MissingPackageError, UserError
from ..files import atomic

if TYPE_CHECKING:
    import onnxruntime

OPSET = 17
TOLERANCE = 1e-4  # of the largest output; float32 sums in another order differ by about 1e-6 in a trained network
SLACK = 20  # times the rounding error of the model, which is 1e-3 and more with random weights
MISSING = 'export to ONNX and latency need onnx and onnxruntime; {} is not installed: pip install "tinynet_mm[deploy]"'


def runtime_package() -> ModuleType:
    """Import onnxruntime.

    Raises:
        MissingPackageError: it is not installed; the message names the pip command.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(MISSING.format('onnxruntime')) from error
    return onnxruntime


def _check_packages() -> None:
    """Check that an export can be written and verified, before any work: torch.onnx.export needs onnx."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(MISSING.format('onnx')) from error
    runtime_package()


def export_onnx(model: nn.Module, path: str | Path, resolution: int, batch: int = 1) -> Path:
    """Write ``model`` in evaluation mode as ONNX for images (batch, 3, resolution, resolution), and verify the file.

    Args:
        model: a module that maps images to logits: :class:`tinynet_mm.models.Classifier`, or an ``ImageClassifier`` of
            mmpretrain. Preprocessing is not exported: the input of the file is normalised images.
        path: the file to write.
        resolution: height and width of the images in pixels.
        batch: batch size, fixed in the file because runtimes plan memory for it.

    Returns:
        the path; the file has the input ``images`` and the output ``logits``, both float32.

    Raises:
        UserError: the outputs of the file and of the model differ, or the model does not return one tensor.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    _check_packages()
    path, training = Path(path), model.training
    images = torch.randn(batch, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    device = next(model.parameters()).device
    model.eval().cpu()
    try:
        with torch.no_grad():
            expected = model(images)
            if not isinstance(expected, Tensor):
                found = f'{type(model).__name__} returns a {type(expected).__name__}'
                raise UserError(f'{found}; only models that return one tensor are exported.')
            exact = copy.deepcopy(model).double()(images.double())
        with atomic(path) as temporary:
            _write(model, images, temporary)
            _verify(temporary, images.numpy(), expected.numpy(), exact.numpy())
    finally:
        model.train(training).to(device)
    return path


def _write(model: nn.Module, images: Tensor, path: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        # the tracing exporter is deprecated, but the new one needs another package (onnxscript)
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        torch.onnx.export(
            model, (images,), str(path), dynamo=False, opset_version=OPSET, input_names=['images'], output_names=['logits']
        )


def check_threads(threads: int) -> None:
    """Check a number of threads.

    Raises:
        UserError: it is below 1, or above the number of cores of this machine.
    """
    if not 1 <= threads <= (os.cpu_count() or 1):
        raise UserError(f'threads={threads}: this machine has {os.cpu_count()} cores; give 1 to {os.cpu_count()}.')


def session(path: str | Path, threads: int = 1) -> 'onnxruntime.InferenceSession':
    """Open a CPU session with ``threads`` threads within an operator and one operator at a time.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the number of threads is not available.
        MissingPackageError: onnxruntime is not installed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no such ONNX file: {path}')
    check_threads(threads)
    package = runtime_package()
    options = package.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return package.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def _verify(path: Path, images: np.ndarray, expected: np.ndarray, exact: np.ndarray) -> None:
    """Compare the file with ``exact``, the output in float64; it may differ by the rounding error of ``expected`` (float32)."""
    runtime = session(path)
    (found,) = runtime.run(None, {runtime.get_inputs()[0].name: images})
    error, rounding = (float(np.abs(a - exact).max() / max(np.abs(exact).max(), 1e-12)) for a in (found, expected))
    if not error <= TOLERANCE + SLACK * rounding:
        raise UserError(
            f'the exported network differs from the model by {error:.2g} of its largest output; the file was deleted.'
        )
