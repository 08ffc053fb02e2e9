"""The latency of models in a runtime on the CPU of this machine.

The protocol is that of the paper's table 4: one thread, batch 1. Contenders run in turns (:mod:`.clock`), and every row has
threads, batch, input size, precision, runtime and machine. :mod:`tinynet_mm.bench.latency` makes the table of networks and
runtimes with the same clock.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..archs import Arch
from ..errors import UserError, one_line
from ..files import machine_name
from ..formula.report import layout
from ..formula.solve import Meter
from .backends import Network, check_threads, open_network
from .clock import IN_TORCH, check_runs, check_runtime, network_step, run_steps, runtime_name, timed_rounds
from .export import as_dict, make_graph, random_images
from .ncnnfile import to_ncnn
from .onnxfile import finish, trace
from .quantise import quantise_onnx, quantise_openvino, read_openvino, save_openvino
from .spec import Spec

Built = tuple[nn.Module, Spec]  # a model, and the description of its input and outputs


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run (input in memory to logits, or to boxes and scores), with the protocol.

    Medians and percentiles are wall-clock times. ``processor_ms`` is the median of the CPU time of the same runs: on an idle
    machine the two are equal, otherwise the wall-clock time includes the time of other programs.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    processor_ms: float
    runs: int
    warmup: int
    threads: int
    batch: int
    height: int
    width: int
    precision: str
    runtime: str
    machine: str

    def row(self) -> dict:
        """Return the fields as a row for a CSV file."""
        return asdict(self)


def prepare(model: nn.Module, spec: Spec, runtime: str, threads: int, folder: Path) -> Network:
    """Open a model in a runtime to time it.

    The file is made as in :mod:`~tinynet_mm.deploy.export`, but its outputs are not compared with those of the model, which takes
    as long as the rest. An int8 file is calibrated on random images: its outputs are of no use, but its operators are those of a
    file calibrated on photographs.

    Args:
        model: on the CPU; set to evaluation mode.
        spec: of the model, for a batch of one image.
        runtime: one of :data:`RUNTIMES`.
        threads: within an operator; those of eager torch are set by the caller.
        folder: for the files.

    Raises:
        UserError: a model that cannot be exported, or an operator that the runtime does not have.
    """
    graph, names, spec = make_graph(model.eval(), spec)
    if runtime in IN_TORCH:
        call = compiled(graph, random_images(spec, spec.batch)) if runtime == 'compile' else graph
        return Network(spec, lambda images: _run_in_torch(call, images, names))
    path = folder / 'network.onnx'
    finish(trace(graph, random_images(spec, spec.batch), path, names, {}), spec)
    return open_network(converted(path, spec, runtime), threads)


def converted(path: Path, spec: Spec, runtime: str) -> Path:
    """The file of a runtime, made beside an ONNX file; int8 files are called ``int8`` and calibrated on random images.

    Raises:
        UserError: an operator that the runtime does not have.
    """
    images = [random_images(spec, spec.batch).numpy() for _ in range(4)] if runtime.endswith('-int8') else []
    if runtime == 'onnx-int8':
        return quantise_onnx(path, path.with_name('int8.onnx'), images)
    if runtime == 'openvino-int8':
        return quantise_openvino(path, path.with_name('int8.xml'), images)
    if runtime == 'openvino':
        return save_openvino(read_openvino(path), spec, path.with_suffix('.xml'))
    return to_ncnn(path, path.with_suffix('.param'), spec) if runtime == 'ncnn' else path


@torch.inference_mode()
def _run_in_torch(call: Callable[[torch.Tensor], Any], images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    return as_dict(call(torch.from_numpy(images)), names)


def compiled(graph: nn.Module, images: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """A module in torch.compile, compiled for one size of input, with a code object that no other module shares.

    torch searches the compiled variants of a code object at each call, and compiles eight at most.

    Raises:
        UserError: the compiler of torch, or of C++, fails.
    """

    def forward(images: torch.Tensor) -> Any:
        return graph(images)

    forward.__code__ = forward.__code__.replace(co_name=f'forward_{id(graph)}')
    call = torch.compile(forward, dynamic=False)
    try:
        with torch.inference_mode():
            call(images.clone())  # created in this mode like the images of each run, or torch compiles a second time
    except (RuntimeError, ImportError, OSError) as error:
        raise UserError(f'torch.compile fails: {one_line(error)[:200]}') from error
    return call


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def least_ms(network: Network, threads: int = 1, runs: int = 10, bursts: int = 30, agreement: float = 0.03) -> float:
    """Return the minimum time of one run in milliseconds.

    Measures bursts of ``runs`` runs until the minima of two bursts differ by at most the share ``agreement``, or ``bursts``
    bursts are done. This also works on a busy machine, since other load only adds to a time. With one thread it uses CPU time,
    which does not include other programs. (Next to eight busy programs the wall-clock time was four times as long.)
    """
    clock, feed, least = 1 if threads == 1 else 0, _feed(network), []
    for _ in range(bursts):
        least.append(min(_timed(network, feed)[clock] for _ in range(runs)))
        first, second = sorted(least)[:2] if len(least) > 1 else (0.0, 1.0)
        if second <= (1 + agreement) * first:
            break
    return min(least)


def latency_meter(
    build: Callable[[Arch], Built],
    runtime: str = 'onnx',
    threads: int = 1,
    what: str = 'the network',
    note: Callable[[str], object] = lambda text: None,
) -> Meter:
    """Return a meter for budgets in milliseconds.

    The grid of the width is 0.01, because smaller steps are below the noise.

    Args:
        build: builds a network, which is timed with :func:`least_ms`; each architecture is timed once.
        runtime: one of :data:`RUNTIMES`.
        threads: within an operator.
        what: what ``build`` builds, for messages.
        note: receives a line for each network that is timed.

    Raises:
        UserError, MissingPackageError: a runtime or a number of threads that is not available.
    """
    check_runtime(runtime)
    check_threads(threads)
    known: dict[Arch, float] = {}

    def time_of(arch: Arch) -> float:
        if arch not in known:
            with tempfile.TemporaryDirectory() as folder, _torch_threads(threads):
                network = prepare(*build(arch), runtime, threads, Path(folder))
                known[arch] = least_ms(network, threads)
            note(f'{known[arch]:.2f} ms at {network.spec.height}x{network.spec.width} px with {layout(arch)}')
        return known[arch]

    return Meter('ms', time_of, grid=0.01, protocol=f'{what}, {runtime_name(runtime)}, {threads} thread(s), batch 1')


def compare(
    built: Mapping[str, Built], runtime: str = 'onnx', threads: int = 1, runs: int = 100, warmup: int = 10
) -> dict[str, Latency]:
    """Time several models in turns, so that other load on the machine affects all of them equally.

    Args:
        built: models by name, each with its description.
        runtime: one of :data:`RUNTIMES`.
        threads: within an operator.
        runs: timed runs of each model.
        warmup: runs of each model before them.

    Raises:
        UserError: no run is timed, or the runtime or the number of threads is not available.
        MissingPackageError: a package of the runtime is not installed.
    """
    check_runs(runs, warmup)
    check_runtime(runtime)
    check_threads(threads)
    with tempfile.TemporaryDirectory() as folder, _torch_threads(threads):
        networks = {}
        for place, (name, (model, spec)) in enumerate(built.items()):
            (own := Path(folder) / str(place)).mkdir()
            networks[name] = prepare(model, spec, runtime, threads, own)
        times = timed_rounds({name: [network_step(n, _feed(n))] for name, n in networks.items()}, warmup, runs)
    return {name: _summary(times[name][:, 0], n.spec, warmup, threads, runtime_name(runtime)) for name, n in networks.items()}


def _timed(network: Network, feed: np.ndarray) -> tuple[float, float]:
    """Return the milliseconds of one run: wall-clock time, and CPU time of all threads of this process."""
    return run_steps([network_step(network, feed)])[0]


def _feed(network: Network) -> np.ndarray:
    return random_images(network.spec, network.spec.batch).numpy()


def _summary(times: np.ndarray, spec: Spec, warmup: int, threads: int, runtime: str) -> Latency:
    wall, processor = times.T
    p10, median, p90 = (float(q) for q in np.percentile(wall, (10, 50, 90)))
    protocol = (len(times), warmup, threads, spec.batch, spec.height, spec.width, spec.precision, runtime, machine_name())
    return Latency(median, p10, p90, float(np.median(processor)), *protocol)
