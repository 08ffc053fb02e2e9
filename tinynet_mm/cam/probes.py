"""Networks as something a class activation map can question: which logit decided this class, this box?

Not from the paper. A :class:`Probe` wraps a classifier of mmpretrain or a detector of mmdet 3 (see :mod:`.detectors`) as a module
that gives class logits *before* activation and non-maximum suppression, so that gradients exist, and tells for each final box
which candidate (anchor, point or proposal) it was. The maps that enter the head pass through ``levels``, one identity module
each: layers with a name even where the neck made them by a bare function call.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import UserError

SUPPORTED = (
    'supported are mmpretrain classifiers, mmdet detectors with a dense head on anchors or points '
    '(SSD, RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX) and two-stage detectors with a StandardRoIHead (Faster R-CNN).'
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One class decision of the network: what a map explains.

    ``box`` is (x1, y1, x2, y2) in pixels of the network's input, None for a classifier; ``level`` is the index of the map it was
    read from; ``row`` is the anchor's index over all levels, ``roi`` the proposal (4,) of a two-stage detector.
    """

    label: int
    score: float
    level: int = 0
    row: int = 0
    box: tuple[float, ...] | None = None
    roi: Tensor | None = None


class Level(nn.Module):
    """The identity as a tensor of its own, so that gradients tell what went through it from what went past."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature.view_as(feature)


class Probe(nn.Module):
    """Base: ``read`` runs the network once, then ``found``, ``best`` and ``logits`` answer from what was read.

    As a module, for methods that perturb the image, it maps (B, 3, H, W) to the logits (B, n, K) of the n ``fixed`` candidates.
    """

    def __init__(self, model: nn.Module, num_levels: int):
        super().__init__()
        self.model = model.eval()
        self.levels = nn.ModuleList(Level() for _ in range(num_levels))
        self.fixed: Sequence[Candidate] = ()

    def forward(self, inputs: Tensor) -> Tensor:
        self.read(inputs)
        asked = [(image, candidate) for image in range(len(inputs)) for candidate in self.fixed]
        return self.logits(asked).unflatten(0, (len(inputs), -1))

    def read(self, inputs: Tensor, metas: Sequence[dict] | None = None) -> None:
        """Run the network on (B, 3, H, W); detectors need ``metas``, mmdet's meta information, for ``found`` and ``best``."""
        raise NotImplementedError

    def found(self, image: int, threshold: float = 0.0, label: int | None = None, most: int | None = None) -> list[Candidate]:
        """What the network reports on that image of the batch (of a class) with at least that score, the ``most`` best first."""
        raise NotImplementedError

    def best(self, image: int, label: int | None = None) -> Candidate | None:
        """The highest-scored candidate (of a class), reported or not; None where the image has none at all."""
        raise NotImplementedError

    def logits(self, asked: Sequence[tuple[int, Candidate]]) -> Tensor:
        """(n, K) class logits of ``asked``, pairs of an image's index and a candidate; differentiable."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., K) to the class probabilities (..., classes) of the network's own head, background left out."""
        raise NotImplementedError

    def mirror(self, image: int, candidate: Candidate, width: int) -> Candidate:
        """The same decision on the mirrored image, which is the one read last; ``width`` of the input in pixels."""
        return candidate


class ClassifierProbe(Probe):
    """An image classifier of mmpretrain, or any module that gives (B, K) logits; its one level is the backbone's last map."""

    def __init__(self, model: nn.Module):
        super().__init__(model, 1 if hasattr(model, 'backbone') else 0)
        loss = getattr(getattr(model, 'head', None), 'loss_module', None)
        self.use_sigmoid = bool(getattr(loss, 'use_sigmoid', False))  # several labels an image

    def read(self, inputs, metas=None):
        if not self.levels:
            self._read = self.model(inputs)
        else:
            handle = self.model.backbone.register_forward_hook(self._enter)
            try:
                self._read = self.model(inputs)
            finally:
                handle.remove()
        if not isinstance(self._read, Tensor) or self._read.ndim != 2:
            raise UserError(f'{type(self.model).__name__} gives no (batch, classes) logits; {SUPPORTED}')

    def _enter(self, module: nn.Module, inputs: tuple, output):
        if isinstance(output, Tensor):
            return self.levels[0](output)
        return (*output[:-1], self.levels[0](output[-1]))

    def found(self, image, threshold=0.0, label=None, most=None):
        scores = self.probabilities(self._read[image].detach())
        ranked = [i for i in scores.argsort(descending=True).tolist() if scores[i] >= threshold and label in (None, i)]
        return [Candidate(i, float(scores[i])) for i in ranked[:most]]

    def best(self, image, label=None):
        scores = self.probabilities(self._read[image].detach())
        label = int(scores.argmax()) if label is None else label
        return Candidate(label, float(scores[label]))

    def logits(self, asked):
        return self._read[[image for image, _ in asked]]

    def probabilities(self, logits):
        return logits.sigmoid() if self.use_sigmoid else logits.softmax(-1)
