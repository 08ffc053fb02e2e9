"""Detectors for class activation maps: the anchor, point or proposal of each final box.

The boxes and scores of all candidates are decoded here as mmdet's heads decode them. The candidate of a final box is the one
with the same box and score, so no non-maximum suppression is in the graph.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops import box_iou

from ..errors import UserError
from .probes import SUPPORTED, Candidate, ClassifierProbe, Probe, Reading

# The head and this module both compute a box and its score: equal up to rounding, in pixels of the input and in probability.
BOX_TOLERANCE = 0.5
SCORE_TOLERANCE = 1e-4


def _flatten(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Maps (B, A * channels, H, W) to rows (B, P, channels), P the sum of H * W * A in the order of mmdet's prior generators."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps], dim=1)


def _with_threshold(config: ConfigDict, threshold: float) -> ConfigDict:
    """A copy of a head's test settings with a score threshold of at least ``threshold``.

    The boxes above it stay the same: non-maximum suppression removes a box only because of boxes with higher scores.
    """
    config = copy.copy(config)
    config.score_thr = max(config.get('score_thr', 0.0), threshold)
    return config


def _mirrored(box: Sequence[float], width: int) -> tuple[float, ...]:
    return width - box[2], box[1], width - box[0], box[3]


class DetectorReading(Reading):
    """What both kinds of detectors share: the final boxes first, then the candidate of each."""

    @torch.no_grad()
    def found(self, image: int, threshold: float = 0.0, label: int | None = None, most: int | None = None) -> list[Candidate]:
        """The candidates of the final boxes."""
        result = self._predict(image, threshold)
        result = result[result.scores >= threshold]
        result = (result if label is None else result[result.labels == label])[:most]
        rows = zip(result.bboxes, result.scores.tolist(), result.labels.tolist())
        return [self._match(image, *row) for row in rows]

    @abstractmethod
    def _predict(self, image: int, threshold: float) -> InstanceData:
        """The head's final boxes of an image, with scores and labels; boxes below the threshold may be missing."""

    @abstractmethod
    def _match(self, image: int, box: Tensor, score: float, label: int) -> Candidate:
        """The candidate with the box (4,) and the score of a final box.

        Soft non-maximum suppression lowers scores; where no score is equal, the box decides.
        """


class DenseProbe(Probe):
    """A single-stage detector whose head follows mmdet's BaseDenseHead: SSD, RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX."""

    def __init__(self, model: nn.Module):
        head: Any = model.bbox_head
        super().__init__(model, head.prior_generator.num_levels)

    @property
    def head(self) -> Any:
        """The model's ``bbox_head``."""
        return self.model.bbox_head

    def read(self, inputs: Tensor, metas: Sequence[dict] | None = None) -> 'DenseReading':
        """Run the network up to the outputs of the head."""
        features = self.model.extract_feat(inputs)
        outs = self.head(tuple(level(feature) for level, feature in zip(self.levels, features)))
        if not 2 <= len(outs) <= 3 or not all(isinstance(out, list | tuple) for out in outs):
            raise UserError(f'{type(self.head).__name__} does not return scores and boxes level by level; {SUPPORTED}')
        return DenseReading(self, tuple(outs), _flatten(outs[0], self.head.cls_out_channels), metas or ())

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid or softmax, as the head's loss."""
        return logits.sigmoid() if self.head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]


