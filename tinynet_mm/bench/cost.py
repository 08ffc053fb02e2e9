"""Time the closed form of the cost, over arrays and one by one, against torch's and MMEngine's counters."""

import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info

from ..archs import EFFICIENTNET_B0, Arch, Scaling, scale
from ..cost import cost, scaled_cost
from ..deploy.export import Classifier
from ..formula import sample_band
from ..mmlab.counting import count_images
from ..models import ScaledEfficientNet
from .clock import protocol, timed


def by_torch(arch: Arch) -> int:
    with torch.device('meta'):
        return count_images(Classifier(ScaledEfficientNet(arch)), arch.resolution).macs


def by_mmengine(arch: Arch) -> int:
    model = Classifier(ScaledEfficientNet(arch)).eval()
    sides = (3, arch.resolution, arch.resolution)
    return get_model_complexity_info(model, sides, show_table=False, show_arch=False)['flops']


def compare(rounds: int, candidates: int) -> list[dict]:
    """Each round times one network by each counter, and ``candidates`` by the array form; rows with median and spread."""
    rng = np.random.default_rng(0)
    r, w, d = rng.uniform(0.35, 2.8, size=(3, candidates))
    archs = [scale(EFFICIENTNET_B0, Scaling(**{n: row[n] for n in 'rwd'})) for row in sample_band(rounds, rng)]
    one_by_one = dict(closed_form=lambda a: cost(a).macs, torch_meta=by_torch, mmengine=by_mmengine)
    seconds, worst = {name: [] for name in ('closed_form_array', *one_by_one)}, dict.fromkeys(one_by_one, 0.0)
    for method in one_by_one.values():
        method(archs[0])  # warm up
    for arch in archs:
        spent, _ = timed(lambda: scaled_cost(EFFICIENTNET_B0, Scaling(r=r, w=w, d=d)))
        seconds['closed_form_array'].append(spent / candidates)
        for name, method in one_by_one.items():
            spent, macs = timed(lambda method=method, arch=arch: method(arch))
            seconds[name].append(spent)
            worst[name] = max(worst[name], abs(macs / cost(arch).macs - 1))
    return [_row(name, times, seconds, worst.get(name, 0.0), candidates) for name, times in seconds.items()]


def _row(name: str, times: list[float], seconds: dict, worst: float, candidates: int) -> dict:
    row = dict(method=name, networks=candidates if name == 'closed_form_array' else len(times), rounds=len(times))
    measured = dict(seconds=times, times_mmengine=np.array(seconds['mmengine']) / np.array(times))
    for what, values in measured.items():
        for percentile, word in ((10, 'p10'), (50, 'median'), (90, 'p90')):
            row[f'{what}_{word}'] = f'{np.percentile(values, percentile):.3g}'
    row |= dict(networks_per_second=f'{1 / np.median(times):.3g}', largest_macs_difference=f'{worst:.2g}')
    return row | protocol()
