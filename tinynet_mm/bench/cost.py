"""Time the closed form of the cost, over arrays and one by one, against torch's and MMEngine's counters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info

from ..archs import EFFICIENTNET_B0, Arch, Scaling, scale
from ..cost import cost, scaled_cost
from ..errors import UserError
from ..formula import sample_band
from ..mmlab.counting import count_images
from ..models import Classifier, ScaledEfficientNet
from .clock import in_turns, protocol

ARRAY = 'closed_form_array'


def by_closed_form(arch: Arch) -> int:
    """MACs in closed form."""
    return cost(arch).macs


def by_torch(arch: Arch) -> int:
    """MACs by torch's counter, with building the network on the meta device."""
    with torch.device('meta'):
        return count_images(Classifier(ScaledEfficientNet(arch)), arch.resolution).macs


def by_mmengine(arch: Arch) -> int:
    """MACs by MMEngine's counter, with building the network as in its documentation."""
    model = Classifier(ScaledEfficientNet(arch)).eval()
    sides = (3, arch.resolution, arch.resolution)
    return get_model_complexity_info(model, sides, show_table=False, show_arch=False)['flops']


ONE_BY_ONE: dict[str, Callable[[Arch], int]] = dict(closed_form=by_closed_form, torch_meta=by_torch, mmengine=by_mmengine)


def compare(rounds: int, candidates: int, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> list[dict]:
    """Time all methods in turns; each round counts one network by each counter, and ``candidates`` by the array form.

    Args:
        rounds: rounds that count, after one for warm-up.
        candidates: networks of the array form.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        a row for each method: seconds per network and the speedup over MMEngine (percentiles 10, 50 and 90 of the rounds), and
        the largest relative difference from the closed form's MACs.

    Raises:
        UserError: less than one round or candidate.
    """
    if rounds < 1 or candidates < 1:
        raise UserError(f'{rounds} rounds of {candidates} candidates: give 1 or more of each.')
    rng = np.random.default_rng(0)
    r, w, d = rng.uniform(0.35, 2.8, size=(3, candidates))
    archs = [scale(EFFICIENTNET_B0, Scaling(row['r'], row['w'], row['d'])) for row in sample_band(rounds, rng)]
    archs = [archs[0], *archs]  # the first round is the warm-up
    counted: dict[str, list[int]] = {name: [] for name in ONE_BY_ONE}
    contenders: dict[str, Callable[[], object]] = {ARRAY: partial(scaled_cost, EFFICIENTNET_B0, Scaling(r=r, w=w, d=d))}
    contenders |= {name: partial(next, _counting(method, archs, counted[name])) for name, method in ONE_BY_ONE.items()}
    seconds = {name: np.array(times) for name, times in in_turns(contenders, rounds, progress=progress).items()}
    seconds[ARRAY] /= candidates
    exact = np.array([cost(arch).macs for arch in archs])
    worst = {name: float(np.max(np.abs(np.array(macs) / exact - 1))) for name, macs in counted.items()}
    return [_row(name, seconds, worst.get(name, 0.0), candidates) for name in seconds]


def _counting(method: Callable[[Arch], int], archs: Sequence[Arch], counted: list[int]) -> Iterator[None]:
    """Count one network per step and append its MACs to ``counted``."""
    for arch in archs:
        counted.append(method(arch))
        yield


def _row(name: str, seconds: dict[str, np.ndarray], worst: float, candidates: int) -> dict:
    times = seconds[name]
    row: dict = dict(method=name, networks=candidates if name == ARRAY else len(times), rounds=len(times))
    for quantity, values in dict(seconds=times, times_mmengine=seconds['mmengine'] / times).items():
        for percentile, word in ((10, 'p10'), (50, 'median'), (90, 'p90')):
            row[f'{quantity}_{word}'] = f'{np.percentile(values, percentile):.3g}'
    row |= dict(networks_per_second=f'{1 / np.median(times):.3g}', largest_macs_difference=f'{worst:.2g}')
    return row | protocol()
