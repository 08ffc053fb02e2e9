"""From a batch of images to class activation maps: one forward pass, then one short backward pass for each question.

Parameters are frozen and the graph is cut below the layer in question, so that autograd keeps and computes nothing that the map
does not need; grad-cam called directly differentiates the whole network for every target.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError, did_you_mean, listed
from .detectors import make_probe
from .methods import TARGETS, Target, combine, make_method
from .probes import ClassifierProbe
from .record import as_map, frozen, is_map, least_side, recorded
from .targets import Question

LEAST_SIDE = 4  # cells; a coarser map says nothing about where, so `auto` takes the nearest layer before it
AUGMENTATIONS = tuple(itertools.product((False, True), (1.0, 0.9, 1.1)))  # (mirrored, brightness) of grad-cam's aug_smooth


@dataclass(frozen=True, eq=False)
class Explanation:
    """A map (H, W) in 0 to 1, in pixels of the network's input, or None and the ``reason`` why there is none.

    ``low`` and ``high`` are the least and greatest value of the signed map before it was clipped and scaled. ``refused`` means
    that the layer cannot serve for this question, and another could; ``note`` names a layer taken instead of the level.
    """

    question: Question
    layers: tuple[str, ...]
    map: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0
    reason: str = ''
    refused: bool = False
    note: str = ''


def _single(question: Question) -> list[Question]:
    """A question for each candidate; the question itself if it has less than two."""
    if len(question.candidates) < 2:
        return [question]
    return [replace(question, candidates=(candidate,)) for candidate in question.candidates]


def _pooled(questions: Sequence[Question], answers: Sequence[Explanation]) -> list[Explanation]:
    """One explanation for each question from those of its candidates, in the same order."""
    remaining, pooled = list(answers), []
    for question in questions:
        count = max(1, len(question.candidates))
        own, remaining = remaining[:count], remaining[count:]
        pooled.append(own[0] if count == 1 else _pool(question, own))
    return pooled


def _pool(question: Question, own: Sequence[Explanation]) -> Explanation:
    seen = [e for e in own if e.map is not None]
    layers = tuple(dict.fromkeys(name for e in own for name in e.layers))
    low, high = min(e.low for e in own), max(e.high for e in own)
    note = '; '.join(dict.fromkeys(e.note for e in own if e.note))
    if not seen:
        return replace(own[0], question=question, layers=layers, low=low, high=high)
    return Explanation(question, layers, np.max([e.map for e in seen], axis=0), low, high, note=note)


class NoGradient(Exception):
    """A layer that cannot explain a question; turned into an explanation's reason."""


