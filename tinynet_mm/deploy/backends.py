"""Open an exported file in ONNX Runtime (.onnx), OpenVINO (.xml) or ncnn (.param) and run it on NumPy arrays.

It needs neither torch nor onnx, only the runtime of the file.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingPackageError, UserError, without_stderr
from .operators import NEVER_ENDS, check_operators
from .signals import same_signal_stack
from .spec import INPUT, KEY, Spec

PARTS: dict[str, tuple[str, ...]] = {'.onnx': (), '.xml': ('.bin',), '.param': ('.bin', '.json')}
SUFFIXES = tuple(PARTS)  # of the file that is opened; PARTS has the other files of the same name
LOOPS = {'Loop', 'TensorIterator', 'If'}  # of OpenVINO


@dataclass(frozen=True)
class Network:
    """An opened file: its description, and ``run``, which maps a batch in the form of the description to the outputs by name."""

    spec: Spec
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]]


def open_network(path: str | Path, threads: int = 1, device: str = 'cpu') -> Network:
    """Open a file that tools/export.py wrote.

    Args:
        path: an ``.onnx``, ``.xml`` or ``.param`` file.
        threads: of the processor inside an operator.
        device: ``cpu``; for ONNX Runtime also ``cuda`` or ``cuda:1``; for OpenVINO also the name of its device, like ``gpu``.

    Raises:
        FileNotFoundError: no such file.
        UserError: a file of another tool or version, or with loops; a device that is not available, or more threads than the
            machine has.
        MissingPackageError: the runtime is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f'{path} is not an exported file ({", ".join(SUFFIXES)}); export the model with `tinynet export`.')
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; export the model with `tinynet export`.')
    for part in map(path.with_suffix, PARTS[path.suffix]):
        if not part.is_file():
            raise FileNotFoundError(f'{part}: no such file, it belongs to {path.name}; copy it, or export the model again.')
    check_threads(threads)
    return OPENERS[path.suffix](path, threads, device)


def check_threads(threads: int) -> None:
    """Raise UserError for a number of threads that this machine does not have."""
    if not 1 <= threads <= (os.cpu_count() or 1):
        raise UserError(f'threads={threads}: this machine has 1 to {os.cpu_count()}.')


def _open_onnx(path: Path, threads: int, device: str) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(f'{path.name} needs onnxruntime ({error}): pip install "tinynet_mm[runtime]"') from error
    check_operators(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    providers = [_provider(device, onnxruntime.get_available_providers())]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise _of_onnxruntime(error, f'{path} is not an ONNX file that ONNX Runtime runs') from error
    spec = Spec.from_json(session.get_modelmeta().custom_metadata_map.get(KEY), path)
    shapes = {part.name: part.shape for part in session.get_inputs()}
    outputs = {part.name: len(part.shape) or None for part in session.get_outputs()}  # 0 is also an unknown number
    spec.check_graph(path, shapes.get(INPUT, ()), outputs)
    names = list(outputs)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            return dict(zip(names, session.run(names, {INPUT: images})))
        except Exception as error:
            raise _of_onnxruntime(error, f'{path} fails in ONNX Runtime') from error

    return Network(spec, run)


def _of_onnxruntime(error: Exception, what: str) -> Exception:
    """A UserError for an error of ONNX Runtime, whose errors have no common base but Exception; other errors as they are."""
    if not (type(error).__module__.startswith('onnxruntime') or isinstance(error, MemoryError)):
        return error
    return UserError(f'{what} ({error or "not enough memory"}); export the model again.')


def _provider(device: str, available: list[str]) -> str | tuple[str, dict[str, str]]:
    kind, _, number = device.partition(':')
    if device == 'cpu':
        return 'CPUExecutionProvider'
    if kind != 'cuda' or not (number or '0').isdigit():
        raise UserError(f'device={device!r}: ONNX Runtime runs on cpu, cuda or cuda:N here.')
    if 'CUDAExecutionProvider' not in available:
        raise UserError(
            f'device={device!r}: this ONNX Runtime has no CUDA; use cpu, or pip install onnxruntime-gpu in its place.'
        )
    return 'CUDAExecutionProvider', {'device_id': number or '0'}


@same_signal_stack()
def _open_openvino(path: Path, threads: int, device: str) -> Network:
    try:
        import openvino
    except ImportError as error:
        raise MissingPackageError(f'{path.name} needs openvino ({error}): pip install openvino') from error
    core = openvino.Core()
    name = device.upper()
    if name.split('.')[0] not in {known.split('.')[0] for known in core.available_devices}:
        raise UserError(f'device={device!r}: OpenVINO has {", ".join(core.available_devices)} on this machine.')
    try:
        model = core.read_model(path)
        if loops := {node.get_type_name() for node in model.get_ops()} & LOOPS:
            raise UserError(NEVER_ENDS.format(path, loops.pop()))
        spec = Spec.from_json(_text(model), path)
        shapes = {name: part.get_partial_shape() for part in (*model.inputs, *model.outputs) for name in part.get_names()}
        sides = [side.get_length() if side.is_static else None for side in shapes.pop(INPUT, ())]
        spec.check_graph(path, sides, {name: len(shape) if shape.rank.is_static else None for name, shape in shapes.items()})
        settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY'}
        if name == 'CPU':  # in float32 also where the CPU has bfloat16, which OpenVINO takes by default
            settings |= {'INFERENCE_NUM_THREADS': threads, 'INFERENCE_PRECISION_HINT': 'f32'}
        compiled = core.compile_model(model, name, settings)
    except RuntimeError as error:  # the only error of OpenVINO
        raise UserError(f'{path} is not a file that OpenVINO runs ({error}); export the model again.') from error
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            found = compiled([images])
        except RuntimeError as error:
            raise UserError(f'{path} fails in OpenVINO ({error}); export the model again.') from error
        return {name: found[place] for place, name in enumerate(names)}

    return Network(spec, run)


def _text(model: Any) -> str | None:
    """The description in the runtime information of an OpenVINO model; None if it has none."""
    return str(model.get_rt_info([KEY]).astype(str)) if model.has_rt_info([KEY]) else None


def _open_ncnn(path: Path, threads: int, device: str) -> Network:
    try:
        import ncnn
    except ImportError as error:
        raise MissingPackageError(f'{path.name} needs ncnn ({error}): pip install ncnn') from error
    if device != 'cpu':
        raise UserError(f'device={device!r}: ncnn runs on cpu here.')
    spec = Spec.from_json(path.with_suffix('.json').read_text(errors='replace'), path.with_suffix('.json'))
    network = ncnn.Net()
    network.opt.num_threads = threads
    for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):  # errors of 1e-3
        setattr(network.opt, name, False)
    with without_stderr():
        failed = network.load_param(str(path)) or network.load_model(str(path.with_suffix('.bin')))
    names = list(network.output_names())
    if failed or INPUT not in network.input_names():
        raise UserError(f'{path} is not a file that ncnn runs; export the model again.')
    spec.check_graph(path, (1, 3, spec.height, spec.width), dict.fromkeys(names))  # ncnn does not know the dimensions

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        extractor = network.create_extractor()
        extractor.input(INPUT, ncnn.Mat(images[0]))
        return {name: np.array(extractor.extract(name)[1])[None] for name in names}

    return Network(spec, run)


OPENERS = {'.onnx': _open_onnx, '.xml': _open_openvino, '.param': _open_ncnn}
