"""Explanations: a map with the extremes of its raw values, or the reason why there is no map; several maps as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .methods import combine
from .targets import Question


@dataclass(frozen=True, eq=False)
class Explanation:
    """A map of one question, or the reason why there is none.

    Attributes:
        question: the candidates that the map explains.
        layers: names of the layers that the map is computed from.
        map: float values (H, W) from 0 to 1, in pixels of the network's input; None if there is no map.
        low: lowest value of the raw map, before negative values are set to zero and the rest is scaled.
        high: highest value of the raw map.
        reason: why there is no map.
        refused: the layer gives no map for this question; another layer may.
        note: the layer that replaces a level that is too coarse.
    """

    question: Question
    layers: tuple[str, ...]
    map: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0
    reason: str = ''
    refused: bool = False
    note: str = ''


def split(question: Question) -> list[Question]:
    """A question for each candidate; the question itself if it has fewer than two."""
    if len(question.candidates) < 2:
        return [question]
    return [replace(question, candidates=(candidate,)) for candidate in question.candidates]


def pool(questions: Sequence[Question], answers: Sequence[Explanation]) -> list[Explanation]:
    """One explanation for each question from those of its candidates, which :func:`split` separated, in the same order.

    The pooled map is the maximum of the candidates' maps, each scaled to 0..1 by itself, so that a candidate with a low logit
    is as visible as the others. ``low`` and ``high`` are the extremes of all raw maps, which are not scaled.
    """
    remaining, pooled = list(answers), []
    for question in questions:
        count = max(1, len(question.candidates))
        own, remaining = remaining[:count], remaining[count:]
        pooled.append(own[0] if count == 1 else _pool(question, own))
    return pooled


def _pool(question: Question, own: Sequence[Explanation]) -> Explanation:
    maps = [e.map for e in own if e.map is not None]
    layers = tuple(dict.fromkeys(name for e in own for name in e.layers))
    low, high = min(e.low for e in own), max(e.high for e in own)
    note = '; '.join(dict.fromkeys(e.note for e in own if e.note))
    if not maps:
        return replace(own[0], question=question, layers=layers, low=low, high=high)
    return Explanation(question, layers, np.max(maps, axis=0), low, high, note=note)


def explain_raw(
    question: Question, names: tuple[str, ...], raws: Sequence[np.ndarray], size: tuple[int, int], multiply: bool = False
) -> Explanation:
    """The explanation by the raw, signed maps (h, w) of some layers.

    Args:
        question: what the maps explain.
        names: the layers.
        raws: a raw map of each layer.
        size: width and height of the network's input in pixels.
        multiply: multiply the layers' maps instead of averaging them.
    """
    low, high = float(min(raw.min() for raw in raws)), float(max(raw.max() for raw in raws))
    if reason := _no_map(' and '.join(names), raws, low, high):
        return Explanation(question, names, low=low, high=high, reason=reason)
    return Explanation(question, names, combine(raws, size, multiply), low, high)


def _no_map(where: str, raws: Sequence[np.ndarray], low: float, high: float) -> str:
    """Why these raw maps show nothing; empty if they do."""
    if not np.isfinite([low, high]).all():
        return f'the map of {where} is not finite: the network overflows on this image'
    if low == high == 0:
        return f'the map of {where} is empty: its activations or weights are all zero'
    if high <= 0:
        hint = 'another --layer, or --method hirescam, may show more'
        return f'{where} holds only negative evidence (at most {high:.2g}); {hint}'
    if low == high:
        sizes = ', '.join(f'{raw.shape[0]}x{raw.shape[1]}' for raw in raws)
        return f'the map of {where} ({sizes}) has the same value everywhere; name a larger layer with --layer'
    return ''


def average(explanation: Explanation, maps: Sequence[np.ndarray | None]) -> Explanation:
    """An explanation with the mean of some maps; one without a map stays without."""
    if explanation.map is None:
        return explanation
    return replace(explanation, map=np.stack([m for m in maps if m is not None]).mean(axis=0, dtype=np.float32))
