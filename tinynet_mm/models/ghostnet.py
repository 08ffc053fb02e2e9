"""GhostNet under any (r, w, d): the third family the paper shrinks (appendix A.1, tables 6 and 7).

A ghost module makes half of its channels by a 1x1 convolution and the other half from those by a cheap depthwise one (Han et al.,
2020). Parameter names are timm's, so that its and the authors' GhostNet-1.0x checkpoints load as they are at w = d = 1.
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

CHEAP_KERNEL = 3  # of the cheap operation; table 7's 5x5 kernels are those of the strided convolution and of the shortcut


def conv_norm(inputs: int, outputs: int, layers: Layers, act: bool, groups: int = 1) -> nn.Sequential:
    """1x1 convolution, or a cheap depthwise one where ``groups`` is given, with norm and maybe activation."""
    kernel = CHEAP_KERNEL if groups > 1 else 1
    tail = [layers.act()] if act else []
    return nn.Sequential(conv(inputs, outputs, kernel, groups=groups), layers.norm(outputs), *tail)


class GhostModule(nn.Module):
    """(B, C, H, W) -> (B, C', H, W); for an odd C' the last cheap map is dropped."""

    def __init__(self, inputs: int, outputs: int, layers: Layers, act: bool):
        super().__init__()
        half = (outputs + 1) // 2
        self.outputs = outputs
        self.primary_conv = conv_norm(inputs, half, layers, act)
        self.cheap_operation = conv_norm(half, half, layers, act, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        both = torch.cat([primary, self.cheap_operation(primary)], dim=1)
        return both[:, : self.outputs] if self.outputs % 2 else both  # a slice of everything would be a copy once exported


class GhostGate(nn.Module):
    """Squeeze-and-excite with a hard sigmoid; ReLU inside, whatever the blocks' activation: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.conv_reduce = conv(channels, reduced, 1, bias=True)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = conv(reduced, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * hardsigmoid(self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True)))))


class GhostBlock(nn.Module):
    """Expand, thin out where strided, gate, project, add the shortcut: (B, C, H, W) -> (B, C', H/stride, W/stride)."""

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
            thin = conv(inputs, inputs, stage.kernel, stride, groups=inputs)
            self.shortcut = nn.Sequential(thin, layers.norm(inputs), conv(inputs, outputs, 1), layers.norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.se(self.bn_dw(self.conv_dw(self.ghost1(x))))
        return self.drop_path(self.ghost2(y)) + self.shortcut(x)


class HeadConv(nn.Module):
    """The 1x1 convolution behind the last block, with norm and activation."""

    def __init__(self, inputs: int, outputs: int, layers: Layers):
        super().__init__()
        self.conv = conv(inputs, outputs, 1)
        self.bn1 = layers.norm(outputs)
        self.act = layers.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn1(self.conv(x)))


@MODELS.register_module()
class ScaledGhostNet(ScaledBackbone):
    """GhostNet scaled in resolution, width and depth.

    Levels 0 to 8 are the stages (a strided block is one of its own), level 9 the 1x1 head convolution at stride 32, level 10 the
    layer behind the pooling: (B, 1400, 1, 1), stride given as 0. Published GhostNets use ReLU; the paper's "+ HSwish" rows are
    ``act_cfg=dict(type='HSwish')``.

    Args:
        arch: a preset ('ghostnet_a' to 'ghostnet_d', 'ghostnet_100'), ``dict(r=, w=, d=)`` of GhostNet-A (or of another
            ``base=``), or a table.
        out_indices: levels to return; (-1,) for a classifier, (6, 9) are the strides 16 and 32 an SSD head stands on.
        frozen_stages, norm_eval, init_cfg: see :class:`ScaledBackbone`.
        norm_cfg, act_cfg: as in mmcv.
        drop_path_rate: stochastic depth of the last block.

    Raises:
        UserError: unknown architecture (with the nearest name) or one of another family, an index out of range.
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
                    blocks.append(GhostBlock(inputs, stage, stage.stride if index == 0 else 1, layers, rate))
                    inputs = stage.channels
            levels.append(nn.Sequential(*blocks))
        if self.last_level >= len(self.arch.levels):
            levels.append(nn.Sequential(HeadConv(inputs, self.arch.head, layers)))
        self.blocks = nn.Sequential(*levels)

    def stem_modules(self) -> list[nn.Module]:
        return [self.conv_stem, self.bn1, self.act1]

    def level_modules(self, level: int) -> list[nn.Module]:
        return [self.blocks[level]] if level < len(self.blocks) else [self.global_pool, self.conv_head, self.act2]
