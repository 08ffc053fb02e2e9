"""The table of int8: accuracy and latency of a trained model in float and int8, in ONNX Runtime and OpenVINO.

Each file is measured on the same images and timed in turns with the others, with one image in a batch as in the paper's table 4.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..deploy.backends import check_threads, open_network
from ..deploy.clock import check_runs, network_step, runtime_name, timed_rounds
from ..deploy.evaluation import Evaluation, calibration_batches
from ..deploy.export import Options, export, random_images
from ..deploy.packages import package
from ..deploy.quantise import attempts, loss
from ..errors import UserError
from ..files import check_writable, machine_load, machine_name, read_csv, write_csv
from ..mmlab.trained import Trained
from .exported import Contender, Protocol, row

RUNTIMES = {'.onnx': 'onnx', '.xml': 'openvino'}
FLOAT, ALL, GATED = 'float', 'int8, all layers', 'int8, gated'
TIMES = ('median_ms', 'mean_ms', 'p95_ms', 'processor_ms')
SETTINGS = ('threads', 'batch', 'runs', 'warmup')
SAME = ('model', 'data', 'split', 'height', 'width', 'machine')  # columns of the rows that a new run replaces

Note = Callable[[str], object]


@dataclass(frozen=True)
class Variant:
    """A file of the model.

    Attributes:
        name: ``float``, ``int8, all layers`` or ``int8, gated``.
        path: of the file.
        value: its metric, 0 to 1.
        kept: blocks of an int8 file that are in float.
    """

    name: str
    path: Path
    value: float
    kept: tuple[str, ...] = ()


def compare(
    trained: Trained,
    evaluation: Evaluation,
    protocol: Protocol,
    max_drop: float = 1.0,
    note: Note = lambda text: None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[dict]:
    """Measure and time a model.

    Args:
        trained: the model.
        evaluation: measures the files; its images calibrate.
        protocol: how to time; the batch is 1.
        max_drop: largest loss of the gated files, in points.
        note: receives a line for each file that is measured, and for each gate that fails.
        progress: wraps the rounds.

    Returns:
        for each runtime a row of the float file and one of the file with all layers in int8. If this one loses more than
        ``max_drop``, there is also a row of the first file within it that keeps the most sensitive blocks in float.

    Raises:
        UserError: a number of runs or threads that is not possible, or a model that cannot be exported.
        MissingPackageError: a package is not installed.
    """
    check_runs(protocol.runs, protocol.warmup)
    check_threads(protocol.threads)
    for name in ('onnx', 'onnxslim', 'onnxruntime', 'openvino', 'nncf'):
        package(name)
    with TemporaryDirectory() as folder:
        files = {suffix: _exported(trained, Path(folder) / f'float{suffix}') for suffix in RUNTIMES}
        found = [v for file in files.values() for v in variants(files['.onnx'], file, evaluation, max_drop, note)]
        return _rows(found, evaluation, protocol, max_drop, progress)


def _exported(trained: Trained, path: Path) -> Path:
    list(export(trained.model, trained.pipeline, path, Options(size=trained.size), **trained.about))
    return path


def variants(source: Path, file: Path, evaluation: Evaluation, max_drop: float, note: Note) -> Iterator[Variant]:
    """The float file of a runtime and its int8 files, see :func:`compare`; ``source`` is the float ONNX file."""
    runtime, metric = RUNTIMES[file.suffix], evaluation.metric
    before = evaluation.of_file(file, 1)
    note(f'{runtime}, float: {metric} {100 * before:.2f}')
    yield Variant(FLOAT, file, before)
    batches = calibration_batches(evaluation.calibration(), open_network(source).spec)

    def target(count: int) -> Path:
        return file.with_name(f'int8-{count}{file.suffix}')

    for attempt in attempts(source, target, batches, lambda path: evaluation.of_file(path, 1)):
        drop = loss(before, attempt.value)
        kept = f', in float: {", ".join(attempt.kept)}' if attempt.kept else ''
        note(f'{runtime}, int8: {metric} {100 * attempt.value:.2f}, a loss of {drop:.2f} points{kept}')
        if not attempt.kept:
            yield Variant(ALL, attempt.path, attempt.value)
        if drop <= max_drop:
            if attempt.kept:
                yield Variant(GATED, attempt.path, attempt.value, attempt.kept)
            return
    note(f'{runtime}: int8 loses more than {max_drop:g} points with {len(attempt.kept)} blocks in float, so it has no gated row.')


# Rows -------------------------------------------------------------------------------------------------------------------------


def _rows(
    found: Sequence[Variant],
    evaluation: Evaluation,
    protocol: Protocol,
    max_drop: float,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> list[dict]:
    networks = {str(v.path): open_network(v.path, protocol.threads) for v in found}
    steps = {path: [network_step(net, random_images(net.spec, 1).numpy())] for path, net in networks.items()}
    load = machine_load()
    times = timed_rounds(steps, protocol.warmup, protocol.runs, progress)
    floats = {v.path.suffix: v for v in found if v.name == FLOAT}
    about = dict(max_drop_points=max_drop, load=f'{load:.1f}', machine=machine_name())
    rows = []
    for variant in found:
        base, path = floats[variant.path.suffix], str(variant.path)
        runtime = runtime_name(RUNTIMES[variant.path.suffix])
        contender = Contender(variant.name, runtime, networks[path].spec, steps[path])
        measured = accuracy(variant, base, evaluation) | latency(contender, times[path], times[str(base.path)], protocol)
        rows.append(described(contender, variant) | measured | about | dict(kept_in_float=' '.join(variant.kept)))
    return rows


def described(contender: Contender, variant: Variant) -> dict[str, Any]:
    """The columns on the file of a variant and its network."""
    spec = contender.spec
    files = {variant.path, variant.path.with_suffix('.bin') if variant.path.suffix == '.xml' else variant.path}
    size = sum(path.stat().st_size for path in files)
    network = dict(macs=spec.macs, params=spec.params, bytes=size, height=spec.height, width=spec.width)
    names = dict(model=spec.config, variant=variant.name, runtime=contender.runtime, precision=spec.precision)
    return names | network | dict(checkpoint=spec.checkpoint)


def accuracy(variant: Variant, base: Variant, evaluation: Evaluation) -> dict[str, Any]:
    """The columns on accuracy; ``base`` is the float file of the same runtime."""
    drop = '' if variant is base else f'{loss(base.value, variant.value):.2f}'
    value = dict(metric=evaluation.metric, value_percent=f'{100 * variant.value:.2f}', drop_points=drop)
    return value | dict(images=evaluation.images)


def latency(contender: Contender, times: np.ndarray, base: np.ndarray, protocol: Protocol) -> dict[str, Any]:
    """The columns on latency.

    Args:
        contender: what ran.
        times: milliseconds of its runs, (runs, 1, 2), see :func:`~tinynet_mm.deploy.clock.timed_rounds`.
        base: those of the float file of the same runtime. The speed-up is the ratio of the medians; its spread is the 10th and
            90th percentile of the ratio of runs with the same number.
        protocol: how it was timed.
    """
    found = row(contender, times, math.inf, protocol)
    keys = ('speedup', 'speedup_p10', 'speedup_p90')
    numbers: Mapping[str, str] = dict.fromkeys(keys, '')
    if contender.name != FLOAT:
        wall, before = times[:, 0, 0], base[:, 0, 0]
        values = (np.median(before) / np.median(wall), *np.percentile(before / wall, (10, 90)))
        numbers = {key: f'{value:.3g}' for key, value in zip(keys, values)}
    return {key: found[key] for key in TIMES} | dict(numbers) | {key: found[key] for key in SETTINGS}


def earlier_rows(path: Path) -> list[dict]:
    """The rows of a table that may be missing.

    Raises:
        UserError: the table cannot be written, or is another one.
    """
    check_writable(path)
    earlier = read_csv(path, ('height', 'width')) if path.exists() else []
    for old in earlier:
        if missing := [key for key in SAME if key not in old]:
            raise UserError(f'{path} has no column {missing[0]!r}, so it is another table; choose another path.')
    return earlier


def update(path: Path, rows: Sequence[Mapping]) -> Path:
    """Write rows to a table; they replace those of the same model, data, input size and machine, and the others are kept.

    Raises:
        UserError: the table cannot be read or written.
    """
    new = {tuple(str(row[key]) for key in SAME) for row in rows}
    earlier = earlier_rows(path)
    kept = [old for old in earlier if tuple(str(old[key]) for key in SAME) not in new]
    return write_csv(path, [*kept, *rows], list(dict.fromkeys(key for each in (*kept, *rows) for key in each)))
