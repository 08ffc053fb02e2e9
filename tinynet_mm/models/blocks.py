"""Blocks of EfficientNet and TinyNet (table 1 of Tan and Le, 2019), with timm's parameter names.

timm has the same blocks. These exist because mmdet and mmpretrain configure norms and activations by ``norm_cfg`` and ``act_cfg``
(SyncBN, frozen norms), and because the tests use timm as an independent reference.
"""

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from ..archs import Stage, inner_channels, reduced_channels


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution with padding, from side H to ceil(H / stride)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


class Layers:
    """Builds norms and activations from ``norm_cfg`` and ``act_cfg``."""

    def __init__(self, norm_cfg: dict, act_cfg: dict):
        self.norm_cfg, self.act_cfg = dict(norm_cfg), dict(act_cfg)

    def norm(self, channels: int) -> nn.Module:
        """A new norm layer."""
        return build_norm_layer(self.norm_cfg, channels)[1]

    def act(self) -> nn.Module:
        """A new activation layer."""
        return build_activation_layer(self.act_cfg)


class SqueezeExcite(nn.Module):
    """Squeeze-excite: scale each channel by a gate, a function of all channel means."""

    def __init__(self, channels: int, reduced: int, layers: Layers):
        super().__init__()
        self.conv_reduce = conv(channels, reduced, 1, bias=True)
        self.act1 = layers.act()
        self.conv_expand = conv(reduced, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        gate = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


def squeeze_excite(channels: int, inputs: int, stage: Stage, layers: Layers) -> nn.Module:
    """Squeeze-excite on the ``channels`` inner channels of a block with ``inputs`` input channels; the identity for ratio 0."""
    return SqueezeExcite(channels, reduced_channels(stage, inputs), layers) if stage.se else nn.Identity()


class SeparableBlock(nn.Module):
    """Depthwise convolution, squeeze-excite, pointwise convolution (expansion 1)."""

    def __init__(self, inputs: int, stage: Stage, stride: int, layers: Layers, drop_path: float = 0.0):
        super().__init__()
        self.conv_dw = conv(inputs, inputs, stage.kernel, stride, groups=inputs)
        self.bn1 = layers.norm(inputs)
        self.act = layers.act()
        self.se = squeeze_excite(inputs, inputs, stage, layers)
        self.conv_pw = conv(inputs, stage.channels, 1)
        self.bn2 = layers.norm(stage.channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.has_skip = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        y = self.se(self.act(self.bn1(self.conv_dw(x))))
        y = self.bn2(self.conv_pw(y))
        return x + self.drop_path(y) if self.has_skip else y


class InvertedBlock(nn.Module):
    """Expansion, depthwise convolution, squeeze-excite, projection."""

    def __init__(self, inputs: int, stage: Stage, stride: int, layers: Layers, drop_path: float = 0.0):
        super().__init__()
        middle = inner_channels(stage, inputs)
        self.conv_pw = conv(inputs, middle, 1)
        self.bn1 = layers.norm(middle)
        self.act = layers.act()
        self.conv_dw = conv(middle, middle, stage.kernel, stride, groups=middle)
        self.bn2 = layers.norm(middle)
        self.se = squeeze_excite(middle, inputs, stage, layers)
        self.conv_pwl = conv(middle, stage.channels, 1)
        self.bn3 = layers.norm(stage.channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.has_skip = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.se(self.act(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + self.drop_path(y) if self.has_skip else y


BLOCKS: dict[str, type[nn.Module]] = {'separable': SeparableBlock, 'inverted': InvertedBlock}


def block_sequence(inputs: int, stage: Stage, layers: Layers, drop_paths: list[float]) -> nn.Sequential:
    """The blocks of a stage, one per rate in ``drop_paths``; the first has the stage's stride, the others have stride 1."""
    blocks = []
    for index, drop_path in enumerate(drop_paths):
        channels, stride = (inputs, stage.stride) if index == 0 else (stage.channels, 1)
        blocks.append(BLOCKS[stage.block](channels, stage, stride, layers, drop_path))
    return nn.Sequential(*blocks)
