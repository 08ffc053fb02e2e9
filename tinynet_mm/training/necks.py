"""The neck between a backbone and mmpretrain's LinearClsHead: global pooling and dropout (section 4.1: 0.2)."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PoolDropout(BaseModule):
    """Global average pooling and dropout, which mmpretrain's pooling neck and linear head lack."""

    def __init__(self, dropout: float = 0.2, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pool each map: (B, C, H, W) -> (B, C)."""
        return tuple(self.dropout(torch.mean(feat, (2, 3))) for feat in feats)
