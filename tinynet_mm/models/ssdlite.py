"""The SSDLite head: mmdet's SSDHead with three fixes, and with anchors that follow the input size.

mmdet's ``SSDHead`` has four faults. It skips ``AnchorHead.__init__``, so ``loss_cls`` is missing and every SSD config of mmdet
3.2 and 3.3 fails at its first validation (mmdetection issues 11063, 11305, 11780). Its anchors are literals for one input size,
which are not compared with the feature maps. It takes three negative anchors for each positive one of an image, so an image
without boxes has no loss. On several processes, each divides its loss by its own number of positive anchors.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import SSDHead
from mmdet.utils import reduce_mean
from mmengine.dist import is_distributed
from mmengine.registry import MODELS
from torch import Tensor

from ..errors import UserError
from .suppression import SuppressOnCPU

# Anchor sizes as shares of the input side, from SSD300 on COCO (Liu et al., 2016, section 3.4 and the published code): a small
# first level, then 0.15 to 0.87 in equal steps. The last number is only used for the second square anchor of the last level.
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)


@MODELS.register_module()
class SSDLiteHead(SuppressOnCPU, SSDHead):
    """Depthwise SSD head; ``input_size`` and the strides of the levels define the anchors.

    Args:
        num_classes: object classes, without background.
        in_channels: channels of each level.
        input_size: side of the square input in pixels.
        strides: stride of each level in pixels; its map has ceil(input_size / stride) cells per side.
        scales: anchor size of each level as a share of the input side, and one more for the last level's larger square.
        ratios: aspect ratios in addition to 1, each also inverted; 2 and 3 give six anchors per cell.
        kwargs: further arguments of mmdet's ``SSDHead``.

    Raises:
        UserError: lists of different lengths; maps that do not fit ``input_size`` (at the first forward pass).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        input_size: int = 512,
        strides: Sequence[int] = (16, 32, 64, 128, 256, 512),
        scales: Sequence[float] = SCALES,
        ratios: Sequence[float] = (2, 3),
        **kwargs: Any,
    ):
        if not len(in_channels) == len(strides) == len(scales) - 1:
            raise UserError(
                f'SSDLiteHead has {len(in_channels)} in_channels, {len(strides)} strides and {len(scales)} scales: '
                'give each level one of each, and scales one more.'
            )
        self.input_size = input_size
        self.sides = [math.ceil(input_size / stride) for stride in strides]
        sizes = [scale * input_size for scale in scales]
        anchors = dict(
            type='mmdet.SSDAnchorGenerator',
            scale_major=False,
            strides=[input_size / side for side in self.sides],
            ratios=[list(ratios)] * len(strides),
            min_sizes=sizes[:-1],
            max_sizes=sizes[1:],
        )
        coder = dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
        super().__init__(num_classes, in_channels, use_depthwise=True, anchor_generator=anchors, bbox_coder=coder, **kwargs)
        # BaseDenseHead.predict reads from loss_cls how scores become probabilities; the loss itself is computed by SSDHead.
        self.loss_cls = MODELS.build(dict(type='mmdet.CrossEntropyLoss'))

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, C_i, side_i, side_i) to scores (B, anchors * (classes + 1), ...) and deltas (B, anchors * 4, ...)."""
        sides = [tuple(feature.shape[-2:]) for feature in x]
        if sides != [(side, side) for side in self.sides]:
            raise UserError(
                f'the feature maps are {sides}, but anchors for input_size={self.input_size} need {self.sides}: '
                'resize to the same size in the pipeline (--input-size N sets both).'
            )
        return super().forward(x)

    def get_targets(self, *args: Any, **kwargs: Any) -> tuple:
        """As in mmdet; the positive anchors that divide the losses are the mean of all processes, as in mmdet's other heads.

        Then two processes with four images each have the gradients of one with eight.
        """
        *targets, positive = super().get_targets(*args, **kwargs)
        if is_distributed():
            positive = reduce_mean(targets[0][0].new_tensor(positive, dtype=torch.float)).item()
        return *targets, positive

    def loss_by_feat_single(
        self, cls_score: Tensor, bbox_pred: Tensor, anchor: Tensor, labels: Tensor, *args: Any, avg_factor: float, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The losses of an image; one without boxes has as many negative anchors as one with a positive anchor.

        ``avg_factor`` counts such an image as one positive anchor already.
        """
        found = super().loss_by_feat_single(cls_score, bbox_pred, anchor, labels, *args, avg_factor=avg_factor, **kwargs)
        if (labels >= 0).logical_and(labels < self.num_classes).any():
            return found
        negative = labels == self.num_classes
        losses = F.cross_entropy(cls_score[negative], labels[negative], reduction='none')
        hardest = losses.topk(min(self.train_cfg['neg_pos_ratio'], len(losses))).values
        return hardest.sum()[None] / avg_factor, found[1]
