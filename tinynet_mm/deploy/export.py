"""Export a classifier to ONNX, and check the file against the model it came from.

Eager PyTorch hides what a tiny network saves (its time is mostly overhead), so latency is measured on what this writes, in ONNX
Runtime. Batch norms are folded into their convolutions on the way.
"""

import copy
import os
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import atomic

OPSET = 17
TOLERANCE = 1e-4  # of the largest output; float32 sums in another order differ by about 1e-6 in a trained network
SLACK = 20  # times the model's own rounding error, which random weights (here to be timed) raise to 1e-3 and more


class Classifier(nn.Module):
    """A bare classifier around a backbone: its last map pooled, then a linear layer.

    Maps normalised images (B, 3, H, W) to logits (B, classes). It serves to export and time an architecture; trained classifiers
    are exported as they are.
    """

    def __init__(self, backbone: nn.Module, classes: int = 1000):
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.out_channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images)[-1].mean(dim=(2, 3)))


def export_onnx(model: nn.Module, path: str | Path, resolution: int, batch: int = 1) -> Path:
    """Write ``model`` in evaluation mode as ONNX for images (batch, 3, resolution, resolution), and verify the file.

    Args:
        model: a module from images to logits: :class:`Classifier`, or an ``ImageClassifier`` of mmpretrain, of which the
            preprocessing stays outside: the file wants normalised images.
        batch: fixed in the file, as runtimes plan memory for it.

    Returns:
        the path; input ``images``, output ``logits``, float32.

    Raises:
        UserError: outputs of the file and of the model differ, or the model does not return one tensor.
    """
    path, training = Path(path), model.training
    images = torch.randn(batch, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    device = next(model.parameters()).device
    model.eval().cpu()
    try:
        with torch.no_grad():
            expected = model(images)
            if not isinstance(expected, Tensor):
                raise UserError(
                    f'{type(model).__name__} returns a {type(expected).__name__}; only a model of one tensor is exported.'
                )
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
        names = dict(input_names=['images'], output_names=['logits'])
        torch.onnx.export(model, (images,), str(path), dynamo=False, opset_version=OPSET, **names)


def check_threads(threads: int) -> None:
    if not 1 <= threads <= (os.cpu_count() or 1):
        raise UserError(f'threads={threads}: this machine has 1 to {os.cpu_count()}.')


def session(path: str | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session with ``threads`` threads inside an operator and none across."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'no such ONNX file: {path}')
    check_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def _verify(path: Path, images: np.ndarray, expected: np.ndarray, exact: np.ndarray) -> None:
    """``exact`` is the model in float64: what it differs from ``expected`` is rounding, which the file may have too."""
    runtime = session(path)
    (found,) = runtime.run(None, {runtime.get_inputs()[0].name: images})
    error, rounding = (float(np.abs(a - exact).max() / max(np.abs(exact).max(), 1e-12)) for a in (found, expected))
    if not error <= TOLERANCE + SLACK * rounding:
        raise UserError(f'the exported network differs from the model by {error:.2g} of its largest output; it was not kept.')
