"""ResNet scaled by (r, w, d): the second family that the paper shrinks (section 4.2, table 2).

Tables: He et al. (2016), with the stride in the 3x3 convolution. Parameter names are those of torchvision, so its checkpoints of
ResNet-18, 34 and 50 load without conversion at w = d = 1. The ResNet of mmdet and mmpretrain does not scale widths.
"""

from collections.abc import Sequence

from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..archs import Arch, Stage, inner_channels, resolve
from .base import ScaledBackbone, depth_decay, init_convolutions
from .blocks import Layers, conv


class ResidualBlock(nn.Module):
    """Base of both blocks: the activation of the branch plus the shortcut."""

    downsample: nn.Module

    def __init__(self, inputs: int, outputs: int, stride: int, layers: Layers, drop_path: float):
        super().__init__()
        self.act = layers.act()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), layers.norm(outputs))

    def branch(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride), without the shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        return self.act(self.drop_path(self.branch(x)) + self.downsample(x))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    def __init__(self, inputs: int, stage: Stage, stride: int, layers: Layers, drop_path: float = 0.0):
        super().__init__(inputs, stage.channels, stride, layers, drop_path)
        self.conv1 = conv(inputs, stage.channels, stage.kernel, stride)
        self.bn1 = layers.norm(stage.channels)
        self.conv2 = conv(stage.channels, stage.channels, stage.kernel)
        self.bn2 = layers.norm(stage.channels)

    def branch(self, x: Tensor) -> Tensor:
        """Two convolutions with norms."""
        return self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class Bottleneck(ResidualBlock):
    """1x1 reduction, 3x3 convolution with the stride, 1x1 expansion (ResNet-50)."""

    def __init__(self, inputs: int, stage: Stage, stride: int, layers: Layers, drop_path: float = 0.0):
        super().__init__(inputs, stage.channels, stride, layers, drop_path)
        middle = inner_channels(stage, inputs)
        self.conv1 = conv(inputs, middle, 1)
        self.bn1 = layers.norm(middle)
        self.conv2 = conv(middle, middle, stage.kernel, stride)
        self.bn2 = layers.norm(middle)
        self.conv3 = conv(middle, stage.channels, 1)
        self.bn3 = layers.norm(stage.channels)

    def branch(self, x: Tensor) -> Tensor:
        """Three convolutions with norms."""
        x = self.act(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.act(self.bn2(self.conv2(x)))))


BLOCKS: dict[str, type[nn.Module]] = {'basic': BasicBlock, 'bottleneck': Bottleneck}


@MODELS.register_module()
class ScaledResNet(ScaledBackbone):
    """ResNet scaled in resolution, width and depth. Levels 0 to 3 are ``layer1`` to ``layer4``, strides 4 to 32.

    Args:
        arch: a preset ('resnet50', 'resnet50_a', 'resnet50_b', 'resnet18', 'resnet34'), ``dict(r=, w=, d=)`` of ResNet-50 (or of
            another ``base=``), or a table. The network accepts any input size; only configs use the resolution of ``arch``.
        out_indices: levels to return; (3,) for classification, (0, 1, 2, 3) for a feature pyramid.
        frozen_stages, norm_eval, init_cfg: see :class:`ScaledBackbone`.
        norm_cfg, act_cfg: as in mmcv.
        drop_path_rate: stochastic depth of the last block.

    Raises:
        UserError: unknown architecture (the message has the nearest names), another family, or an index out of range.
    """

    stem_stride = 4

    def __init__(
        self,
        arch: str | dict | Arch = 'resnet50',
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(resolve(arch, 'resnet50', family='resnet'), out_indices, frozen_stages, norm_eval, init_cfg)
        layers = Layers(norm_cfg or dict(type='BN'), act_cfg or self.default_act)
        self.conv1 = conv(3, self.arch.stem, self.arch.stem_kernel, stride=2)
        self.bn1 = layers.norm(self.arch.stem)
        self.act1 = layers.act()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self._build_levels(layers, drop_path_rate)
        init_convolutions(self)
        self.freeze()

    def _build_levels(self, layers: Layers, drop_path_rate: float) -> None:
        rates = depth_decay(drop_path_rate, [stage.repeats for stage in self.arch.stages])
        inputs = self.arch.stem
        for level, stage in enumerate(self.arch.stages[: self.last_level + 1]):
            shapes = [(inputs, stage.stride)] + [(stage.channels, 1)] * (stage.repeats - 1)
            blocks = [BLOCKS[stage.block](c, stage, s, layers, rate) for (c, s), rate in zip(shapes, rates[level])]
            setattr(self, f'layer{level + 1}', nn.Sequential(*blocks))
            inputs = stage.channels

    def stem_modules(self) -> list[nn.Module]:
        """The stem convolution with norm and activation, and the max-pooling."""
        return [self.conv1, self.bn1, self.act1, self.maxpool]

    def level_modules(self, level: int) -> list[nn.Module]:
        """One of ``layer1`` to ``layer4``."""
        return [getattr(self, f'layer{level + 1}')]
