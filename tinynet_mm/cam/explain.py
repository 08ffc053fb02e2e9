"""From a batch of images to class activation maps: one forward pass, then one short backward pass for each question.

Parameters are frozen and the graph is cut below the layer in question, so that autograd keeps and computes only what the map
needs; grad-cam called directly differentiates the complete network for every target.
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
from .explanation import Explanation, average, explain_raw, pool, split
from .methods import TARGETS, Target, find_method
from .probes import Candidate, ClassifierProbe, Logits, Reading
from .record import as_map, frozen, is_map, least_side, recorded
from .targets import Question

LEAST_SIDE = 4  # cells; a coarser map does not locate anything, so `auto` uses the nearest layer before it
AUGMENTATIONS = tuple(itertools.product((False, True), (1.0, 0.9, 1.1)))  # (mirrored, brightness) of grad-cam's aug_smooth

Choose = Callable[[Reading, int], list[Question]]  # the questions on one image of the batch


class NoGradient(Exception):
    """A layer cannot explain a question; its message becomes the reason of an explanation."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """One forward pass.

    Attributes:
        inputs: the batch (B, 3, H, W).
        reading: what the probe returned for it.
        outputs: outputs of each recorded layer, one for each call of the layer.
        fallbacks: level -> the layer that replaces it, for levels with too few cells.
    """

    inputs: Tensor
    reading: Reading
    outputs: dict[str, list[Tensor]]
    fallbacks: dict[str, str]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the inputs in pixels."""
        return self.inputs.shape[-1], self.inputs.shape[-2]


