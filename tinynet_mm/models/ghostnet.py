"""GhostNet scaled by (r, w, d): the third family that the paper shrinks (appendix A.1, tables 6 and 7).

A ghost module computes half of its channels by a 1x1 convolution and the other half from those by a depthwise one (Han et al.,
2020). Parameter names are those of timm, so that timm's and the authors' checkpoints of GhostNet-1.0x load without conversion.
"""

from collections.abc import Sequence

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import hardsigmoid

from ..archs import Arch, Stage, inner_channels, reduced_channels, resolve
from .base import ScaledBackbone, depth_decay, init_convolutions
from .blocks import Layers, conv

CHEAP_KERNEL = 3  # the 5x5 kernels of table 7 are those of the strided convolution and of the shortcut


def conv_norm(inputs: int, outputs: int, layers: Layers, act: bool, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution with norm and optional activation."""
    tail = [layers.act()] if act else []
    return nn.Sequential(conv(inputs, outputs, kernel, groups=groups), layers.norm(outputs), *tail)


class GhostModule(nn.Module):
    """A 1x1 convolution, and a depthwise convolution of its output; for an odd number of outputs the last map is dropped."""

    def __init__(self, inputs: int, outputs: int, layers: Layers, act: bool):
        super().__init__()
        half = (outputs + 1) // 2
        self.outputs = outputs
        self.primary_conv = conv_norm(inputs, half, layers, act)
        self.cheap_operation = conv_norm(half, half, layers, act, CHEAP_KERNEL, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        primary = self.primary_conv(x)
        both = torch.cat([primary, self.cheap_operation(primary)], dim=1)
        return both[:, : self.outputs] if self.outputs % 2 else both  # a complete slice would be exported as a copy


class GhostGate(nn.Module):
    """Squeeze-excite with a hard sigmoid, and with ReLU for every activation of the blocks."""

    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.conv_reduce = conv(channels, reduced, 1, bias=True)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = conv(reduced, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return x * hardsigmoid(self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True)))))


class GhostBlock(nn.Module):
    """Expansion, depthwise convolution if the stride is above 1, squeeze-excite, projection, shortcut."""

    conv_dw: nn.Module
    bn_dw: nn.Module
    se: nn.Module
    shortcut: nn.Module

    def __init__(self, inputs: int, stage: Stage, stride: int, layers: Layers, drop_path: float = 0.0):
        super().__init__()
        middle, outputs = inner_channels(stage, inputs), stage.channels
        self.ghost1 = GhostModule(inputs, middle, layers, act=True)
        self.conv_dw = self.bn_dw = self.se = self.shortcut = nn.Identity()
        if stride > 1:
            self.conv_dw = conv(middle, middle, stage.kernel, stride, groups=middle)
            self.bn_dw = layers.norm(middle)
        if stage.se:
            self.se = GhostGate(middle, reduced_channels(stage, inputs))
        self.ghost2 = GhostModule(middle, outputs, layers, act=False)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        if stride > 1 or inputs != outputs:
            depthwise = conv(inputs, inputs, stage.kernel, stride, groups=inputs)
            self.shortcut = nn.Sequential(depthwise, layers.norm(inputs), conv(inputs, outputs, 1), layers.norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        y = self.se(self.bn_dw(self.conv_dw(self.ghost1(x))))
        return self.drop_path(self.ghost2(y)) + self.shortcut(x)


BLOCKS: dict[str, type[nn.Module]] = {'ghost': GhostBlock}


class HeadConv(nn.Module):
    """The 1x1 convolution after the last block, with norm and activation."""

    def __init__(self, inputs: int, outputs: int, layers: Layers):
        super().__init__()
        self.conv = conv(inputs, outputs, 1)
        self.bn1 = layers.norm(outputs)
        self.act = layers.act()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return self.act(self.bn1(self.conv(x)))


@MODELS.register_module()
class ScaledGhostNet(ScaledBackbone):
    """GhostNet scaled in resolution, width and depth.

    In GhostNet-A, levels 0 to 8 are the stages (a strided block is a separate level), level 9 is the 1x1 head convolution at
    stride 32, and level 10 is the layer after the pooling: (B, 1400, 1, 1), with a declared stride of 0. Published GhostNets use
    ReLU; the paper's "+ HSwish" rows use ``act_cfg=dict(type='HSwish')``.

    Args:
        arch: a preset ('ghostnet_a' to 'ghostnet_d', 'ghostnet_100'), ``dict(r=, w=, d=)`` of GhostNet-A (or of another
            ``base=``), or a table.
        out_indices: levels to return; (-1,) for a classifier, (6, 9) for the strides 16 and 32 of an SSD head.
        frozen_stages, norm_eval, init_cfg: see :class:`ScaledBackbone`.
        norm_cfg, act_cfg: as in mmcv.
        drop_path_rate: stochastic depth of the last block.

    Raises:
        UserError: unknown architecture (the message has the nearest names), another family, or an index out of range.
    """

    def __init__(
        self,
        arch: str | dict | Arch = 'ghostnet_a',
        out_indices: Sequence[int] = (-1,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(resolve(arch, 'ghostnet_a', family='ghostnet'), out_indices, frozen_stages, norm_eval, init_cfg)
        layers = Layers(norm_cfg or dict(type='BN'), act_cfg or self.default_act)
        self.conv_stem = conv(3, self.arch.stem, 3, stride=2)
        self.bn1 = layers.norm(self.arch.stem)
        self.act1 = layers.act()
        self._build_levels(layers, drop_path_rate)
        if self.last_level > len(self.arch.levels):
            self.global_pool = nn.AdaptiveAvgPool2d(1)
            self.conv_head = conv(self.arch.head, self.arch.hidden, 1, bias=True)
            self.act2 = layers.act()
        init_convolutions(self)
        self.freeze()

    def _build_levels(self, layers: Layers, drop_path_rate: float) -> None:
        rates = iter(depth_decay(drop_path_rate, [stage.repeats for stage in self.arch.stages]))
        inputs, levels = self.arch.stem, []
        for runs in self.arch.levels[: self.last_level + 1]:
            blocks = []
            for stage in runs:
                for index, rate in enumerate(next(rates)):
                    stride = stage.stride if index == 0 else 1
                    blocks.append(BLOCKS[stage.block](inputs, stage, stride, layers, rate))
                    inputs = stage.channels
            levels.append(nn.Sequential(*blocks))
        if self.last_level >= len(self.arch.levels):
            levels.append(nn.Sequential(HeadConv(inputs, self.arch.head, layers)))
        self.blocks = nn.Sequential(*levels)

    def stem_modules(self) -> list[nn.Module]:
        """The stem convolution with norm and activation."""
        return [self.conv_stem, self.bn1, self.act1]

    def level_modules(self, level: int) -> list[nn.Module]:
        """A level of blocks, the head convolution, or pooling with the layer after it."""
        return [self.blocks[level]] if level < len(self.blocks) else [self.global_pool, self.conv_head, self.act2]
