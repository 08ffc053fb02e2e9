"""Detectors as something a class activation map can question: the anchor, point or proposal behind each final box.

Boxes and scores of all candidates are decoded here as mmdet's heads decode them, and the candidate of a final box is the one
whose box and score are the same: no non-maximum suppression is in the graph.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops import box_iou

from ..errors import UserError
from .probes import SUPPORTED, Candidate, ClassifierProbe, Probe

# A box and its score are computed twice, here and by the head: equal up to rounding, in pixels of the input and in probability.
BOX_TOLERANCE = 0.5
SCORE_TOLERANCE = 1e-4


def _flatten(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Maps (B, A * channels, H, W) to rows (B, P, channels), P the sum of H * W * A in the order of mmdet's prior generators."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps], dim=1)


class DetectorProbe(Probe):
    """What both kinds of detectors share: final boxes first, then the candidate of each."""

    @torch.no_grad()
    def found(self, image, threshold=0.0, label=None, most=None):
        result = self._predict(image, threshold)
        result = result[result.scores >= threshold]
        result = (result if label is None else result[result.labels == label])[:most]
        boxes = result.bboxes.to(self.device)
        return [self._match(image, *one) for one in zip(boxes, result.scores.tolist(), result.labels.tolist())]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _predict(self, image: int, threshold: float) -> InstanceData:
        """The head's own final boxes, with scores and labels. What cannot reach the threshold need not be suppressed."""
        raise NotImplementedError

    def _match(self, image: int, box: Tensor, score: float, label: int) -> Candidate:
        """The candidate whose own score and decoded box are those of a final box (soft-NMS lowers scores: the box decides)."""
        raise NotImplementedError


def _raised(config: ConfigDict, threshold: float) -> ConfigDict:
    """A head's test settings with a score threshold of at least so much.

    The boxes above it stay the same: in non-maximum suppression a box yields only to those with higher scores.
    """
    config = copy.copy(config)
    config.score_thr = max(config.get('score_thr', 0.0), threshold)
    return config


