"""Train several times faster on a CPU with equal results: channels-last feature maps, and freed memory stays in the process.

A tiny network spends its time in depthwise convolutions and batch norms, for which oneDNN has vectorised kernels for NHWC maps,
and in page faults, because glibc returns every freed map of megabytes to the kernel and requests it again for the next one.
``tools/benchmark_step.py`` measures both. Trainings on a GPU are not changed.
"""

import ctypes

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .small_maps import use_small_maps

# parameters of glibc's mallopt(3), from malloc.h, and their defaults
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}  # one arena: arenas of threads always return their memory
DEFAULT = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 128 * 1024, M_ARENA_MAX: 0}


def keep_freed_memory(keep: bool = True) -> bool:
    """Let glibc keep the freed memory of this process; returns False if the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) for parameter, value in (KEPT if keep else DEFAULT).items())


@HOOKS.register_module()
class FastCPUHook(Hook):
    """On a CPU, store the weights channels-last, which makes the feature maps channels-last too, and keep freed memory.

    ``small_maps`` replaces convolutions by those of :mod:`~tinynet_mm.training.small_maps`, for images of a few dozen pixels.
    """

    priority = 'VERY_HIGH'

    def __init__(self, small_maps: bool = False) -> None:
        self.small_maps = small_maps

    def before_train(self, runner: Runner) -> None:
        """Convert the model of the runner, if it is on a CPU."""
        if next(runner.model.parameters()).device.type == 'cpu':
            runner.model.to(memory_format=torch.channels_last)
            keep_freed_memory()
            if self.small_maps:
                use_small_maps(runner.model)
