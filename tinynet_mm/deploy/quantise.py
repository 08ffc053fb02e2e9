"""Static int8 quantisation of an exported ONNX file: ONNX Runtime (QDQ) or OpenVINO (NNCF), per channel, calibrated on images.

Only convolutions and linear layers are quantised, and with ReLU or ReLU6 the additions between them. Squeeze-excite, sigmoids and
the decoding of boxes stay in float: a gate or a box that shares one int8 scale with other values loses its small values
(onnxruntime issue 14233). Which other layers stay in float is measured: :func:`sensitivities` quantises one block at a time.

Weights have 7 bits. A processor without VNNI adds two products in 16 bits, which overflow with weights of 8 bits, so that the
accuracy would depend on the processor. Measured on an AMD EPYC with AVX2, in points lost in ONNX Runtime and OpenVINO: TinyNet-E
with ReLU6 (top-1 66.2 on 3000 images of CIFAR-10) 3.0 and 1.0 with 8 bits, 0.2 and 0.3 with 7 bits. SSDLite at 320 pixels on 87
images of BCCD, with mAP 28.7 2.0 and 1.2 with 8 bits, 0.1 and -0.1 with 7 bits; with mAP 45.0 0.4 and 0.5, 0.3 and 0.4.
"""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, one_line
from .backends import open_network
from .onnxfile import attach
from .packages import package
from .signals import same_signal_stack
from .spec import INPUT, KEY, Spec

if TYPE_CHECKING:
    import onnx

QUANTISED = ('Conv', 'Gemm', 'MatMul')
STEPS = (1, 2, 4, 8, 16)  # blocks that stay in float, one attempt each
SENSITIVITY_BATCHES = 16
SMOOTH = ('Sigmoid', 'HardSigmoid', 'HardSwish')  # activations after which additions stay in float


def layers(path: str | Path) -> dict[str, list[str]]:
    """The layers of an ONNX file that can be quantised, by block.

    They are the convolutions and linear layers without squeeze-excite, and the additions of a backbone with ReLU or ReLU6.
    """
    model = package('onnx').load(str(path))
    blocks: dict[str, list[str]] = {}
    skipped = squeeze_excite(model)
    backbone = [node for node in model.graph.node if 'backbone' in node.name]
    smooth = any(node.op_type in SMOOTH for node in backbone if node.name not in skipped)
    for node in model.graph.node:
        addition = node.op_type == 'Add' and 'backbone' in node.name and not smooth
        if node.name not in skipped and (addition or node.op_type in QUANTISED):
            blocks.setdefault(block_of(node.name), []).append(node.name)
    return blocks


def block_of(name: str) -> str:
    """The block of a layer: its module path without the last two parts, for instance ``backbone/blocks.3/blocks.3.1``."""
    parts = [part for part in name.split('/') if part not in ('', 'model', 'graph')]
    return '/'.join(parts[:-2]) or parts[0]


def squeeze_excite(model: 'onnx.ModelProto') -> set[str]:
    """The nodes of squeeze-excite: those whose only inputs are means over the image, up to the multiplication with it."""
    constants = {tensor.name for tensor in model.graph.initializer}
    pooled: set[str] = set()
    found = set()
    for node in model.graph.node:  # in topological order
        inputs = {name for name in node.input if name and name not in constants}
        if node.op_type in ('GlobalAveragePool', 'ReduceMean'):
            pooled |= set(node.output)
        elif inputs and inputs <= pooled and node.op_type not in ('Flatten', 'Gemm', 'MatMul'):
            pooled |= set(node.output)
            found.add(node.name)
        elif node.op_type == 'Constant':
            constants |= set(node.output)
    return found