class DenseProbe(DetectorProbe):
    """A single-stage detector whose head follows mmdet's BaseDenseHead: SSD, RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX."""

    def __init__(self, model: nn.Module):
        super().__init__(model, model.bbox_head.prior_generator.num_levels)
        self._made: tuple = (None, None)

    @property
    def head(self) -> nn.Module:
        return self.model.bbox_head

    def read(self, inputs, metas=None):
        features = self.model.extract_feat(inputs)
        self.outs = self.head(tuple(tap(feature) for tap, feature in zip(self.levels, features)))
        if not 2 <= len(self.outs) <= 3 or not all(isinstance(out, list | tuple) for out in self.outs):
            raise UserError(f'{type(self.head).__name__} does not give scores and boxes level by level; {SUPPORTED}')
        self.metas, self._scored = metas, {}
        self._read = _flatten(self.outs[0], self.head.cls_out_channels)  # (B, P, K)
        anchors = [scores[0].numel() // self.head.cls_out_channels for scores in self.outs[0]]
        self.level_of = torch.repeat_interleave(torch.tensor(anchors)).tolist()

    def _one(self, out: int, image: int) -> list[Tensor]:
        return [m[image : image + 1].detach() for m in self.outs[out]]

    def scores(self, image: int) -> Tensor:
        """(P, classes) scores as the head reports them: class probability times centreness or objectness, where it has one."""
        if image not in self._scored:
            scores = self.probabilities(self._read[image].detach())
            if len(self.outs) == 3:
                scores = scores * _flatten(self._one(2, image), 1)[0].sigmoid()
            self._scored[image] = scores
        return self._scored[image]

    def boxes(self, image: int, rows: Tensor | Sequence[int]) -> Tensor:
        """(n, 4) decoded boxes of some anchors, in pixels of the input."""
        maps, head, rows = self._one(1, image), self.head, torch.as_tensor(rows)
        sizes = [m.shape[-2:] for m in maps]
        if hasattr(head, '_bbox_decode'):  # YOLOX: centre and log size in strides
            return head._bbox_decode(self._priors(sizes, maps[0], with_stride=True)[rows], _flatten(maps, 4)[:, rows])[0]
        priors, shape = self._priors(sizes, maps[0])[rows], self.metas[image]['img_shape']
        if hasattr(head, 'integral'):  # GFL: a distribution over distances from the anchor's centre, in strides
            strides = torch.tensor([head.prior_generator.strides[self.level_of[row]][0] for row in rows.tolist()])
            deltas = head.integral(_flatten(maps, 4 * (head.reg_max + 1))[0, rows]) * strides[:, None].to(maps[0])
            return head.bbox_coder.decode(head.anchor_center(priors), deltas, max_shape=shape)
        return head.bbox_coder.decode(priors, _flatten(maps, head.bbox_coder.encode_size)[0, rows], max_shape=shape)

    def _priors(self, sizes: Sequence[torch.Size], like: Tensor, **options) -> Tensor:
        """(P, ...) anchors or points of all levels, made once for each size of input."""
        if self._made[0] != sizes:
            made = self.head.prior_generator.grid_priors(sizes, dtype=like.dtype, device=like.device, **options)
            self._made = sizes, torch.cat(made)
        return self._made[1]

    def _predict(self, image, threshold):
        outs = [self._one(i, image) for i in range(len(self.outs))]
        config = _raised(self.head.test_cfg, threshold)
        return self.head.predict_by_feat(*outs, batch_img_metas=[self.metas[image]], cfg=config, rescale=False)[0]

    def _match(self, image, box, score, label):
        scores = self.scores(image)[:, label]
        rows = ((scores - score).abs() <= SCORE_TOLERANCE).nonzero()[:, 0]
        rows = rows if len(rows) else (scores >= score).nonzero()[:, 0]
        gaps = (self.boxes(image, rows) - box).abs().amax(1) / BOX_TOLERANCE
        if not len(rows) or gaps.min() > 1:
            raise UserError(f'no anchor of {type(self.head).__name__} decodes to the box it reports; {SUPPORTED}')
        gaps += (scores[rows] - score).abs() / SCORE_TOLERANCE  # boxes that fill the image are all alike
        row = int(rows[gaps.argmin()])
        return Candidate(label, score, self.level_of[row], row, tuple(box.tolist()))

    @torch.no_grad()
    def best(self, image, label=None):
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

    def logits(self, asked):
        images, rows = zip(*[(image, candidate.row) for image, candidate in asked])
        return self._read[list(images), list(rows)]

    def probabilities(self, logits):
        return logits.sigmoid() if self.head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]

    @torch.no_grad()
    def mirror(self, image, candidate, width):
        """The anchor of the mirrored image that overlaps the mirrored box best, weighted by its score for the class."""
        box = self._read.new_tensor([_mirrored(candidate.box, width)])
        boxes = self.boxes(image, range(len(self.level_of)))
        row = int((box_iou(box, boxes)[0] * self.scores(image)[:, candidate.label]).argmax())
        return replace(candidate, row=row, level=self.level_of[row], box=tuple(box[0].tolist()))


