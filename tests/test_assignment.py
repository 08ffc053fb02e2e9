"""The task-aligned assignment of the light head, against loops over points and boxes and against mmdet's."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torchvision.ops import box_iou

from tinynet_mm.models.assignment import AlignedAssigner


def scene(seed: int, boxes: int, classes: int = 3, spread: float = 6):
    """Points of two levels of a 64-pixel image, predictions around them, and boxes."""
    rng = np.random.default_rng(seed)
    points = np.array([(x, y, s, s) for s in (8, 16) for y in range(0, 64, s) for x in range(0, 64, s)], np.float32)
    sides = points[:, 2:] * rng.uniform(0.5, 3, (len(points), 2)) + rng.uniform(0, spread, (len(points), 2))
    predicted = np.concatenate([points[:, :2] - sides / 2, points[:, :2] + sides / 2], 1).astype(np.float32)
    corners = rng.uniform(0, 40, (boxes, 2))
    wanted = np.concatenate([corners, corners + rng.uniform(3, 24, (boxes, 2))], 1).astype(np.float32)
    logits = rng.normal(-2, 1, (len(points), classes)).astype(np.float32)
    found = InstanceData(priors=torch.from_numpy(points), bboxes=torch.from_numpy(predicted), scores=torch.from_numpy(logits))
    return found, InstanceData(bboxes=torch.from_numpy(wanted), labels=torch.from_numpy(rng.integers(0, classes, boxes)))


def by_loops(found, wanted, topk: int, alpha: float, beta: float):
    """The box of each point (0 for none) and the target of its score."""
    ious = box_iou(found.bboxes, wanted.bboxes).clamp(min=1e-6).double().numpy()
    scores = found.scores.double().sigmoid().numpy()
    owner, target = np.zeros(len(ious), int), np.zeros(len(ious))
    chosen = {}
    for box, (x1, y1, x2, y2) in enumerate(wanted.bboxes.tolist()):
        label = int(wanted.labels[box])
        inside = [p for p, (x, y, *_) in enumerate(found.priors.tolist()) if x1 < x < x2 and y1 < y < y2]
        ranked = sorted(inside, key=lambda p: -(scores[p, label] ** alpha) * ious[p, box] ** beta)
        for point in ranked[:topk]:
            if point not in chosen or ious[point, box] > ious[point, chosen[point]]:
                chosen[point] = box
    for box in range(len(wanted.bboxes)):
        mine = [point for point, other in chosen.items() if other == box]
        metric = {p: scores[p, int(wanted.labels[box])] ** alpha * ious[p, box] ** beta for p in mine}
        for point in mine:
            owner[point] = box + 1
            target[point] = metric[point] / max(metric.values()) * max(ious[p, box] for p in mine)
    return owner, target


@pytest.mark.parametrize('boxes', [1, 4, 12])
@pytest.mark.parametrize('settings', [dict(topk=13), dict(topk=3), dict(topk=200, alpha=0.5, beta=2.0)], ids=str)
def test_it_equals_loops(boxes, settings):
    positives = 0
    for seed in range(5):
        found, wanted = scene(seed, boxes)
        result = AlignedAssigner(**settings).assign(found, wanted)
        owner, target = by_loops(found, wanted, **(dict(alpha=1.0, beta=6.0) | settings))
        np.testing.assert_array_equal(result.gt_inds, owner)
        np.testing.assert_allclose(result.max_overlaps, target, rtol=1e-3, atol=1e-6)
        labels = np.where(owner > 0, wanted.labels.numpy()[owner - 1], -1)
        np.testing.assert_array_equal(result.labels, labels)
        positives += (owner > 0).sum()
    assert positives > 5 * boxes / 2


def test_positives_are_those_of_mmdet_where_all_its_candidates_are_inside():
    from mmdet.models.task_modules.assigners import TaskAlignedAssigner

    init_default_scope('mmdet')  # an earlier test can leave another one
    found, wanted = scene(0, 1)
    wanted.bboxes[:] = torch.tensor([-9.0, -9.0, 90.0, 90.0])  # contains every point
    points = found.priors[:, :2]
    anchors = InstanceData(priors=torch.cat([points, points], 1), bboxes=found.bboxes, scores=found.scores.sigmoid())
    expected = TaskAlignedAssigner(topk=13).assign(anchors, wanted)
    result = AlignedAssigner(topk=13).assign(found, wanted)
    assert (result.gt_inds > 0).sum() == 13
    np.testing.assert_array_equal(result.gt_inds, expected.gt_inds)
    targets = expected.assign_metrics / expected.assign_metrics.max() * expected.max_overlaps[expected.gt_inds > 0].max()
    torch.testing.assert_close(result.max_overlaps, targets)


def test_images_and_boxes_without_points():
    found, wanted = scene(0, 2)
    wanted.bboxes[1] = torch.tensor([1.0, 1.0, 7.0, 7.0])  # between the points
    result = AlignedAssigner().assign(found, wanted)
    assert set(result.gt_inds.tolist()) == {0, 1}
    result = AlignedAssigner().assign(found, wanted[:0])
    assert not result.gt_inds.any() and not result.max_overlaps.any() and (result.labels == -1).all()
