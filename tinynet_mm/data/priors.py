"""The anchors or points of a detection head, and the boxes of a data set that they do not fit. Not from the paper."""

from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from mmengine.registry import MODELS, TASK_UTILS

from ..mmlab.configs import input_side
from .augment import pairwise_iou

NO_ANCHOR, NO_POINT = 'boxes that match no anchor', 'boxes with no point inside'


@dataclass(frozen=True)
class Priors:
    """The anchors (N, 4) xyxy or points (N, 2) of a head, as fractions of the input's sides."""

    places: np.ndarray

    @property
    def kind(self) -> str:
        """The finding about a box that they do not fit."""
        return NO_POINT if self.places.shape[1] == 2 else NO_ANCHOR

    def missed(self, boxes: np.ndarray) -> np.ndarray:
        """Whether boxes (M, 4) xyxy, in the same fractions, do not fit, as (M,) booleans.

        A box does not fit anchors if its IoU with every anchor is below 0.5, the threshold of the matcher, and points if none is
        inside it.
        """
        chunks = np.split(boxes, range(256, len(boxes), 256))
        return np.concatenate([self._missed(chunk) for chunk in chunks])

    def _missed(self, boxes: np.ndarray) -> np.ndarray:
        if self.kind == NO_ANCHOR:
            return pairwise_iou(boxes, self.places.astype(np.float32)).max(1) < 0.5
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        inside = np.all((self.places > low) & (self.places < high), axis=2)
        return np.logical_not(np.any(inside, axis=1))


def priors_of(cfg: Config) -> Priors | None:
    """The anchors of an SSDLite config, or the points of one with :class:`~tinynet_mm.models.rtmdet.LightHead`; else None."""
    head = cfg.model.get('bbox_head', {})
    kind = str(head.get('type')).split('.')[-1]
    if kind == 'SSDLiteHead':
        built = MODELS.build(dict(head, _scope_='mmdet'))
        levels = built.prior_generator.grid_priors([(side, side) for side in built.sides], device='cpu')
        return Priors(np.concatenate([level.numpy() for level in levels]) / built.input_size)
    if kind == 'LightHead':
        side = input_side(cfg)
        points = TASK_UTILS.build(dict(head.anchor_generator, _scope_='mmdet'))
        levels = points.grid_priors([(-(-side // x), -(-side // y)) for x, y in points.strides], device='cpu')
        return Priors(np.unique(np.concatenate([level.numpy() for level in levels]), axis=0) / side)
    return None
