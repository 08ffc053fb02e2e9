"""The base class of all backbones: output levels, frozen stages, and batch norms in training.

A family provides its stem and its levels. This class implements the arguments that users of mmdet and mmpretrain expect of a
backbone: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``. mmpretrain uses two meanings of ``frozen_stages``; here
-1 freezes nothing, 0 freezes the stem, and k freezes the stem and the first k levels.
"""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..archs import FAMILIES, Arch
from ..errors import UserError


class ScaledBackbone(BaseModule):
    """A backbone of numbered levels: those of ``arch``, then the head convolution and the hidden layer if the network has them.

    Args:
        arch: the resolved table to build.
        out_indices: levels to return, in ascending order; negative indices count from the last level. Levels after the highest
            index are not built, so that every parameter gets a gradient.
        frozen_stages: -1 none, 0 the stem, k the stem and the first k levels. They are frozen at construction and in ``train()``.
        norm_eval: keep all batch norms in evaluation mode during training.
        init_cfg: for instance ``dict(type='Pretrained', checkpoint=...)`` with a published or a timm checkpoint.

    Raises:
        UserError: ``out_indices`` or ``frozen_stages`` is out of range.
    """

    def __init__(self, arch: Arch, out_indices: Sequence[int], frozen_stages: int, norm_eval: bool, init_cfg: dict | None):
        super().__init__(init_cfg)
        self.arch = arch
        levels = len(arch.levels) + bool(arch.head) + bool(arch.hidden)
        self.out_indices = _valid_indices(out_indices, levels)
        if not -1 <= frozen_stages <= levels:
            raise UserError(
                f'frozen_stages={frozen_stages}: give -1 for none, 0 for the stem, or 1 to {levels} for first levels.'
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    # Methods that a family implements ---------------------------------------------------------------------------------------

    def stem_modules(self) -> list[nn.Module]:
        """Modules of the stem, in order."""
        raise NotImplementedError

    def level_modules(self, level: int) -> list[nn.Module]:
        """Modules of one level, in order."""
        raise NotImplementedError

    # Methods of all families ------------------------------------------------------------------------------------------------

    @property
    def last_level(self) -> int:
        """Index of the last level that is built."""
        return self.out_indices[-1]

    @property
    def default_act(self) -> dict:
        """The config of the table's activation, or of the default of its family."""
        return dict(type=self.arch.activation or FAMILIES[self.arch.family].activation, inplace=True)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned map."""
        widths = [runs[-1].channels for runs in self.arch.levels] + [self.arch.head, self.arch.hidden]
        return tuple(widths[i] for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Input pixels per pixel of each returned map; 0 for GhostNet's layer after the pooling."""
        strides = [math.prod(run.stride for run in runs) for runs in self.arch.levels] + [1, 0]
        return tuple(self.stem_stride * math.prod(strides[: i + 1]) for i in self.out_indices)

    stem_stride = 2

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to maps (B, out_channels[i], H/out_strides[i], W/out_strides[i]), sides rounded up."""
        for module in self.stem_modules():
            x = module(x)
        outs = []
        for level in range(self.last_level + 1):
            for module in self.level_modules(level):
                x = module(x)
            if level in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def freeze(self) -> None:
        """Stop gradients and running statistics of the stem and of the first ``frozen_stages`` levels."""
        frozen = self.stem_modules() if self.frozen_stages >= 0 else []
        for level in range(min(self.frozen_stages, self.last_level + 1)):
            frozen = frozen + self.level_modules(level)
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'ScaledBackbone':
        """Set the training mode; frozen levels, and batch norms with ``norm_eval``, stay in evaluation mode."""
        super().train(mode)
        if mode:
            self.freeze()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self


def _valid_indices(out_indices: Sequence[int], levels: int) -> tuple[int, ...]:
    if isinstance(out_indices, int):
        out_indices = (out_indices,)
    indices = tuple(i + levels if i < 0 else i for i in out_indices)
    if not indices or list(indices) != sorted(set(indices)) or not 0 <= indices[0] <= indices[-1] < levels:
        raise UserError(f'out_indices={tuple(out_indices)}: give ascending levels from 0 to {levels - 1}.')
    return indices


def depth_decay(rate: float, repeats: Sequence[int]) -> list[list[float]]:
    """Stochastic depth rates of the blocks of each stage: block i of n has ``rate * i / n``.

    Args:
        rate: the rate that block n would have.
        repeats: blocks of each stage.
    """
    total, index, rates = sum(repeats), 0, []
    for n in repeats:
        rates.append([rate * (index + k) / total for k in range(n)])
        index += n
    return rates


@torch.no_grad()
def init_convolutions(module: nn.Module) -> None:
    """Initialize convolutions with He normal by fan-out per group, as in EfficientNet, and their biases with zero."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
            m.weight.normal_(0, math.sqrt(2.0 / fan_out))
            if m.bias is not None:
                m.bias.zero_()
