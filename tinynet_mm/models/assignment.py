"""Assignment of points to boxes for the light head: task alignment (Feng et al., TOOD, 2021, arXiv 2108.07755, section 3.2).

RTMDet's ``DynamicSoftLabelAssigner`` gives a box as many positive points as the sum of its best IoUs. Before training that is 5
to 6 points a box on the sets BCCD and AquaTrash, about 50 in a batch of eight images of AquaTrash, which have one or two objects.
Here every box gets the ``topk`` best points inside it from the first iteration: 12.5 points a box, about 130 in that batch (six
batches of random images at 320 pixels, TinyNet-E). RTMDet's assigner had 4.4 points of val mAP less on BCCD (0.501 and 0.545,
one seed; docs/choices.md).

mmdet's ``TaskAlignedAssigner`` takes the best points of the complete image and then drops those outside of the box, so a box can
lose all of them, and it leaves the scaling of its metric to ``TOODHead``.
"""

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class AlignedAssigner(BaseAssigner):
    """Give each box the ``topk`` points inside it with the largest ``score ** alpha * IoU ** beta``.

    Args:
        topk: positive points of a box, at most.
        alpha: exponent of the score of the box's class.
        beta: exponent of the IoU of the predicted box with the box.
    """

    def __init__(self, topk: int = 13, alpha: float = 1.0, beta: float = 6.0):
        self.topk, self.alpha, self.beta = topk, alpha, beta

    @torch.no_grad()
    def assign(
        self, pred_instances: InstanceData, gt_instances: InstanceData, gt_instances_ignore: InstanceData | None = None
    ) -> AssignResult:
        """Assign the P points of an image to its G boxes; a point inside several boxes goes to the one with the largest IoU.

        Args:
            pred_instances: ``priors`` (P, 4) with x and y first, ``bboxes`` (P, 4) and the logits ``scores`` (P, classes).
            gt_instances: ``bboxes`` (G, 4) and ``labels`` (G,).
            gt_instances_ignore: not used, as in mmdet's assigner of RTMDet.

        Returns:
            the box of each point. Its ``max_overlaps`` are the targets of the scores: for the best point of a box the largest IoU
            of its points, and for the others less, in proportion to the metric (TOOD, equation 4).
        """
        boxes, labels = gt_instances.bboxes, gt_instances.labels
        points, count = pred_instances.priors[:, :2], len(pred_instances.priors)
        assigned, targets = torch.zeros(count, dtype=torch.long, device=points.device), points.new_zeros(count)
        if len(boxes):
            ious = bbox_overlaps(pred_instances.bboxes, boxes).clamp(min=1e-6)
            metric = pred_instances.scores.sigmoid()[:, labels] ** self.alpha * ious**self.beta
            chosen = self._choose(metric, _inside(points, boxes), ious)
            metric, ious = metric * chosen, ious * chosen
            scale = ious.amax(0) / metric.amax(0).clamp(min=torch.finfo(metric.dtype).tiny)
            targets, positive = (metric * scale).amax(1), chosen.any(1)
            assigned[positive] = chosen[positive].int().argmax(1) + 1
        kinds = torch.full_like(assigned, -1)
        kinds[assigned > 0] = labels[assigned[assigned > 0] - 1]
        return AssignResult(len(boxes), assigned, targets, labels=kinds)

    def _choose(self, metric: Tensor, inside: Tensor, ious: Tensor) -> Tensor:
        """The positive pairs (P, G) of points and boxes, at most one box per point."""
        best = metric.masked_fill(~inside, -1).topk(min(self.topk, len(metric)), dim=0).indices
        chosen = torch.zeros_like(inside).scatter_(0, best, True) & inside
        nearest = ious.masked_fill(~chosen, -1).argmax(1, keepdim=True)
        return chosen & torch.zeros_like(inside).scatter_(1, nearest, True)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points (P, 2) are strictly inside boxes (G, 4), as (P, G)."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(2)
