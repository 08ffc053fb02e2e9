"""Time the class activation maps of a folder against the network's passes alone and against grad-cam called directly.

Three contenders explain the best candidate of each image. ``folder`` does the complete work of ``tools/cam.py``: it reads files,
runs the pipeline, the detection with non-maximum suppression and the maps, and writes pictures and arrays. ``passes`` is the
lower bound: the forward pass and the backward pass from the logits to their level, on prepared inputs with frozen parameters.
``gradcam`` calls grad-cam on prepared inputs and known targets; it differentiates the network down to its first layer.
"""

import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytorch_grad_cam
import torch
from mmengine.config import Config
from torch import Tensor

from ..cam.explain import Explainer
from ..cam.folder import explain_images, write_all
from ..cam.images import Pipeline, batches, to_batch
from ..cam.methods import METHODS
from ..cam.probes import Candidate, Logits
from ..cam.record import frozen
from ..cam.targets import Wanted, choose
from .clock import in_turns, ratios, spread

Prepared = list[tuple[Tensor, list[Candidate]]]  # inputs (B, 3, H, W), and the candidate of each


def prepare(explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, batch: int) -> Prepared:
    """Inputs and candidates of all batches, for the other two contenders."""
    prepared = []
    for samples in batches(map(Pipeline(cfg, explainer.probe.model), images), batch):
        inputs, metas = to_batch(samples)
        with torch.no_grad():
            reading = explainer.probe.read(inputs, metas)
            questions = [choose(reading, image, wanted)[0] for image in range(len(inputs))]
        prepared.append((inputs, [question.candidates[0] for question in questions]))
    return prepared


def folder(explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, batch: int, root: str) -> None:
    """Write results to a new folder in ``root``; :func:`measure` removes it after the last round."""
    out = Path(tempfile.mkdtemp(dir=root))
    for _ in write_all(explain_images(explainer, cfg, images, wanted, (), batch), out):
        pass


def passes(explainer: Explainer, prepared: Prepared) -> None:
    """Call the model's functions without hooks: features without a graph, the head with a graph, gradients of its input."""
    model = explainer.probe.model
    for inputs, candidates in prepared:
        with frozen(model):
            with torch.no_grad():
                features = model.extract_feat(inputs)
            features = [feature.requires_grad_() for feature in features]
            scores = model.bbox_head(features)[0]
            classes = model.bbox_head.cls_out_channels
            rows = torch.cat([s.permute(0, 2, 3, 1).reshape(len(s), -1, classes) for s in scores], dim=1)
            logits = torch.stack([rows[image, c.row, c.label] for image, c in enumerate(candidates)])
            torch.autograd.grad(logits.sum(), features, allow_unused=True)


def gradcam(explainer: Explainer, prepared: Prepared) -> None:
    """One call per batch, with the level of the batch's first candidate as the layer."""
    probe = explainer.probe
    for inputs, candidates in prepared:
        model, level = Logits(probe, candidates), probe.levels[candidates[0].level]
        with getattr(pytorch_grad_cam, METHODS[explainer.name].cls)(model, [level]) as cam:
            cam(inputs, [partial(_own, i, c.label) for i, c in enumerate(candidates)])


def _own(image: int, label: int, logits: Tensor) -> Tensor:
    return logits[image, label]


def measure(explainer: Explainer, cfg: Config, images: Sequence[Path], batch: int, rounds: int) -> dict[str, float | int | str]:
    """A row of results: medians in ms an image, and the ratios of each round as median, least and most."""
    wanted = Wanted('top1')
    prepared = prepare(explainer, cfg, images, wanted, batch)
    with tempfile.TemporaryDirectory() as root:
        contenders = {
            'folder': partial(folder, explainer, cfg, images, wanted, batch, root),
            'passes': partial(passes, explainer, prepared),
            'gradcam': partial(gradcam, explainer, prepared),
        }
        seconds = in_turns(contenders, rounds)
    row: dict = dict(input='x'.join(map(str, prepared[0][0].shape[-2:])), batch=batch, images=len(images), rounds=rounds)
    row |= {f'{name}_ms': round(1000 * statistics.median(times) / len(images), 1) for name, times in seconds.items()}
    for name in ('folder', 'gradcam'):
        found = spread(ratios(seconds[name], seconds['passes']))
        row |= {f'{name}_ratio{key}': value for key, value in zip(('', '_least', '_most'), found)}
    return row
