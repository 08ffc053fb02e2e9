"""Torch modules that are traced for export: a classifier to logits, a single-stage detector to head outputs or decoded boxes.

Boxes are decoded here and not by the coders of mmdet: under tracing, mmdet's ``distance2bbox`` imports ``mmdet.core.export``,
which mmdet 3 does not have. The formulas are those of SSD and Faster R-CNN (centre and log size relative to an anchor), FCOS
(four distances from a point), GFL (the expectation of a distribution over distances) and YOLOX (centre and log size in strides).
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from ..errors import UserError

HEADS = 'SSDLiteHead, RetinaNet, FCOS, ATSS, GFL, RTMDet and YOLOX'
MAX_LOG_RATIO = abs(math.log(16 / 1000))  # bound of the log size of mmdet's DeltaXYWHBBoxCoder


def rows(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Maps (B, A * channels, H, W) of all levels as rows (B, P, channels), in the order of mmdet's prior generators."""
    return torch.cat([m.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, channels)) for m in maps], dim=1)


class ClassifierGraph(nn.Module):
    """Images (B, 3, H, W), normalised, to logits (B, K), of an mmpretrain ``ImageClassifier`` or a plain module."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Run the network and its head."""
        model: Any = self.model
        if getattr(model, 'head', None) is None or not hasattr(model, 'extract_feat'):
            logits = model(images)
        else:
            logits = model.head(model.extract_feat(images))
        if not isinstance(logits, Tensor):
            raise UserError(f'{type(model).__name__} returns a {type(logits).__name__}; only a model of one tensor is exported.')
        return logits