class RoIProbe(DetectorProbe):
    """A two-stage detector with mmdet's StandardRoIHead (Faster and Mask R-CNN); proposals are fixed, never differentiated."""

    def __init__(self, model: nn.Module):
        super().__init__(model, len(model.roi_head.bbox_roi_extractor.featmap_strides))

    @property
    def head(self) -> nn.Module:
        return self.model.roi_head.bbox_head

    def read(self, inputs, metas=None):
        features = self.model.extract_feat(inputs)
        tapped = tuple(tap(feature) for tap, feature in zip(self.levels, features))
        self.features = tapped + tuple(features[len(tapped) :])  # a further level serves the proposals alone
        self.metas, self._proposed = metas, {}

    def logits(self, asked):
        return self._pooled(self.features, torch.stack([torch.cat([c.roi.new_tensor([image]), c.roi]) for image, c in asked]))[0]

    def _pooled(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, K) and box deltas of proposals (R, 5), the image's index first."""
        roi_head = self.model.roi_head
        pooled = roi_head.bbox_roi_extractor(features[: len(self.levels)], rois)
        return self.head(roi_head.shared_head(pooled) if roi_head.with_shared_head else pooled)

    @torch.no_grad()
    def _proposals(self, image: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Proposals (R, 5), their logits (R, K), deltas, and decoded boxes (R, classes, 4) of one image."""
        if image not in self._proposed:
            features = tuple(feature[image : image + 1].detach() for feature in self.features)
            rpn, meta = self.model.rpn_head, self.metas[image]
            proposals = rpn.predict_by_feat(*rpn(features), batch_img_metas=[meta], rescale=False)[0].bboxes.to(
                features[0].device
            )
            rois = torch.cat([proposals.new_zeros(len(proposals), 1), proposals], dim=1)
            if not len(rois):
                raise UserError('the region proposal network proposes nothing on this image, so there is nothing to explain.')
            logits, deltas = self._pooled(features, rois)
            classes = 1 if self.head.reg_class_agnostic else self.head.num_classes
            anchors = proposals.repeat_interleave(classes, dim=0)
            boxes = self.head.bbox_coder.decode(anchors, deltas.reshape(-1, 4), max_shape=meta['img_shape'])
            boxes = boxes.view(len(rois), classes, 4).expand(-1, self.head.num_classes, -1)
            self._proposed[image] = rois, logits, deltas, boxes
        return self._proposed[image]

    def _candidate(self, image: int, row: int, label: int, score: float) -> Candidate:
        rois, _, _, boxes = self._proposals(image)
        level = self.model.roi_head.bbox_roi_extractor.map_roi_levels(rois[row : row + 1], len(self.levels))
        return Candidate(label, score, int(level), row, tuple(boxes[row, label].tolist()), rois[row, 1:])

    def _predict(self, image, threshold):
        rois, logits, deltas, _ = self._proposals(image)
        if not len(rois):
            return InstanceData(bboxes=rois[:, 1:], scores=rois[:, 0], labels=rois[:, 0].long())
        config = _raised(self.model.roi_head.test_cfg, threshold)
        metas = [self.metas[image]]
        return self.head.predict_by_feat((rois,), (logits,), (deltas,), metas, rcnn_test_cfg=config, rescale=False)[0]

    def _match(self, image, box, score, label):
        _, logits, _, boxes = self._proposals(image)
        near = (boxes[:, label] - box).abs().amax(1) <= BOX_TOLERANCE
        gaps = (self.probabilities(logits)[:, label] - score).abs().masked_fill(~near, torch.inf)
        if not near.any():
            raise UserError(f'no proposal decodes to the box that {type(self.head).__name__} reports; {SUPPORTED}')
        return self._candidate(image, int(gaps.argmin()), label, score)

    @torch.no_grad()
    def best(self, image, label=None):
        scores = self.probabilities(self._proposals(image)[1])
        if not len(scores):
            return None
        row, label = divmod(int(scores.argmax()), scores.shape[1]) if label is None else (int(scores[:, label].argmax()), label)
        return self._candidate(image, row, label, float(scores[row, label]))

    def probabilities(self, logits):
        return logits.softmax(-1)[..., :-1]

    def mirror(self, image, candidate, width):
        roi = candidate.roi.new_tensor(_mirrored(candidate.roi.tolist(), width))
        return replace(candidate, roi=roi, box=_mirrored(candidate.box, width))


def _mirrored(box: Sequence[float], width: int) -> tuple[float, ...]:
    return width - box[2], box[1], width - box[0], box[3]


def make_probe(model: nn.Module) -> Probe:
    """The probe that fits a built model; ValueError with the list of those supported where none does."""
    if hasattr(model, 'roi_head'):
        if hasattr(model, 'rpn_head') and getattr(getattr(model.roi_head, 'bbox_head', None), 'with_reg', False):
            return RoIProbe(model)
    elif hasattr(model, 'bbox_head'):
        if hasattr(model.bbox_head, 'prior_generator') and hasattr(model.bbox_head, 'cls_out_channels'):
            return DenseProbe(model)
    elif hasattr(model, 'head') or not hasattr(model, 'backbone'):
        return ClassifierProbe(model)
    raise UserError(f'no class activation maps for {type(model).__name__}; {SUPPORTED}')