class Explainer:
    """Class activation maps of one model by one method.

    Args:
        model: a built classifier of mmpretrain or detector of mmdet; it is put into evaluation mode.
        method: a key of :data:`.methods.METHODS`; ``auto`` is HiResCAM for detectors and Grad-CAM for classifiers. A box is read
            from a few cells, and Grad-CAM spreads the mean of their gradients over the complete map.
        layers: names of layers as in ``model.named_modules()``, or ``level0``, ``level1``...: the maps that enter the head.
            Empty: the level of each candidate, or the last layer before it with LEAST_SIDE cells a side.
        eigen_smooth: grad-cam's smoothing by the first principal component.
        aug_smooth: grad-cam's smoothing by the mean over mirrored input and input multiplied by 0.9 and 1.1.

    Raises:
        UserError: a model, method or layer that is not supported; the message lists the supported ones.
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
        self.method = find_method(self.name)
        self.cam = self.method.build(Logits(self.probe, ()))  # takes milliseconds, so each question uses a copy
        self.layers, self.eigen_smooth, self.aug_smooth = tuple(layers), eigen_smooth, aug_smooth
        self.gradients = self.method.needs == 'gradients'
        self.levels: dict[str, nn.Module] = {f'level{i}': module for i, module in enumerate(self.probe.levels)}
        self.modules = self.levels | {name: module for name, module in self.probe.model.named_modules() if name}
        # Two caches of what depends on the model, the input size and the level, but not on the images
        self._fallbacks: dict[tuple[int, int], dict[str, str]] = {}
        self._usable: dict[tuple[tuple[int, int], int], list[tuple[str, int]]] = {}
        self._check()

    def copy(self) -> 'Explainer':
        """Another explainer with a copy of the model, for another thread."""
        return Explainer(copy.deepcopy(self.probe.model), self.name, self.layers, self.eigen_smooth, self.aug_smooth)

    def _check(self) -> None:
        model = type(self.probe.model).__name__
        for name in self.layers:
            if name not in self.modules:
                hint = did_you_mean(name, self.modules, cutoff=0.3) or f' Its levels: {listed(list(self.levels))}.'
                raise UserError(f'{model} has no layer {name!r}.{hint}')
        if not self.layers and not self.levels:
            raise UserError(f'{model} has no backbone; name a layer with --layer.')
        if self.method.layers > max(1, len(self.layers)):
            raise UserError(f'{self.name} multiplies the maps of several layers: name two or more with --layer.')

    def __call__(self, inputs: Tensor, metas: Sequence[dict], choose: Choose) -> list[list[Explanation]]:
        """Maps for a batch (B, 3, H, W) from the data preprocessor, with the meta information of its samples.

        ``choose(reading, image)`` returns the questions on one image of the batch, as :func:`.targets.choose` does. The map of a
        question with several candidates is the maximum of their maps, each scaled to 0..1 by itself, so that a candidate with a
        low logit is as visible as the others; ``low`` and ``high`` are those of the raw maps, see :func:`.explanation.pool`.
        """
        with frozen(self.probe):
            done = self._forward(inputs, metas, self._fallbacks.get((inputs.shape[-1], inputs.shape[-2]), {}))
            questions = [choose(done.reading, image) for image in range(len(inputs))]
            separate = [[one for question in asked for one in split(question)] for asked in questions]
            fallbacks = self._find_fallbacks(done, separate)
            if fallbacks != done.fallbacks:
                done = self._forward(inputs, metas, fallbacks)
            explained = self._explain(done, separate)
            if self.aug_smooth:
                explained = self._smooth(done, metas, separate, explained)
            advised = [[self._advise(e, done) for e in explanations] for explanations in explained]
        return [pool(asked, answers) for asked, answers in zip(questions, advised)]

    def _forward(self, inputs: Tensor, metas: Sequence[dict], fallbacks: dict[str, str]) -> _Pass:
        names = self.layers or (*self.levels, *fallbacks.values())
        outputs: dict[str, list[Tensor]] = {name: [] for name in names}
        with torch.set_grad_enabled(self.gradients), recorded({name: self.modules[name] for name in names}) as calls:
            reading = self.probe.read(inputs, metas)
        for name, output in calls:
            outputs[name].append(output)
        return _Pass(inputs, reading, outputs, fallbacks)

    # Layers -------------------------------------------------------------------------------------------------------------------

    def _find_fallbacks(self, done: _Pass, questions: Sequence[Sequence[Question]]) -> dict[str, str]:
        """The fallbacks of a pass, and one for each other level in question that has too few cells."""
        if self.layers:
            return {}
        fallbacks = dict(done.fallbacks)
        for candidate in (c for asked in questions for question in asked for c in question.candidates):
            name = f'level{candidate.level}'
            maps = [output for output in done.outputs[name] if output.ndim == 4]
            if name not in fallbacks and maps and least_side(maps[-1]) < LEAST_SIDE:
                larger = [layer for layer, side in self._usable_layers(candidate, done) if side >= LEAST_SIDE]
                fallbacks[name] = larger[-1] if larger else name
        self._fallbacks[done.size] = fallbacks
        return fallbacks

    def _usable_layers(self, candidate: Candidate, done: _Pass) -> list[tuple[str, int]]:
        """Layers with a map and a gradient for decisions of one level, with the cells of their shorter side.

        They are in the order in which they finish. A pass over noise of the size of the input finds them, so they do not depend
        on an image.
        """
        key = done.size, candidate.level
        if key not in self._usable:
            noise = torch.randn(1, *done.inputs.shape[1:], generator=torch.Generator().manual_seed(0)).to(done.inputs)
            with torch.enable_grad(), recorded(self.modules) as calls:
                reading = self.probe.read(noise)
                total = self._target([candidate])(reading.logits([(0, candidate)]))
            gradients = torch.autograd.grad(total, [output for _, output in calls], allow_unused=True)
            used = [gradient is not None and bool(gradient.any()) for gradient in gradients]
            self._usable[key] = [(name, least_side(o)) for (name, o), use in zip(calls, used) if use and is_map(o, 1)]
        return self._usable[key]

    def _names(self, question: Question, fallbacks: dict[str, str]) -> tuple[str, ...]:
        levels = (f'level{c.level}' for c in question.candidates)
        return self.layers or tuple(sorted({fallbacks.get(level, level) for level in levels}))

    def _advise(self, explanation: Explanation, done: _Pass) -> Explanation:
        """Add to an explanation the layers that have a map if its own has none, or the layer that replaces its level."""
        candidates = explanation.question.candidates
        if explanation.refused and self.gradients:
            layers = dict(self._usable_layers(candidates[0], done))
            names = sorted(reversed(layers), key=lambda name: name.count('.'))  # the nearest to the decision first
            advice = f'layers with a map: {listed(names, 12)}' if names else 'no layer has one'
            return replace(explanation, reason=f'{explanation.reason}; {advice}')
        levels = [] if self.layers else sorted({f'level{c.level}' for c in candidates})
        replaced = [(done.fallbacks[name], name) for name in levels if done.fallbacks.get(name, name) != name]
        return replace(explanation, note='; '.join(f'{layer} replaces {name}, which is too coarse' for layer, name in replaced))

    # Maps ---------------------------------------------------------------------------------------------------------------------

    def _explain(self, done: _Pass, questions: Sequence[Sequence[Question]]) -> list[list[Explanation]]:
        """One backward pass for the first question on every image, one for the second..."""
        answers: list[list[Explanation]] = [[] for _ in questions]
        turns = max(map(len, questions))
        for turn in range(turns):
            active = [(image, asked[turn]) for image, asked in enumerate(questions) if turn < len(asked)]
            gradients = self._backward(done, active, keep=turn + 1 < turns) if self.gradients else {}
            for image, question in active:
                answers[image].append(self._answer(done, image, question, gradients))
        return answers

    def _backward(self, done: _Pass, active: Sequence[tuple[int, Question]], keep: bool) -> dict[int, Tensor]:
        """Gradients of the questions' logits with respect to the recorded outputs, by the id of the output."""
        active = [(image, question) for image, question in active if question.candidates]
        if not active:
            return {}
        logits = done.reading.logits([(image, c) for image, question in active for c in question.candidates])
        parts = logits.split([len(question.candidates) for _, question in active])
        total = torch.stack([self._target(question.candidates)(part) for (_, question), part in zip(active, parts)]).sum()
        names = {name for _, question in active for name in self._names(question, done.fallbacks)}
        kept = [output for name, outputs in done.outputs.items() if name in names for output in outputs]
        if not total.requires_grad:
            return {}
        gradients = torch.autograd.grad(total, kept, retain_graph=keep, allow_unused=True)
        return {id(output): gradient for output, gradient in zip(kept, gradients) if gradient is not None}

    def _target(self, candidates: Sequence[Candidate]) -> Target:
        return TARGETS.get(self.name, Target)(self.probe, candidates)

    def _answer(self, done: _Pass, image: int, question: Question, gradients: dict[int, Tensor]) -> Explanation:
        if not question.candidates:
            return Explanation(question, (), reason=question.note)
        names = self._names(question, done.fallbacks)
        try:
            raws = [self._raw(done, image, question, name, gradients) for name in names]
        except NoGradient as error:
            return Explanation(question, names, reason=str(error), refused=True)
        return explain_raw(question, names, raws, done.size, multiply=self.name == 'refinecam')

    def _raw(self, done: _Pass, image: int, question: Question, name: str, gradients: dict[int, Tensor]) -> np.ndarray:
        """Signed map (h, w) of one question at one layer, at the layer's resolution."""
        output = self._output(done, image, question, name, gradients)
        pair = as_map(output), as_map(gradients.get(id(output)))
        arrays = [None if part is None else part[image : image + 1].detach().cpu().numpy() for part in pair]
        cam = copy.copy(self.cam)
        cam.model = Logits(self.probe, question.candidates)
        arguments = done.inputs[image : image + 1], self.modules[name], [self._target(question.candidates)]
        return np.asarray(cam.get_cam_image(*arguments, *arrays, self.eigen_smooth)[0], dtype=np.float32)

    def _output(self, done: _Pass, image: int, question: Question, name: str, gradients: dict[int, Tensor]) -> Tensor:
        """The output (B, ...) of a layer that the question depends on most, of those that are maps.

        Raises:
            NoGradient: none of them is a map, or the question depends on none.
            UserError: Ablation-CAM for a layer that the model calls several times.
        """
        outputs = [output for output in done.outputs[name] if is_map(output, len(done.inputs))]
        if not outputs:
            raise NoGradient(f'{name} gives no map of the image')
        if self.name == 'ablationcam' and len(outputs) > 1:
            raise UserError(f'ablationcam cannot ablate {name}, which the model uses {len(outputs)} times; name another layer.')
        if not self.gradients:  # the model calls a layer that several levels share once for each level
            return outputs[question.candidates[0].level if len(outputs) == len(self.levels) else -1]
        strength = [float(gradients[id(o)][image].detach().abs().sum()) if id(o) in gradients else 0.0 for o in outputs]
        if max(strength) == 0:
            raise NoGradient(f'{name} has no gradient: this decision does not depend on it')
        return outputs[int(np.argmax(strength))]

    def _smooth(
        self, done: _Pass, metas: Sequence[dict], questions: Sequence[Sequence[Question]], first: list[list[Explanation]]
    ) -> list[list[Explanation]]:
        """Mean of the maps over grad-cam's augmentations; ``first`` are those of the image without a change."""
        maps = [[[e.map] for e in explained] for explained in first]
        width, height = done.size
        full = [dict(meta, img_shape=(height, width)) for meta in metas]
        for mirrored, brightness in AUGMENTATIONS[1:]:
            changed = (done.inputs.flip(-1) if mirrored else done.inputs) * brightness
            again = self._forward(changed, full, done.fallbacks)
            asked = [[_mirror(again.reading, i, q, width) if mirrored else q for q in qs] for i, qs in enumerate(questions)]
            for image, explained in enumerate(self._explain(again, asked)):
                for place, e in enumerate(explained):
                    maps[image][place].append(e.map if e.map is None or not mirrored else e.map[:, ::-1])
        return [[average(e, maps[i][j]) for j, e in enumerate(explained)] for i, explained in enumerate(first)]


def _mirror(reading: Reading, image: int, question: Question, width: int) -> Question:
    return replace(question, candidates=tuple(reading.mirror(image, c, width) for c in question.candidates))
