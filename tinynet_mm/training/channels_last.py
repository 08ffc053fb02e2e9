"""Channels-last weights on a CPU: the one setting that makes a tiny detector train twice as fast there.

Depthwise convolutions and batch norms of NCHW maps are what a TinyNet spends its time on; with NHWC maps oneDNN has vectorised
kernels for both. ``tools/benchmark_step.py`` measures it. On a GPU nothing is changed.
"""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store the weights of a model on a CPU channels-last before training; its maps then follow. Results stay the same."""

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        if next(runner.model.parameters()).device.type == 'cpu':
            runner.model.to(memory_format=torch.channels_last)
