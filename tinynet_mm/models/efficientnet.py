"""EfficientNet scaled by (r, w, d), and TinyNet (NeurIPS 2020, section 3.2), which is one of these networks.

Parameter names are those of timm, so the published ``tinynet_*.pth`` and timm's checkpoints load without conversion.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from ..archs import Arch, preset, resolve
from .base import ScaledBackbone, depth_decay, init_convolutions
from .blocks import InvertedBlock, Layers, SeparableBlock, block_sequence, conv


@MODELS.register_module()
class ScaledEfficientNet(ScaledBackbone):
    """EfficientNet-B0 scaled in resolution, width and depth. Levels 0 to 6 are the stages, level 7 the 1x1 head convolution.

    Args:
        arch: a preset ('efficientnet_b-1', 'tinynet_d'; see :data:`tinynet_mm.archs.PRESETS`), ``dict(r=, w=, d=)``, or a table.
        out_indices: levels to return; (7,) for classification, (4, 7) for the strides 16 and 32 of an SSD head.
        frozen_stages, norm_eval, init_cfg: see :class:`ScaledBackbone`.
        norm_cfg, act_cfg: as in mmcv.
        drop_path_rate: stochastic depth of the last block.
        zero_init_residual: set the weights of the last norm of every residual branch to zero (Goyal et al., 2017), so that each
            block starts as the identity. Deep networks need it in trainings of a few hundred steps.

    Raises:
        UserError: unknown architecture (the message has the nearest names), or an index out of range.
    """

    def __init__(
        self,
        arch: str | dict | Arch = 'efficientnet_b0',
        out_indices: Sequence[int] = (7,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        zero_init_residual: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(resolve(arch, family='efficientnet'), out_indices, frozen_stages, norm_eval, init_cfg)
        layers = Layers(norm_cfg or dict(type='BN'), act_cfg or self.default_act)
        self._build_stem(layers)
        self._build_stages(layers, drop_path_rate)
        if self.last_level == len(self.arch.stages):
            self.conv_head = conv(self.arch.stages[-1].channels, self.arch.head, 1)
            self.bn2 = layers.norm(self.arch.head)
            self.act2 = layers.act()
        init_convolutions(self)
        if zero_init_residual:
            self._zero_residual_branches()
        self.freeze()

    def _build_stem(self, layers: Layers) -> None:
        self.conv_stem = conv(3, self.arch.stem, 3, stride=2)
        self.bn1 = layers.norm(self.arch.stem)
        self.act1 = layers.act()

    def _build_stages(self, layers: Layers, drop_path_rate: float) -> None:
        rates = depth_decay(drop_path_rate, [stage.repeats for stage in self.arch.stages])
        widths = [self.arch.stem, *(stage.channels for stage in self.arch.stages)]
        built = list(zip(widths, self.arch.stages, rates))[: self.last_level + 1]
        self.blocks = nn.Sequential(*(block_sequence(width, stage, layers, rate) for width, stage, rate in built))

    def _zero_residual_branches(self) -> None:
        for block in self.blocks.modules():
            if isinstance(block, SeparableBlock | InvertedBlock) and block.has_skip:
                last_norm = block.bn3 if isinstance(block, InvertedBlock) else block.bn2
                nn.init.zeros_(last_norm.get_parameter('weight'))

    def stem_modules(self) -> list[nn.Module]:
        """The stem convolution with norm and activation."""
        return [self.conv_stem, self.bn1, self.act1]

    def level_modules(self, level: int) -> list[nn.Module]:
        """A stage, or the head convolution with norm and activation."""
        return [self.blocks[level]] if level < len(self.arch.stages) else [self.conv_head, self.bn2, self.act2]


@MODELS.register_module()
class TinyNet(ScaledEfficientNet):
    """TinyNet-A to E: ``TinyNet(arch='d')``. All values of ``arch`` of :class:`ScaledEfficientNet` are allowed too."""

    def __init__(self, arch: str | dict | Arch = 'a', **kwargs: Any):
        super().__init__(preset(f'tinynet_{arch.lower()}') if isinstance(arch, str) and len(arch) == 1 else arch, **kwargs)