class RawDetectorGraph(nn.Module):
    """Images (B, 3, H, W), normalised, to the outputs of the head: scores, boxes and, if the head has them, factors per level."""

    def __init__(self, model: nn.Module):
        super().__init__()
        check_head(model)
        self.model = without_focus(model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network and its head; the outputs of :func:`raw_names`."""
        return tuple(level for part in head_outputs(self.model, images) for level in part)


class DecodedDetectorGraph(nn.Module):
    """Images (B, 3, H, W), normalised, to boxes (B, P, 4) in pixels of the input and scores (B, P, K).

    The anchors or points are constants of the graph, so the input size is fixed.
    """

    def __init__(self, model: nn.Module, height: int, width: int):
        super().__init__()
        check_head(model)
        self.model, self.size = without_focus(model), (height, width)
        head: Any = model.bbox_head
        with torch.no_grad():
            outs = head_outputs(model, torch.zeros(1, 3, height, width, device=next(model.parameters()).device))
        sides = [tuple(level.shape[-2:]) for level in outs[0]]
        generator = head.prior_generator
        options = dict(with_stride=True) if type(generator).__name__ == 'MlvlPointGenerator' else {}
        priors = generator.grid_priors(sides, device=outs[0][0].device, **options)
        strides = [stride if isinstance(stride, int | float) else stride[0] for stride in generator.strides]
        self.level_sizes = tuple(len(level) for level in priors)
        self.priors: Tensor
        self.strides: Tensor
        self.register_buffer('priors', torch.cat(list(priors)), persistent=False)
        per_prior = [torch.full((len(level), 1), float(stride)) for level, stride in zip(priors, strides)]
        self.register_buffer('strides', torch.cat(per_prior).to(self.priors), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network and its head, and decode."""
        outs = head_outputs(self.model, images)
        return self.boxes(outs[1]), self.scores(outs)

    def scores(self, outs: Sequence[Sequence[Tensor]]) -> Tensor:
        """Class probabilities (B, P, K), times centreness or objectness if the head has it."""
        head: Any = self.model.bbox_head
        logits = rows(outs[0], head.cls_out_channels)
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        return scores * rows(outs[2], 1).sigmoid() if len(outs) == 3 else scores

    def boxes(self, maps: Sequence[Tensor]) -> Tensor:
        """Boxes (B, P, 4), x1, y1, x2, y2 in pixels of the input."""
        head: Any = self.model.bbox_head
        if hasattr(head, '_bbox_decode'):  # YOLOX: not clipped, as in mmdet
            return _yolox(self.priors, rows(maps, 4))
        coder = head.bbox_coder
        if hasattr(head, 'integral'):
            distances = _integral(rows(maps, 4 * (head.reg_max + 1)), head.integral.project) * self.strides
            boxes = _distances((self.priors[:, :2] + self.priors[:, 2:]) / 2, distances)
        elif hasattr(coder, 'stds'):
            boxes = _deltas(self.priors, rows(maps, 4), coder)
        else:
            boxes = _distances(self.priors[:, :2], rows(maps, 4))
        height, width = self.size
        return _clip(boxes, width, height) if clips(head) else boxes


def clips(head: Any) -> bool:
    """Whether mmdet clips the boxes of a head to the image."""
    return not hasattr(head, '_bbox_decode') and bool(getattr(getattr(head, 'bbox_coder', None), 'clip_border', True))


class PatchConvolution(nn.Module):
    """The ``Focus`` layer of YOLOX with a convolution in place of its slices with step 2, which ncnn does not have.

    Each weight is 1 or 0, so the result is the same to the last bit.
    """

    def __init__(self, focus: Any, channels: int):
        super().__init__()
        self.conv = focus.conv
        weight = torch.zeros(4 * channels, channels, 2, 2)
        for place, channel in itertools.product(range(4), range(channels)):  # the order of Focus: down each column
            weight[place * channels + channel, channel, place % 2, place // 2] = 1
        self.weight: Tensor
        self.register_buffer('weight', weight.to(next(focus.parameters()).device), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to the features of ``Focus``, (B, C', H / 2, W / 2)."""
        return self.conv(nn.functional.conv2d(images, self.weight, stride=2))


def without_focus(model: nn.Module) -> nn.Module:
    """The model, or if it has a ``Focus`` layer, a copy with :class:`PatchConvolution`."""
    places = [name for name, module in model.named_modules() if type(module).__name__ == 'Focus']
    if not places:
        return model
    model = copy.deepcopy(model)
    for place in places:
        parent, _, name = place.rpartition('.')
        focus: Any = model.get_submodule(place)
        setattr(model.get_submodule(parent), name, PatchConvolution(focus, focus.conv.conv.in_channels // 4))
    return model


def check_head(model: nn.Module) -> None:
    """Check that a model is a single-stage detector with a head of one of the supported kinds.

    Raises:
        UserError: it is not.
    """
    head = getattr(model, 'bbox_head', None)
    if head is None or not hasattr(head, 'prior_generator'):
        kind = type(model).__name__ if head is None else type(head).__name__
        raise UserError(f'{kind} cannot be exported: supported are classifiers and single-stage detectors with heads of {HEADS}.')
    coder = getattr(head, 'bbox_coder', None)
    supported = hasattr(head, '_bbox_decode') or hasattr(coder, 'stds') or type(coder).__name__ == 'DistancePointBBoxCoder'
    if not supported or getattr(coder, 'add_ctr_clamp', False):
        raise UserError(f'{type(head).__name__} with {type(coder).__name__} cannot be exported: supported are heads of {HEADS}.')


def head_outputs(model: Any, images: Tensor) -> tuple[list[Tensor], ...]:
    """The outputs of the head, lists with a map for each level: scores, boxes and, for some heads, centreness or objectness."""
    outs = model.bbox_head(model.extract_feat(images))
    if not 2 <= len(outs) <= 3 or not all(isinstance(out, list | tuple) for out in outs):
        name = type(model.bbox_head).__name__
        raise UserError(f'{name} does not return scores and boxes for each level: supported are heads of {HEADS}.')
    return tuple(list(out) for out in outs)


def raw_names(outs: Sequence[Sequence[Tensor]]) -> list[str]:
    """The names of the outputs of :class:`RawDetectorGraph`: ``scores_0``, ..., ``boxes_0``, ..., ``factors_0``, ..."""
    return [f'{part}_{level}' for part, maps in zip(('scores', 'boxes', 'factors'), outs) for level in range(len(maps))]


def _deltas(priors: Tensor, deltas: Tensor, coder: Any) -> Tensor:
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    centres, sizes = (priors[:, :2] + priors[:, 2:]) / 2, priors[:, 2:] - priors[:, :2]
    centres = centres + sizes * deltas[..., :2]
    half = sizes * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def _distances(points: Tensor, distances: Tensor) -> Tensor:
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def _integral(logits: Tensor, project: Tensor) -> Tensor:
    weights = logits.unflatten(-1, (4, len(project))).softmax(-1)
    return (weights * project.to(weights)).mean(-1) * len(project)  # pnnx loses the axis of a sum


def _yolox(priors: Tensor, predicted: Tensor) -> Tensor:
    centres = predicted[..., :2] * priors[:, 2:] + priors[:, :2]
    half = predicted[..., 2:].exp() * priors[:, 2:] / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def _clip(boxes: Tensor, width: float, height: float) -> Tensor:
    return torch.stack([boxes[..., i].clamp(0, (width, height)[i % 2]) for i in range(4)], dim=-1)


class Preprocess(nn.Module):
    """Images (B, H, W, 3), uint8, RGB, to normalised images (B, 3, H, W) in the channel order of the network, then ``graph``."""

    def __init__(self, graph: nn.Module, mean: Sequence[float], std: Sequence[float], channels: str):
        super().__init__()
        self.graph, self.reverse = graph, channels == 'BGR'
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('scale', 1 / torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Any:
        """Normalise and run the graph."""
        images = pixels.to(self.mean.dtype).permute(0, 3, 1, 2)
        images = images.flip(1) if self.reverse else images
        return self.graph((images - self.mean) * self.scale)


class Suppressed(nn.Module):
    """Boxes (M, 4), scores (M,), labels (M,) and images (M,) after non-maximum suppression in each class, by descending score.

    For a batch of one image at most ``max_per_image`` boxes remain; for more images this is the limit of each class.

    Args:
        graph: a module with boxes (B, P, 4) and scores (B, P, K) as outputs.
        score_thr: boxes with lower scores are removed.
        iou_thr: a box is removed if its IoU with a better box of the class is higher.
        max_per_image: see above.
        multi_label: whether a box can have several classes.
        single: whether the batch has one image.
    """

    def __init__(self, graph: nn.Module, score_thr: float, iou_thr: float, max_per_image: int, multi_label: bool, single: bool):
        super().__init__()
        self.graph, self.settings = graph, (max_per_image, iou_thr, score_thr)
        self.multi_label, self.single = multi_label, single

    def on(self, graph: nn.Module) -> 'Suppressed':
        """The same suppression of the boxes of another module."""
        limit, iou_thr, score_thr = self.settings
        return Suppressed(graph, score_thr, iou_thr, limit, self.multi_label, self.single)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the graph and remove boxes."""
        boxes, scores = self.graph(images)
        if not self.multi_label:
            scores = torch.where(scores == scores.amax(-1, keepdim=True), scores, torch.zeros_like(scores))
        solid = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True)  # boxes without area do not count, as in mmdet
        by_class = (scores * solid).transpose(1, 2)
        kept = Suppression.apply(boxes, by_class, *self.settings)
        image, label, place = kept.unbind(1)
        values, order = by_class[image, label, place].sort(descending=True)
        if self.single:
            values, order = values[: self.settings[0]], order[: self.settings[0]]
        image, label, place = image[order], label[order], place[order]
        return boxes[image, place], values, label, image


class Suppression(torch.autograd.Function):
    """The operator NonMaxSuppression of ONNX: boxes (B, P, 4) and scores (B, K, P) to rows (image, class, box), int64."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, limit: int, iou_thr: float, score_thr: float) -> Tensor:
        """Suppress with torchvision, class by class."""
        found = []
        for image, label in itertools.product(range(scores.shape[0]), range(scores.shape[1])):
            places = (scores[image, label] > score_thr).nonzero()[:, 0]
            best = places[nms(boxes[image, places], scores[image, label, places], iou_thr)[:limit]]
            found.append(torch.stack([torch.full_like(best, image), torch.full_like(best, label), best], dim=1))
        return torch.cat(found)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, limit: int, iou_thr: float, score_thr: float) -> Any:
        """The node of the exported graph."""
        settings = (torch.tensor([limit]), torch.tensor([iou_thr]), torch.tensor([score_thr]))
        constants = [g.op('Constant', value_t=value) for value in settings]
        return g.op('NonMaxSuppression', boxes, scores, *constants)
