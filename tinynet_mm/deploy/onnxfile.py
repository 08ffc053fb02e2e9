"""ONNX files: trace a torch module, simplify the graph, attach the description.

The tracing exporter of torch is used: the new one needs another package (onnxscript) and takes 30 s instead of 4 s for the same
detector.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .packages import package
from .spec import INPUT, KEY, Spec

if TYPE_CHECKING:
    import onnx

OPSET = 17
BATCH, FOUND = 'batch', 'found'  # names of free dimensions: the images, and the boxes after suppression


def trace(graph: nn.Module, images: Tensor, path: Path, names: Sequence[str], dynamic: Mapping[str, str]) -> Path:
    """Write a module as ONNX with the input ``images`` and the given output names; returns the path.

    Args:
        graph: a module in evaluation mode on the CPU; its batch norms are folded into convolutions.
        images: an example batch.
        path: the file.
        names: of the outputs.
        dynamic: the name of the first dimension of each input or output where it is free; the others are those of the example.
    """
    axes = {name: {0: dimension} for name, dimension in dynamic.items()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', UserWarning)  # constants of the graph, among them the anchors
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        options: dict[str, Any] = dict(input_names=[INPUT], output_names=list(names), dynamic_axes=axes or None)
        torch.onnx.export(graph, (images,), str(path), dynamo=False, opset_version=OPSET, **options)
    return path


def finish(path: Path, spec: Spec) -> Path:
    """Simplify a file with onnxslim and attach the description; returns the path."""
    onnx = package('onnx')
    logging.getLogger('onnxslim').setLevel(logging.ERROR)
    model = package('onnxslim').slim(onnx.load(path))
    attach(model, spec)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def attach(model: 'onnx.ModelProto', spec: Spec) -> None:
    """Write the description into the metadata of a model, in place of an older one."""
    kept = {prop.key: prop.value for prop in model.metadata_props} | {KEY: spec.to_json()}
    package('onnx').helper.set_model_props(model, kept)
