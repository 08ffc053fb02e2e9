"""Networks for class activation maps: which logit decided this class or this box?

Not from the paper. A :class:`Probe` wraps a classifier of mmpretrain or a detector of mmdet 3 (see :mod:`.detectors`). Its
:meth:`Probe.read` runs the network and returns a :class:`Reading` with class logits *before* activation and non-maximum
suppression, so that gradients exist. The reading finds the candidate (anchor, point or proposal) of each final box. The maps
that enter the head pass through ``levels``, one identity module each, so that each of them has a layer with a name, also where
the neck computes it by a function call.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import UserError

SUPPORTED = (
    'supported are mmpretrain classifiers, mmdet detectors with a dense head on anchors or points '
    '(SSD, RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX) and two-stage detectors with a StandardRoIHead (Faster R-CNN).'
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One class decision of the network, which a map explains.

    Attributes:
        label: index of the class.
        score: the probability that the network reports, 0 to 1.
        level: index of the map that the decision is computed from.
        row: index of the anchor, point or proposal over all levels.
        box: (x1, y1, x2, y2) in pixels of the network's input; None for a classifier.
        roi: the proposal (4,) of a two-stage detector.
    """

    label: int
    score: float
    level: int = 0
    row: int = 0
    box: tuple[float, ...] | None = None
    roi: Tensor | None = None


class Level(nn.Module):
    """The identity, with a new tensor as output: gradients at it belong to this path only."""

    def forward(self, feature: Tensor) -> Tensor:
        """Return a view of a map (B, C, H, W)."""
        return feature.view_as(feature)


class Reading(ABC):
    """What the network computed for one batch of images; every method depends on these values only."""

    @abstractmethod
    def found(self, image: int, threshold: float = 0.0, label: int | None = None, most: int | None = None) -> list[Candidate]:
        """What the network reports on an image of the batch, best first.

        Args:
            image: index in the batch.
            threshold: the lowest score.
            label: report this class only.
            most: the highest number of candidates.
        """

    @abstractmethod
    def best(self, image: int, label: int | None = None) -> Candidate | None:
        """The candidate with the highest score (of a class), reported or not; None if the image has no candidate."""

    @abstractmethod
    def logits(self, pairs: Sequence[tuple[int, Candidate]]) -> Tensor:
        """Class logits (n, K) of n pairs of an image's index and a candidate; differentiable."""

    def mirror(self, image: int, candidate: Candidate, width: int) -> Candidate:
        """The candidate of this reading's image that is the mirror of ``candidate``; ``width`` of the input in pixels."""
        return candidate


class Probe(nn.Module, ABC):
    """A model in evaluation mode and the ``levels`` between its backbone or neck and its head."""

    def __init__(self, model: nn.Module, num_levels: int):
        super().__init__()
        self.model: Any = model.eval()  # mmdet and mmpretrain have no types
        self.levels = nn.ModuleList(Level() for _ in range(num_levels))

    @abstractmethod
    def read(self, inputs: Tensor, metas: Sequence[dict] | None = None) -> Reading:
        """Run the network on (B, 3, H, W).

        Args:
            inputs: images from the data preprocessor.
            metas: mmdet's meta information of each image; ``found`` and ``best`` of a detector's reading need it.

        Raises:
            UserError: the network gives no logits of the supported form.
        """

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Convert logits (..., K) to the class probabilities (..., classes) of the network's head, without the background."""


class Logits(nn.Module):
    """A probe as a module from (B, 3, H, W) to the logits (B, n, K) of n candidates, for methods that perturb the image."""

    def __init__(self, probe: Probe, candidates: Sequence[Candidate]):
        super().__init__()
        self.probe, self.candidates = probe, tuple(candidates)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, n, K) of the candidates on each image."""
        pairs = [(image, candidate) for image in range(len(inputs)) for candidate in self.candidates]
        return self.probe.read(inputs).logits(pairs).unflatten(0, (len(inputs), -1))


class ClassifierProbe(Probe):
    """An image classifier of mmpretrain, or any module that returns (B, K) logits; its one level is the backbone's last map."""

    def __init__(self, model: nn.Module):
        super().__init__(model, 1 if hasattr(model, 'backbone') else 0)
        loss = getattr(getattr(model, 'head', None), 'loss_module', None)
        self.use_sigmoid = bool(getattr(loss, 'use_sigmoid', False))  # several labels an image

    def read(self, inputs: Tensor, metas: Sequence[dict] | None = None) -> 'ClassifierReading':
        """Run the network; ``metas`` are not used."""
        handles = [self.model.backbone.register_forward_hook(self._enter)] if len(self.levels) else []
        try:
            output = self.model(inputs)
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise UserError(f'{type(self.model).__name__} gives no (batch, classes) logits; {SUPPORTED}')
        return ClassifierReading(self, output)

    def _enter(self, module: nn.Module, inputs: tuple, output: Any) -> Any:
        """A forward hook of the backbone: its last map passes through the level."""
        if isinstance(output, Tensor):
            return self.levels[0](output)
        return (*output[:-1], self.levels[0](output[-1]))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid for a network with several labels an image, else softmax."""
        return logits.sigmoid() if self.use_sigmoid else logits.softmax(-1)


@dataclass(frozen=True, eq=False)
class ClassifierReading(Reading):
    """Logits (B, K) of a classifier; a candidate is a class."""

    probe: ClassifierProbe
    output: Tensor

    def _scores(self, image: int) -> Tensor:
        return self.probe.probabilities(self.output[image].detach())

    def found(self, image: int, threshold: float = 0.0, label: int | None = None, most: int | None = None) -> list[Candidate]:
        """The classes in the order of their scores."""
        scores = self._scores(image)
        ranked = [i for i in scores.argsort(descending=True).tolist() if scores[i] >= threshold and label in (None, i)]
        return [Candidate(i, float(scores[i])) for i in ranked[:most]]

    def best(self, image: int, label: int | None = None) -> Candidate:
        """The class with the highest score, or ``label``."""
        scores = self._scores(image)
        label = int(scores.argmax()) if label is None else label
        return Candidate(label, float(scores[label]))

    def logits(self, pairs: Sequence[tuple[int, Candidate]]) -> Tensor:
        """All logits (n, K) of the image of each pair."""
        return self.output[[image for image, _ in pairs]]
