"""The light detection head and neck: RTMDet's, with depthwise convolutions shared by the levels, and one more level.

The parts are mmdet's (Lyu et al., RTMDet, 2022, arXiv 2212.07784). Differences, each with its reason:

* ``share_conv=True`` with ``use_depthwise=True`` raises AttributeError in mmdet 3.3, because its loop looks for ``conv`` in
  ``DepthwiseSeparableConvModule``. Here the depthwise and the pointwise kernels are shared; the norms are not.
* The kernel of the depthwise convolutions is an argument. 5x5 instead of 3x3 costs 4 % of the multiply-adds of the detector with
  TinyNet-E; on BCCD both have the same accuracy (docs/choices.md).
* Non-maximum suppression runs on the CPU if mmcv's operators were built without CUDA.
* An input whose sides the strides do not divide is one sentence. In mmdet it fails inside the neck, at a concatenation.
* All positive points have the same weight in the box loss. RTMDet weights them by the targets of their scores, which are IoUs, so
  that small boxes had little weight (docs/benchmarks.md has weights and accuracies).
* :class:`LightPAN` adds levels of larger strides for large objects, which RTMDet does not have; on BCCD it makes no measurable
  difference.
"""

import math
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import DepthwiseSeparableConvModule
from mmdet.models.dense_heads.rtmdet_head import RTMDetSepBNHead
from mmdet.models.necks import CSPNeXtPAFPN
from mmengine.model import normal_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .suppression import SuppressOnCPU


@MODELS.register_module()
class LightPAN(CSPNeXtPAFPN):
    """CSPNeXtPAFPN with depthwise convolutions, and ``extra_levels`` above the last one.

    Args:
        in_channels: channels of the maps of the backbone, of strides 8, 16 and 32.
        out_channels: channels of every output map.
        extra_levels: number of levels that are computed from the last output, each at twice the stride of the one before.
        kwargs: further arguments of mmdet's ``CSPNeXtPAFPN``.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, extra_levels: int = 0, **kwargs: Any):
        settings = dict(num_csp_blocks=1, use_depthwise=True) | kwargs
        super().__init__(list(in_channels), out_channels, **settings)
        shared = {key: settings[key] for key in ('norm_cfg', 'act_cfg') if key in settings}
        self.extra = nn.ModuleList(
            DepthwiseSeparableConvModule(out_channels, out_channels, 5, stride=2, padding=2, **shared)
            for _ in range(extra_levels)
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps (B, C_i, H/s, W/s) of strides s = 8, 16, 32 to maps (B, out_channels, H/s, W/s), and the extra levels.

        Raises:
            UserError: the sides of the input are not multiples of 32.
        """
        check_sides(inputs)
        outputs = list(super().forward(inputs))
        for layer in self.extra:
            outputs.append(layer(outputs[-1]))
        return tuple(outputs)


def check_sides(maps: Sequence[Tensor]) -> None:
    """Raise UserError if a map does not have half the sides of the one before."""
    sides = [tuple(feature.shape[-2:]) for feature in maps]
    if any(big != (2 * small[0], 2 * small[1]) for big, small in zip(sides, sides[1:])):
        raise UserError(f'the feature maps have sides {sides}: give an input size that is a multiple of 32.')


@MODELS.register_module()
class LightHead(SuppressOnCPU, RTMDetSepBNHead):
    """RTMDet's head with depthwise convolutions; by default they are shared by the levels, and 5x5.

    Args:
        num_classes: object classes.
        in_channels: channels of every level.
        kernel_size: of the depthwise convolutions.
        share_conv: whether the levels share kernels; each level has its own norms and its own last layer.
        initial: side of the predicted boxes before training, in strides; 2 in mmdet.
        kwargs: further arguments of mmdet's ``RTMDetSepBNHead``.
    """

    def __init__(
        self, num_classes: int, in_channels: int, kernel_size: int = 5, share_conv: bool = True, initial: float = 6, **kwargs: Any
    ):
        self.kernel_size, self.initial = kernel_size, initial
        settings = dict(feat_channels=in_channels, stacked_convs=2, exp_on_reg=True) | kwargs
        super().__init__(num_classes, in_channels, share_conv=share_conv, use_depthwise=True, with_objectness=False, **settings)

    def _init_layers(self) -> None:
        """Build a branch for scores and one for boxes at each level."""
        levels = range(len(self.prior_generator.strides))
        self.cls_convs = nn.ModuleList(self._branch() for _ in levels)
        self.reg_convs = nn.ModuleList(self._branch() for _ in levels)
        if self.share_conv:
            for branches in (self.cls_convs, self.reg_convs):
                _share(branches)
        self.rtm_cls = nn.ModuleList(self._last(self.num_base_priors * self.cls_out_channels) for _ in levels)
        self.rtm_reg = nn.ModuleList(self._last(self.num_base_priors * 4) for _ in levels)

    def init_weights(self) -> None:
        """Initialise as mmdet, with boxes of ``initial`` strides."""
        super().init_weights()
        for layer in self.rtm_reg:
            normal_init(layer, std=0.01, bias=math.log(self.initial / 2) if self.exp_on_reg else self.initial / 2)

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        assign_metrics: Tensor,
        stride: Sequence[int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The sums of both losses at a level and what divides them: mmdet's, but with box losses of weight 1.

        Args:
            cls_score: logits (B, classes, H, W).
            bbox_pred: predicted boxes (B, P, 4) of the P = H * W points, in pixels.
            labels: class of each point (B, P); the number of classes is the background.
            label_weights: weight of each point in the loss of the scores (B, P).
            bbox_targets: box of each point (B, P, 4).
            assign_metrics: target of the score of each point (B, P).
            stride: of the level, horizontal and vertical.

        Returns:
            loss of the scores, loss of the boxes, sum of the targets, number of positive points.
        """
        level = (cls_score, bbox_pred, labels, label_weights, bbox_targets, assign_metrics, stride)
        loss_cls, _, quality, _ = super().loss_by_feat_single(*level)
        positive = ((labels >= 0) & (labels < self.num_classes)).flatten()
        boxes, targets = bbox_pred.reshape(-1, 4)[positive], bbox_targets.reshape(-1, 4)[positive]
        loss_bbox = self.loss_bbox(boxes, targets, avg_factor=1.0) if len(boxes) else bbox_pred.sum() * 0
        return loss_cls, loss_bbox, quality, positive.sum().to(quality)

    def _branch(self) -> nn.ModuleList:
        channels = [self.in_channels] + [self.feat_channels] * self.stacked_convs
        settings = dict(padding=self.kernel_size // 2, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        return nn.ModuleList(
            DepthwiseSeparableConvModule(before, after, self.kernel_size, **settings)
            for before, after in zip(channels, channels[1:])
        )

    def _last(self, channels: int) -> nn.Conv2d:
        return nn.Conv2d(self.feat_channels, channels, self.pred_kernel_size, padding=self.pred_kernel_size // 2)


def _share(branches: nn.ModuleList) -> None:
    """Give all branches the kernels of the first one; the norms stay their own."""
    for branch in list(branches)[1:]:
        for layer, first in zip(branch.children(), branches[0].children()):
            for part in ('depthwise_conv', 'pointwise_conv'):
                layer.get_submodule(part).add_module('conv', first.get_submodule(f'{part}.conv'))