def activations(model: 'onnx.ModelProto', names: Iterable[str]) -> list[str]:
    """The ReLU and ReLU6 after the named layers. If they are quantised too, ONNX Runtime runs them inside the int8 layers.

    Otherwise it converts to float and back around each of them: an SSDLite detector took 1.26 times the time of float instead of
    0.80 times (sums over all operators, one thread of an AMD EPYC).
    """
    wanted = set(names)
    outputs = {output for node in model.graph.node if node.name in wanted for output in node.output}
    return [node.name for node in model.graph.node if node.op_type in ('Relu', 'Clip') and node.input[0] in outputs]


def quantise_onnx(
    source: str | Path,
    target: Path,
    batches: Sequence[np.ndarray],
    keep_float: Iterable[str] = (),
    ranges: Path | None = None,
) -> Path:
    """Write an int8 ONNX file with the nodes QuantizeLinear and DequantizeLinear; returns its path.

    Args:
        source: an ONNX file from :func:`~tinynet_mm.deploy.export.export_model`.
        target: the file to write.
        batches: inputs of the file for calibration.
        keep_float: names of layers that stay in float.
        ranges: a JSON file with the ranges of all tensors of ``source`` on ``batches``. The first call writes it, and other calls
            read it instead of running the batches, which is most of their time.
    """
    quantization = package('onnxruntime.quantization')
    onnx = package('onnx')
    excluded = set(keep_float)
    chosen = [name for names in layers(source).values() for name in names if name not in excluded]
    if not chosen:
        raise UserError(f'{source} has no layer left to quantise; keep fewer layers in float.')

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch}

    with _quiet():
        quantization.quantize_static(
            str(source), str(target), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=[*chosen, *activations(onnx.load(str(source)), chosen)],
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8, reduce_range=True,
            calibrate_method=quantization.CalibrationMethod.MinMax, calibration_cache_path=ranges,
        )  # fmt: skip
    made = onnx.load(str(target))
    attach(made, _int8_spec(source))
    onnx.save(made, str(target))
    return target


@contextlib.contextmanager
def _quiet() -> Any:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def sensitivities(source: str | Path, batches: Sequence[np.ndarray]) -> dict[str, float]:
    """The error of each block: the relative change of the scores or logits if this block alone is quantised, largest first.

    Args:
        source: an ONNX file.
        batches: inputs of the file; they calibrate and measure.
    """
    blocks = layers(source)
    reference = _answers(source, batches)
    errors = {}
    with tempfile.TemporaryDirectory() as folder:
        for block in blocks:
            others = [name for key, names in blocks.items() if key != block for name in names]
            path = quantise_onnx(source, Path(folder) / 'one.onnx', batches, others, Path(folder) / 'ranges.json')
            errors[block] = float(np.sqrt(np.mean((_answers(path, batches) - reference) ** 2) / np.mean(reference**2)))
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def _answers(path: str | Path, batches: Sequence[np.ndarray]) -> np.ndarray:
    network = open_network(path)
    name = 'logits' if network.spec.post == 'logits' else 'scores'
    return np.concatenate([np.asarray(network.run(batch)[name]).ravel() for batch in batches]).astype(np.float64)


@same_signal_stack()
def quantise_openvino(source: str | Path, target: Path, batches: Sequence[np.ndarray], keep_float: Iterable[str] = ()) -> Path:
    """Write an int8 OpenVINO file (``.xml`` with ``.bin``) with NNCF; arguments as :func:`quantise_onnx`."""
    package('openvino')
    nncf = package('nncf')
    model = read_openvino(source)
    wanted = {*keep_float, *squeeze_excite(package('onnx').load(str(source)))}
    known = [op.get_friendly_name() for op in model.get_ops()]
    names = [name for name in known if name.removesuffix('/WithoutBiases') in wanted]  # OpenVINO splits the bias off
    with _quiet():
        nncf.set_log_level(logging.ERROR)
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(batches)),
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=names, types=['Sigmoid', 'Exp', 'Softmax'], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    return save_openvino(quantised, _int8_spec(source), target)