@dataclass(frozen=True, eq=False)
class DenseReading(DetectorReading):
    """Outputs of a dense head.

    Attributes:
        probe: the detector.
        outs: for each level maps (B, C, H, W) of scores, of boxes and, for some heads, of centreness or objectness.
        rows: class logits (B, P, K) of the P anchors of all levels; differentiable.
        metas: meta information of each image.
    """

    probe: DenseProbe
    outs: tuple[Sequence[Tensor], ...]
    rows: Tensor
    metas: Sequence[dict]

    @property
    def head(self) -> Any:
        """The model's ``bbox_head``."""
        return self.probe.head

    @cached_property
    def level_of(self) -> list[int]:
        """The level of each of the P anchors."""
        anchors = [scores[0].numel() // self.head.cls_out_channels for scores in self.outs[0]]
        return torch.repeat_interleave(torch.tensor(anchors)).tolist()

    @cached_property
    def all_scores(self) -> Tensor:
        """Scores (B, P, classes) as the head reports them: class probability times centreness or objectness, if it has one."""
        scores = self.probe.probabilities(self.rows.detach())
        if len(self.outs) == 3:
            scores = scores * _flatten([m.detach() for m in self.outs[2]], 1).sigmoid()
        return scores

    def scores(self, image: int) -> Tensor:
        """Scores (P, classes) of an image, see :attr:`all_scores`."""
        return self.all_scores[image]

    def _maps(self, out: int, image: int) -> list[Tensor]:
        return [m[image : image + 1].detach() for m in self.outs[out]]

    def boxes(self, image: int, rows: Tensor | Sequence[int]) -> Tensor:
        """Decoded boxes (n, 4) of some anchors, in pixels of the input."""
        maps, head, rows = self._maps(1, image), self.head, torch.as_tensor(rows)
        if hasattr(head, '_bbox_decode'):  # YOLOX: centre and log size in strides
            return head._bbox_decode(self.priors[rows], _flatten(maps, 4)[:, rows])[0]
        priors, shape = self.priors[rows], self.metas[image]['img_shape']
        if hasattr(head, 'integral'):  # GFL: a distribution over distances from the anchor's centre, in strides
            strides = torch.tensor([head.prior_generator.strides[self.level_of[row]][0] for row in rows.tolist()])
            deltas = head.integral(_flatten(maps, 4 * (head.reg_max + 1))[0, rows]) * strides[:, None].to(maps[0])
            return head.bbox_coder.decode(head.anchor_center(priors), deltas, max_shape=shape)
        return head.bbox_coder.decode(priors, _flatten(maps, head.bbox_coder.encode_size)[0, rows], max_shape=shape)

    @cached_property
    def priors(self) -> Tensor:
        """Anchors (P, 4) or points (P, 2) of all levels in pixels of the input; for YOLOX points with strides (P, 4)."""
        maps = self.outs[1]
        options = dict(dtype=maps[0].dtype, device=maps[0].device)
        if hasattr(self.head, '_bbox_decode'):
            options['with_stride'] = True
        return torch.cat(self.head.prior_generator.grid_priors([m.shape[-2:] for m in maps], **options))

    def _predict(self, image: int, threshold: float) -> InstanceData:
        outs = [self._maps(out, image) for out in range(len(self.outs))]
        config = _with_threshold(self.head.test_cfg, threshold)
        return self.head.predict_by_feat(*outs, batch_img_metas=[self.metas[image]], cfg=config, rescale=False)[0]

    def _match(self, image: int, box: Tensor, score: float, label: int) -> Candidate:
        scores = self.scores(image)[:, label]
        rows = ((scores - score).abs() <= SCORE_TOLERANCE).nonzero()[:, 0]
        rows = rows if len(rows) else (scores >= score).nonzero()[:, 0]
        gaps = (self.boxes(image, rows) - box.to(scores.device)).abs().amax(1) / BOX_TOLERANCE
        if not len(rows) or gaps.min() > 1:
            raise UserError(f'no anchor of {type(self.head).__name__} decodes to the box it reports; {SUPPORTED}')
        gaps += (scores[rows] - score).abs() / SCORE_TOLERANCE  # several boxes that fill the image are equal
        row = int(rows[gaps.argmin()])
        return Candidate(label, score, self.level_of[row], row, tuple(box.tolist()))

    @torch.no_grad()
    def best(self, image: int, label: int | None = None) -> Candidate | None:
        """The anchor with the highest score among those whose box is large enough for the head."""
        scores = self.scores(image)
        scores = scores if label is None else scores[:, label : label + 1]
        least = max(0, self.head.test_cfg.get('min_bbox_size', 0))
        for count in (64, len(scores)):  # a head drops boxes without a size; few anchors have one
            rows = scores.amax(1).topk(min(count, len(scores))).indices
            boxes = self.boxes(image, rows)
            sized = ((boxes[:, 2:] - boxes[:, :2]).amin(1) > least).nonzero()
            if len(sized):
                break
        place = int(sized[0]) if len(sized) else 0
        row, column = int(rows[place]), int(scores[rows[place]].argmax())
        box = tuple(boxes[place].tolist())
        return Candidate(column if label is None else label, float(scores[row, column]), self.level_of[row], row, box)

    def logits(self, pairs: Sequence[tuple[int, Candidate]]) -> Tensor:
        """Class logits (n, K) of the anchors."""
        return self.rows[[image for image, _ in pairs], [candidate.row for _, candidate in pairs]]

    @torch.no_grad()
    def mirror(self, image: int, candidate: Candidate, width: int) -> Candidate:
        """The anchor of the mirrored image that overlaps the mirrored box best, weighted by its score for the class."""
        assert candidate.box is not None  # every candidate of a detector has one
        box = self.rows.new_tensor([_mirrored(candidate.box, width)])
        boxes = self.boxes(image, range(len(self.level_of)))
        row = int((box_iou(box, boxes)[0] * self.scores(image)[:, candidate.label]).argmax())
        return replace(candidate, row=row, level=self.level_of[row], box=tuple(box[0].tolist()))


class RoIProbe(Probe):
    """A two-stage detector with mmdet's StandardRoIHead (Faster and Mask R-CNN); proposals are fixed, never differentiated."""

    def __init__(self, model: nn.Module):
        roi_head: Any = model.roi_head
        super().__init__(model, len(roi_head.bbox_roi_extractor.featmap_strides))

    @property
    def head(self) -> Any:
        """The ``bbox_head`` of the second stage."""
        return self.model.roi_head.bbox_head

    def read(self, inputs: Tensor, metas: Sequence[dict] | None = None) -> 'RoIReading':
        """Run the network up to the features."""
        features = self.model.extract_feat(inputs)
        levels = tuple(level(feature) for level, feature in zip(self.levels, features))
        return RoIReading(self, levels + tuple(features[len(levels) :]), metas or ())  # a further level is for proposals only

    def pooled(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, K) and box deltas of proposals (R, 5), the image's index first."""
        roi_head = self.model.roi_head
        pooled = roi_head.bbox_roi_extractor(features[: len(self.levels)], rois)
        return self.head(roi_head.shared_head(pooled) if roi_head.with_shared_head else pooled)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax without the background, which is the last logit."""
        return logits.softmax(-1)[..., :-1]


@dataclass(frozen=True, eq=False)
class _Proposals:
    """Proposals (R, 5) of one image, their logits (R, K), box deltas, and decoded boxes (R, classes, 4)."""

    rois: Tensor
    logits: Tensor
    deltas: Tensor
    boxes: Tensor


@dataclass(frozen=True, eq=False)
class RoIReading(DetectorReading):
    """Features of a two-stage detector, each (B, C, H, W)."""

    probe: RoIProbe
    features: tuple[Tensor, ...]
    metas: Sequence[dict]

    def logits(self, pairs: Sequence[tuple[int, Candidate]]) -> Tensor:
        """Class logits (n, K) of the proposals."""
        rois = [torch.cat([self.features[0].new_tensor([image]), _roi_of(candidate)]) for image, candidate in pairs]
        return self.probe.pooled(self.features, torch.stack(rois))[0]

    @cached_property
    @torch.no_grad()
    def proposals(self) -> list[_Proposals]:
        """The proposals of each image."""
        return [self._propose(image) for image in range(len(self.features[0]))]

    def _propose(self, image: int) -> _Proposals:
        features = tuple(feature[image : image + 1].detach() for feature in self.features)
        rpn, head, meta = self.probe.model.rpn_head, self.probe.head, self.metas[image]
        found = rpn.predict_by_feat(*rpn(features), batch_img_metas=[meta], rescale=False)[0].bboxes.to(features[0].device)
        rois = torch.cat([found.new_zeros(len(found), 1), found], dim=1)
        if not len(rois):
            return _Proposals(rois, rois.new_zeros(0, head.num_classes + 1), rois[:, :4], rois.new_zeros(0, head.num_classes, 4))
        logits, deltas = self.probe.pooled(features, rois)
        classes = 1 if head.reg_class_agnostic else head.num_classes
        anchors = found.repeat_interleave(classes, dim=0)
        boxes = head.bbox_coder.decode(anchors, deltas.reshape(-1, 4), max_shape=meta['img_shape'])
        return _Proposals(rois, logits, deltas, boxes.view(len(rois), classes, 4).expand(-1, head.num_classes, -1))

    def _candidate(self, image: int, row: int, label: int, score: float) -> Candidate:
        own = self.proposals[image]
        extractor = self.probe.model.roi_head.bbox_roi_extractor
        level = int(extractor.map_roi_levels(own.rois[row : row + 1], len(self.probe.levels)))
        return Candidate(label, score, level, row, tuple(own.boxes[row, label].tolist()), own.rois[row, 1:])

    def _predict(self, image: int, threshold: float) -> InstanceData:
        own, metas = self.proposals[image], [self.metas[image]]
        if not len(own.rois):
            return InstanceData(bboxes=own.rois[:, 1:], scores=own.rois[:, 0], labels=own.rois[:, 0].long())
        config = _with_threshold(self.probe.model.roi_head.test_cfg, threshold)
        outputs = (own.rois,), (own.logits,), (own.deltas,)
        return self.probe.head.predict_by_feat(*outputs, metas, rcnn_test_cfg=config, rescale=False)[0]

    def _match(self, image: int, box: Tensor, score: float, label: int) -> Candidate:
        own = self.proposals[image]
        matches = (own.boxes[:, label] - box.to(own.boxes.device)).abs().amax(1) <= BOX_TOLERANCE
        gaps = (self.probe.probabilities(own.logits)[:, label] - score).abs().masked_fill(~matches, torch.inf)
        if not matches.any():
            raise UserError(f'no proposal decodes to the box that {type(self.probe.head).__name__} reports; {SUPPORTED}')
        return self._candidate(image, int(gaps.argmin()), label, score)

    @torch.no_grad()
    def best(self, image: int, label: int | None = None) -> Candidate | None:
        """The proposal with the highest score; None on an image without proposals."""
        scores = self.probe.probabilities(self.proposals[image].logits)
        if not len(scores):
            return None
        row, label = divmod(int(scores.argmax()), scores.shape[1]) if label is None else (int(scores[:, label].argmax()), label)
        return self._candidate(image, row, label, float(scores[row, label]))

    def mirror(self, image: int, candidate: Candidate, width: int) -> Candidate:
        """The same proposal, mirrored."""
        assert candidate.box is not None  # every candidate of a detector has one
        roi = _roi_of(candidate)
        return replace(candidate, roi=roi.new_tensor(_mirrored(roi.tolist(), width)), box=_mirrored(candidate.box, width))


def _roi_of(candidate: Candidate) -> Tensor:
    assert candidate.roi is not None  # every candidate of a two-stage detector has one
    return candidate.roi


def make_probe(model: nn.Module) -> Probe:
    """The probe for a built model.

    Raises:
        UserError: no probe supports the model; the message lists the supported ones.
    """
    if hasattr(model, 'roi_head'):
        if hasattr(model, 'rpn_head') and getattr(getattr(model.roi_head, 'bbox_head', None), 'with_reg', False):
            return RoIProbe(model)
    elif hasattr(model, 'bbox_head'):
        if hasattr(model.bbox_head, 'prior_generator') and hasattr(model.bbox_head, 'cls_out_channels'):
            return DenseProbe(model)
    elif hasattr(model, 'head') or not hasattr(model, 'backbone'):
        return ClassifierProbe(model)
    raise UserError(f'no class activation maps for {type(model).__name__}; {SUPPORTED}')
