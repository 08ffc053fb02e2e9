"""Methods of pytorch-grad-cam and what each needs; the only file here that imports pytorch_grad_cam (1.5).

grad-cam's own loop runs a whole forward and backward pass, down to the first layer, for every target. Here activations and
gradients come from one forward pass (see :mod:`.explain`), and grad-cam is asked only for what makes a method: weights and map,
``get_cam_image``. Its normalisation is used as it is, so a map equals that of grad-cam called by hand on the same layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..errors import MissingPackageError, UserError
from .probes import Candidate, Probe


@dataclass(frozen=True)
class Method:
    """``needs``: 'gradients', 'activations' alone, or 'passes' (many forward passes of perturbed input). ``layers`` is the least
    number of layers that it takes. FullGrad, SESS and ShapleyCAM are left out: each needs a loop of its own."""

    cls: str
    needs: str = 'gradients'
    layers: int = 1


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
        return sum(row[label] for row, label in zip(logits, self.labels))


class ProbabilityTarget(Target):
    """Sum of class probabilities: Ablation-CAM divides by the score, and a logit may be negative."""

    def __call__(self, logits: Tensor) -> Tensor:
        return super().__call__(self.probe.probabilities(logits))


class FinerTarget(Target):
    """Finer-CAM's: what speaks for the class and not for the three others with the nearest logits."""

    def __call__(self, logits: Tensor) -> Tensor:
        from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

        total = 0
        for row, label in zip(logits, self.labels):
            near = (row.detach() - row[label].detach()).abs().argsort().tolist()
            total = total + FinerWeightedTarget(label, [k for k in near if k != label][:3], 1)(row)
        return total


TARGETS: dict[str, type[Target]] = {'finercam': FinerTarget, 'ablationcam': ProbabilityTarget}


def make_method(name: str, probe: Probe) -> tuple[Method, Callable]:
    """The method's description and grad-cam's object for it, without hooks.

    Raises:
        ImportError: grad-cam is not installed.
        UserError: an unknown method.
    """
    if name not in METHODS:
        raise UserError(f'unknown method {name!r}; known: {", ".join(METHODS)}.')
    try:
        import pytorch_grad_cam
    except ImportError:
        raise MissingPackageError('class activation maps need grad-cam: pip install "grad-cam==1.5.7"') from None
    method = METHODS[name]
    cam = getattr(pytorch_grad_cam, method.cls)(probe, [])
    cam.batch_size = 8  # of perturbed copies of one image, for the methods that need many passes
    return method, cam


def combine(raws: Sequence[np.ndarray], size: tuple[int, int], multiply: bool = False) -> np.ndarray:
    """Signed maps of some layers, each (h, w), to one map in 0 to 1 of ``size``, (width, height), by grad-cam's normalisation.

    Layers are averaged, or multiplied as Refine-CAM does.
    """
    from pytorch_grad_cam.utils.image import scale_cam_image

    scaled = np.concatenate([scale_cam_image(np.maximum(raw, 0)[None], size) for raw in raws])
    if multiply:
        return scale_cam_image(scale_cam_image(scaled).prod(axis=0)[None])[0]
    return scale_cam_image(scaled.mean(axis=0)[None])[0]