def read_openvino(source: str | Path) -> Any:
    """An ONNX file as a model of OpenVINO.

    Raises:
        UserError: OpenVINO does not have an operator of the file.
    """
    try:
        return package('openvino').convert_model(str(source))
    except RuntimeError as error:  # the base of the errors of OpenVINO
        raise UserError(f'OpenVINO cannot convert the network ({one_line(error)}); export .onnx instead.') from error


def save_openvino(model: Any, spec: Spec, target: Path) -> Path:
    """Write an OpenVINO model and its description as ``.xml`` and ``.bin``, with the same precision; returns ``target``."""
    model.set_rt_info(spec.to_json(), [KEY])
    package('openvino').save_model(model, str(target), compress_to_fp16=False)
    return target


def _int8_spec(source: str | Path) -> Spec:
    return replace(open_network(source).spec, precision='int8')


def loss(before: float, after: float) -> float:
    """The loss in points of a metric, 0 to 1, without the error of the subtraction."""
    return round(100 * (before - after), 6)


@dataclass(frozen=True)
class Attempt:
    """An int8 file.

    Attributes:
        path: of the file.
        value: its metric, 0 to 1.
        kept: the blocks in float, the most sensitive first.
    """

    path: Path
    value: float
    kept: tuple[str, ...] = ()


def attempts(
    source: Path, target: Callable[[int], Path], batches: Sequence[np.ndarray], score: Callable[[Path], float]
) -> Iterator[Attempt]:
    """Write int8 files one after the other: first all layers, then with 1, 2, 4, 8 and 16 of the most sensitive blocks in float.

    The sensitivities are measured once, and only if the caller asks for a second file.

    Args:
        source: the float ONNX file.
        target: the file for a number of blocks in float, .onnx (QDQ) or .xml (OpenVINO).
        batches: inputs for the calibration.
        score: the metric of a file, 0 to 1.
    """
    blocks = layers(source)
    order: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        in_onnx = partial(quantise_onnx, ranges=Path(folder) / 'ranges.json')
        for count in (0, *(n for n in STEPS if n < len(blocks))):
            if count and not order:
                order = list(sensitivities(source, batches[:SENSITIVITY_BATCHES]))
            path, kept = target(count), tuple(order[:count])
            write = quantise_openvino if path.suffix == '.xml' else in_onnx
            write(source, path, batches, [name for block in kept for name in blocks[block]])
            yield Attempt(path, score(path), kept)


def quantise(
    source: Path,
    target: Path,
    batches: Sequence[np.ndarray],
    score: Callable[[Path], float],
    metric: str,
    max_drop: float,
) -> Iterator[str]:
    """Write an int8 file that loses at most ``max_drop`` points; yields a line for each attempt.

    All layers are quantised first. If the loss is too large, the most sensitive blocks stay in float: 1, 2, 4, 8 and then 16.

    Args:
        source: the float ONNX file.
        target: the file to write, .onnx (QDQ) or .xml (OpenVINO).
        batches: inputs for the calibration.
        score: the metric of a file, 0 to 1.
        metric: its name.
        max_drop: in points.

    Raises:
        UserError: the loss stays above ``max_drop``; the message has the most sensitive blocks.
    """
    before, least = score(source), math.inf
    for attempt in attempts(source, lambda count: target, batches, score):
        drop = loss(before, attempt.value)
        least = min(least, drop)
        kept = f', in float: {", ".join(attempt.kept)}' if attempt.kept else ''
        yield f'int8: {metric} {100 * before:.2f} to {100 * attempt.value:.2f}, a loss of {drop:.2f} points{kept}'
        if drop <= max_drop:
            return
    raise UserError(
        f'int8 loses at least {least:.2f} points of {metric}, more than --max-drop {max_drop:g}. The most sensitive blocks are '
        f'{", ".join(attempt.kept[:3] or layers(source))}. Train a network with ReLU6 and without squeeze-excite, or use float; '
        'no file was written.'
    )