class Explainer:
    """Class activation maps of one model by one method.

    Args:
        model: a built classifier of mmpretrain or detector of mmdet; it is put into evaluation mode.
        method: a key of :data:`.methods.METHODS`; ``auto`` is HiResCAM for detectors and Grad-CAM for classifiers. A box is read
            from a few cells, and Grad-CAM spreads the mean of their gradients over the whole map.
        layers: names of layers as in ``model.named_modules()``, or ``level0``, ``level1``...: the maps that enter the head.
            Empty: the level of each candidate, or the last layer before it with LEAST_SIDE cells a side.
        eigen_smooth, aug_smooth: grad-cam's smoothing: the first principal component; the mean over mirrored and rescaled input.

    Raises:
        UserError: a model, method or layer that does not serve, with those that do.
    """

    def __init__(
        self,
        model: nn.Module,
        method: str = 'auto',
        layers: Sequence[str] = (),
        eigen_smooth: bool = False,
        aug_smooth: bool = False,
    ):
        self.probe = make_probe(model)
        self.name = method if method != 'auto' else 'gradcam' if isinstance(self.probe, ClassifierProbe) else 'hirescam'
        self.method, self.cam = make_method(self.name, self.probe)
        self.layers, self.eigen_smooth, self.aug_smooth = tuple(layers), eigen_smooth, aug_smooth
        self.gradients, self._served = self.method.needs == 'gradients', ''
        self.levels = {f'level{i}': module for i, module in enumerate(self.probe.levels)}
        self.modules = self.levels | {name: module for name, module in self.probe.model.named_modules() if name}
        self._check()
        self._start(())

    def twin(self) -> 'Explainer':
        """Another explainer like this, with a copy of the model, for another thread."""
        return Explainer(copy.deepcopy(self.probe.model), self.name, self.layers, self.eigen_smooth, self.aug_smooth)

    def _start(self, shape: tuple[int, ...]) -> None:
        """Forget what was found for inputs of another size."""
        self._shape, self.watched = shape, {name: self.modules[name] for name in self.layers} or dict(self.levels)
        self.stand_ins: dict[str, str] = {}  # of levels with too few cells

    def _check(self) -> None:
        for name in self.layers:
            if name not in self.modules:
                hint = did_you_mean(name, self.modules, cutoff=0.3) or f' Its levels: {listed(list(self.levels))}.'
                raise UserError(f'there is no layer {name!r} in {self._model}.{hint}')
        if not self.layers and not self.levels:
            raise UserError(f'{self._model} has no backbone of its own; name a layer with --layer.')
        if self.method.layers > max(1, len(self.layers)):
            raise UserError(f'{self.name} multiplies the maps of several layers: name two or more with --layer.')

    @property
    def _model(self) -> str:
        return type(self.probe.model).__name__

    def __call__(self, inputs: Tensor, metas: Sequence[dict], choose: Callable) -> list[list[Explanation]]:
        """Maps for a batch (B, 3, H, W) from the data preprocessor, with the meta information of its samples.

        ``choose(probe, image)`` gives the questions on one image of the batch, as :func:`.targets.choose` does. The map of a
        question with several candidates is the maximum of their maps, each scaled to 0..1 by itself, so that a candidate with a
        lower logit is as visible as the others; ``low`` and ``high`` are those of the raw maps.
        """
        if inputs.shape[-2:] != self._shape:
            self._start(inputs.shape[-2:])
        singles = [(inputs[i : i + 1], metas[i : i + 1]) for i in range(len(inputs))]
        with frozen(self.probe):
            calls = self._read(inputs, metas)
            questions = [choose(self.probe, image) for image in range(len(inputs))]
            separate = [[one for question in asked for one in _single(question)] for asked in questions]
            if self._find_stand_ins(singles, separate, calls):
                calls = self._read(inputs, metas)
            explained = self._finish(inputs, metas, separate, calls)
        return [_pooled(asked, answers) for asked, answers in zip(questions, explained)]

    def _finish(self, inputs: Tensor, metas: Sequence[dict], questions: Sequence, calls: dict) -> list[list[Explanation]]:
        explained = self._explain(inputs, questions, calls)
        if self.aug_smooth:
            explained = self._smooth(inputs, metas, questions, explained)
        return [[self._advise(e, inputs[i : i + 1], metas[i : i + 1]) for e in es] for i, es in enumerate(explained)]

    def _read(self, inputs: Tensor, metas: Sequence[dict]) -> dict[str, list[Tensor]]:
        with torch.set_grad_enabled(self.gradients), recorded(self.watched) as calls:
            self.probe.read(inputs, metas)
        outputs: dict[str, list[Tensor]] = {name: [] for name in self.watched}
        for name, output in calls:
            outputs[name].append(output)
        return outputs

    def _find_stand_ins(self, singles: Sequence, questions: Sequence[Sequence[Question]], calls: dict) -> bool:
        """Watch a layer for each level that is asked about and has too few cells, once; whether there is a new one."""
        before = len(self.stand_ins)
        for single, asked in zip(singles, questions):
            for question in asked if not self.layers else ():
                for c in question.candidates:
                    name = f'level{c.level}'
                    outputs = [output for output in calls[name] if output.ndim == 4]
                    if name not in self.stand_ins and outputs and least_side(outputs[-1]) < LEAST_SIDE:
                        larger = [n for n, o in self._serving(*single, Question((c,))) if least_side(o) >= LEAST_SIDE]
                        self.stand_ins[name] = larger[-1] if larger else name
                        self.watched[self.stand_ins[name]] = self.modules[self.stand_ins[name]]
        return len(self.stand_ins) > before

    def _names(self, question: Question) -> tuple[str, ...]:
        levels = (f'level{c.level}' for c in question.candidates)
        return self.layers or tuple(sorted({self.stand_ins.get(level, level) for level in levels}))

    def _explain(self, inputs: Tensor, questions: Sequence[Sequence[Question]], calls: dict) -> list[list[Explanation]]:
        """One backward pass for the first question on every image, one for the second..."""
        answers: list[list[Explanation]] = [[] for _ in questions]
        turns = max(map(len, questions))
        for turn in range(turns):
            active = [(image, asked[turn]) for image, asked in enumerate(questions) if turn < len(asked)]
            gradients = self._backward(active, calls, keep=turn + 1 < turns) if self.gradients else {}
            for image, question in active:
                answers[image].append(self._answer(inputs, image, question, calls, gradients))
        return answers

    def _answer(self, inputs: Tensor, image: int, question: Question, calls: dict, gradients: dict) -> Explanation:
        if not question.candidates:
            return Explanation(question, (), reason=question.note)
        names = self._names(question)
        try:
            raws = [self._raw(inputs, image, question, name, calls, gradients) for name in names]
        except NoGradient as refusal:
            return Explanation(question, names, reason=str(refusal), refused=True)
        return self._judge(question, names, raws, inputs)

    def _backward(self, active: Sequence[tuple[int, Question]], calls: dict, keep: bool) -> dict[int, Tensor]:
        """Gradients of the questions' logits with respect to what was recorded, by the id of the recorded tensor."""
        active = [(image, question) for image, question in active if question.candidates]
        if not active:
            return {}
        logits = self.probe.logits([(image, c) for image, question in active for c in question.candidates])
        parts = logits.split([len(question.candidates) for _, question in active])
        total = sum(self._target(question)(part) for (_, question), part in zip(active, parts))
        names = {name for _, question in active for name in self._names(question)}
        kept = [output for name, outputs in calls.items() if name in names for output in outputs]
        if not total.requires_grad:
            return {}
        gradients = torch.autograd.grad(total, kept, retain_graph=keep, allow_unused=True)
        return {id(output): gradient for output, gradient in zip(kept, gradients) if gradient is not None}

    def _target(self, question: Question) -> Target:
        return TARGETS.get(self.name, Target)(self.probe, question.candidates)

    def _raw(self, inputs: Tensor, image: int, question: Question, name: str, calls: dict, gradients: dict) -> np.ndarray:
        """Signed map (h, w) of one question at one layer, at the layer's resolution."""
        outputs = [output for output in calls[name] if is_map(output, len(inputs))]
        if not outputs:
            raise NoGradient(f'{name} gives no map of the image')
        if self.gradients:
            strength = [float(gradients[id(o)][image].detach().abs().sum()) if id(o) in gradients else 0.0 for o in outputs]
            output = outputs[int(np.argmax(strength))]
            if max(strength) == 0:
                raise NoGradient(f'{name} has no gradient: this decision does not depend on it')
        else:  # a layer that several levels share is called once for each
            output = outputs[question.candidates[0].level if len(outputs) == len(self.levels) else -1]
        if self.name == 'ablationcam' and len(outputs) > 1:
            raise UserError(f'ablationcam cannot ablate {name}, which the model uses {len(outputs)} times; name another layer.')
        pair = as_map(output), as_map(gradients.get(id(output)))
        pair = [None if part is None else part[image : image + 1].detach().cpu().numpy() for part in pair]
        self.probe.fixed = question.candidates
        arguments = inputs[image : image + 1], self.modules[name], [self._target(question)], *pair, self.eigen_smooth
        return np.asarray(self.cam.get_cam_image(*arguments)[0], dtype=np.float32)

    def _judge(self, question: Question, names: tuple[str, ...], raws: Sequence[np.ndarray], inputs: Tensor) -> Explanation:
        """The map of some layers together, or the reason why there is none to look at."""
        low, high = float(min(raw.min() for raw in raws)), float(max(raw.max() for raw in raws))
        explanation = Explanation(question, names, low=low, high=high)
        where = ' and '.join(names)
        if not np.isfinite([low, high]).all():
            return replace(explanation, reason=f'the map of {where} is not finite: the network overflows on this image')
        if low == high == 0:
            return replace(explanation, reason=f'the map of {where} is empty: its activations or weights are all zero')
        if high <= 0:
            hint = 'another --layer, or --method hirescam, may show more'
            return replace(explanation, reason=f'{where} holds only negative evidence (at most {high:.2g}); {hint}')
        if low == high:
            sizes = ', '.join(f'{raw.shape[0]}x{raw.shape[1]}' for raw in raws)
            return replace(
                explanation, reason=f'the map of {where} ({sizes}) is the same everywhere; name a larger layer with --layer'
            )
        size = inputs.shape[-1], inputs.shape[-2]
        return replace(explanation, map=combine(raws, size, multiply=self.name == 'refinecam'))

    def _smooth(self, inputs: Tensor, metas, questions, first: list[list[Explanation]]) -> list[list[Explanation]]:
        """Mean of the maps over grad-cam's augmentations; ``first`` are those of the image as it is."""
        maps = [[[e.map] for e in explained] for explained in first]
        full = [dict(meta, img_shape=tuple(inputs.shape[-2:])) for meta in metas]
        for mirrored, brightness in AUGMENTATIONS[1:]:
            changed = (inputs.flip(-1) if mirrored else inputs) * brightness
            calls = self._read(changed, full)
            asked = [[self._mirror(i, q, inputs.shape[-1]) if mirrored else q for q in qs] for i, qs in enumerate(questions)]
            for image, explained in enumerate(self._explain(changed, asked, calls)):
                for place, e in enumerate(explained):
                    maps[image][place].append(e.map if e.map is None or not mirrored else e.map[:, ::-1])
        return [[self._mean(e, maps[i][j]) for j, e in enumerate(explained)] for i, explained in enumerate(first)]

    def _mirror(self, image: int, question: Question, width: int) -> Question:
        return replace(question, candidates=tuple(self.probe.mirror(image, c, width) for c in question.candidates))

    @staticmethod
    def _mean(explanation: Explanation, maps: Sequence[np.ndarray | None]) -> Explanation:
        maps = [m for m in maps if m is not None]
        return explanation if explanation.map is None else replace(explanation, map=np.mean(np.float32(maps), axis=0))

    def _advise(self, explanation: Explanation, image: Tensor, meta: Sequence[dict]) -> Explanation:
        """Add to an explanation the layers that would serve, if its own does not, or the layer that stood in for its level."""
        if explanation.refused and self.gradients:
            if not self._served:
                serving = dict(self._serving(image, meta, explanation.question))
                names = sorted(reversed(serving), key=lambda name: name.count('.'))  # the nearest to the decision first
                self._served = f'layers with a map: {listed(names, 12)}'
            return replace(explanation, reason=f'{explanation.reason}; {self._served}')
        small = {f'level{c.level}' for c in explanation.question.candidates if not self.layers} & self.stand_ins.keys()
        told = [f'{self.stand_ins[name]} replaces {name}, which is too coarse' for name in sorted(small)]
        return replace(explanation, note='; '.join(told))

    def _serving(self, image: Tensor, meta: Sequence[dict], question: Question) -> list[tuple[str, Tensor]]:
        """Layers that give a map and have a gradient, in the order in which they finish, by one pass that records them all."""
        with torch.enable_grad(), recorded(self.modules) as calls:
            self.probe.read(image, meta)
        logits = self.probe.logits([(0, candidate) for candidate in question.candidates])
        outputs = [output for _, output in calls]
        gradients = torch.autograd.grad(self._target(question)(logits), outputs, allow_unused=True)
        pairs = zip(calls, gradients)
        return [call for call, gradient in pairs if is_map(call[1], 1) and gradient is not None and bool(gradient.any())]
