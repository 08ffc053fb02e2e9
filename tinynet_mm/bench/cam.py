"""What maps of a folder cost beside the passes they need, and beside grad-cam used directly; measured in turns.

Three contenders explain the best candidate of each image. ``folder`` is everything ``tools/cam.py`` does: files read, pipeline,
detection with non-maximum suppression, maps, pictures and arrays written. ``passes`` is the floor: the forward pass and the
backward pass from the logits to their level, on ready inputs with frozen parameters. ``gradcam`` is grad-cam's own call on ready
inputs and known targets, which differentiates the network down to its first layer.
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

Ready = list[tuple[Tensor, list[Candidate]]]  # inputs (B, 3, H, W), and the candidate of each


def prepare(explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, batch: int) -> Ready:
    """Inputs and candidates of all batches, as the other two contenders are given them."""
    ready = []
    for samples in batches(map(Pipeline(cfg, explainer.probe.model), images), batch):
        inputs, metas = to_batch(samples)
        with torch.no_grad():
            reading = explainer.probe.read(inputs, metas)
            questions = [choose(reading, image, wanted)[0] for image in range(len(inputs))]
        ready.append((inputs, [question.candidates[0] for question in questions]))
    return ready


def folder(explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, batch: int, root: str) -> None:
    """Results go to a new folder in ``root`` each time, which is removed when the clock no longer runs."""
    out = Path(tempfile.mkdtemp(dir=root))
    for _ in write_all(explain_images(explainer, cfg, images, wanted, (), batch), out):
        pass


def passes(explainer: Explainer, ready: Ready) -> None:
    """The model's own functions, no hook and no copy: features without a graph, the head with one, gradients of its input."""
    model = explainer.probe.model
    for inputs, candidates in ready:
        with frozen(model):
            with torch.no_grad():
                features = model.extract_feat(inputs)
            features = [feature.requires_grad_() for feature in features]
            scores = model.bbox_head(features)[0]
            classes = model.bbox_head.cls_out_channels
            rows = torch.cat([s.permute(0, 2, 3, 1).reshape(len(s), -1, classes) for s in scores], dim=1)
            logit = sum(rows[image, c.row, c.label] for image, c in enumerate(candidates))
            torch.autograd.grad(logit, features, allow_unused=True)


def gradcam(explainer: Explainer, ready: Ready) -> None:
    """One call for each batch, with the level of each batch's first candidate as the layer."""
    probe = explainer.probe
    for inputs, candidates in ready:
        model, level = Logits(probe, candidates), probe.levels[candidates[0].level]
        with getattr(pytorch_grad_cam, METHODS[explainer.name].cls)(model, [level]) as cam:
            cam(inputs, [partial(_own, i, c.label) for i, c in enumerate(candidates)])


def _own(image: int, label: int, logits: Tensor) -> Tensor:
    return logits[image, label]


def measure(explainer: Explainer, cfg: Config, images: Sequence[Path], batch: int, rounds: int) -> dict[str, float | int | str]:
    """A row of results: medians in ms an image, and the ratios of each round as median, least and most."""
    wanted = Wanted('top1')
    ready = prepare(explainer, cfg, images, wanted, batch)
    with tempfile.TemporaryDirectory() as root:
        contenders = {
            'folder': partial(folder, explainer, cfg, images, wanted, batch, root),
            'passes': partial(passes, explainer, ready),
            'gradcam': partial(gradcam, explainer, ready),
        }
        seconds = in_turns(contenders, rounds)
    row: dict = dict(input='x'.join(map(str, ready[0][0].shape[-2:])), batch=batch, images=len(images), rounds=rounds)
    row |= {f'{name}_ms': round(1000 * statistics.median(times) / len(images), 1) for name, times in seconds.items()}
    for name in ('folder', 'gradcam'):
        found = spread(ratios(seconds[name], seconds['passes']))
        row |= {f'{name}_ratio{key}': value for key, value in zip(('', '_least', '_most'), found)}
    return row
