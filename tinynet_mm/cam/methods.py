"""Methods of pytorch-grad-cam and what each needs; the only module that imports pytorch_grad_cam (1.5).

grad-cam's loop runs a complete forward and backward pass, down to the first layer, for every target. Here activations and
gradients come from one forward pass (see :mod:`.explain`), and grad-cam computes only what differs between methods: the weights
and the map, ``get_cam_image``. Its normalisation is used without a change, so a map equals that of grad-cam called directly on
the same layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import MissingPackageError, UserError
from .probes import Candidate, Probe


@dataclass(frozen=True)
class Method:
    """A method of grad-cam. FullGrad, SESS and ShapleyCAM are not supported: each needs a different loop.

    Attributes:
        cls: name of grad-cam's class.
        needs: 'gradients', 'activations' only, or 'passes' (many forward passes of perturbed input).
        layers: the lowest number of layers that the method needs.
    """

    cls: str
    needs: str = 'gradients'
    layers: int = 1

    def build(self, model: nn.Module) -> Any:
        """Grad-cam's object for a module that returns logits (B, n, K); it registers no hooks."""
        import pytorch_grad_cam
        from pytorch_grad_cam.ablation_layer import AblationLayer

        # grad-cam's default is one ablation layer for all objects, which explainers in several threads would share
        options = dict(ablation_layer=AblationLayer()) if self.cls == 'AblationCAM' else {}
        cam = getattr(pytorch_grad_cam, self.cls)(model, [], **options)
        cam.batch_size = 8  # of perturbed copies of one image, for the methods that need many passes
        return cam


METHODS: dict[str, Method] = {
    'gradcam': Method('GradCAM'),
    'gradcam++': Method('GradCAMPlusPlus'),
    'xgradcam': Method('XGradCAM'),
    'hirescam': Method('HiResCAM'),
    'layercam': Method('LayerCAM'),
    'gradcamelementwise': Method('GradCAMElementWise'),
    'eigengradcam': Method('EigenGradCAM'),
    'segeigencam': Method('SegEigenCAM'),
    'finercam': Method('GradCAM'),
    'refinecam': Method('GradCAMPlusPlus', layers=2),
    'randomcam': Method('RandomCAM'),
    'eigencam': Method('EigenCAM', 'activations'),
    'kpcacam': Method('KPCA_CAM', 'activations'),
    'fem': Method('FEM', 'activations'),
    'scorecam': Method('ScoreCAM', 'passes'),
    'ablationcam': Method('AblationCAM', 'passes'),
}


class Target:
    """Sum of the class logits of some candidates: a callable on their logits (n, K), as grad-cam's targets are."""

    def __init__(self, probe: Probe, candidates: Sequence[Candidate]):
        self.probe = probe
        self.labels = [candidate.label for candidate in candidates]

    def __call__(self, logits: Tensor) -> Tensor:
        """The target of logits (n, K), a tensor without dimensions."""
        return torch.stack([row[label] for row, label in zip(logits, self.labels)]).sum()


class ProbabilityTarget(Target):
    """Sum of class probabilities: Ablation-CAM divides by the score, and a logit may be negative."""

    def __call__(self, logits: Tensor) -> Tensor:
        """The sum for logits (n, K), a tensor without dimensions."""
        return super().__call__(self.probe.probabilities(logits))


class FinerTarget(Target):
    """Finer-CAM's target: the evidence for the class and not for the three other classes with the nearest logits."""

    def __call__(self, logits: Tensor) -> Tensor:
        """The weighted difference for logits (n, K), a tensor without dimensions."""
        from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

        values = []
        for row, label in zip(logits, self.labels):
            nearest = (row.detach() - row[label].detach()).abs().argsort().tolist()
            values.append(FinerWeightedTarget(label, [k for k in nearest if k != label][:3], 1)(row))
        return torch.stack(values).sum()


TARGETS: dict[str, type[Target]] = {'finercam': FinerTarget, 'ablationcam': ProbabilityTarget}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        MissingPackageError: grad-cam is not installed.
        UserError: an unknown method.
    """
    if name not in METHODS:
        raise UserError(f'unknown method {name!r}; known: {", ".join(METHODS)}.')
    try:
        import pytorch_grad_cam  # noqa: F401 (only whether it is installed)
    except ImportError:
        raise MissingPackageError('class activation maps need grad-cam: pip install "grad-cam==1.5.7"') from None
    return METHODS[name]


def combine(raws: Sequence[np.ndarray], size: tuple[int, int], multiply: bool = False) -> np.ndarray:
    """Signed maps of some layers, each (h, w), to one map in 0 to 1 of ``size``, (width, height), by grad-cam's normalisation.

    Layers are averaged, or multiplied as Refine-CAM does.
    """
    from pytorch_grad_cam.utils.image import scale_cam_image

    scaled = np.concatenate([scale_cam_image(np.maximum(raw, 0)[None], size) for raw in raws])
    if multiply:
        return scale_cam_image(scale_cam_image(scaled).prod(axis=0)[None])[0]
    return scale_cam_image(scaled.mean(axis=0)[None])[0]
