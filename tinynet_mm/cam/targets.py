"""What a map explains: a target in the user's words, like ``class=cat``, becomes candidates of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError, did_you_mean, listed
from .probes import Candidate, ClassifierReading, Reading

KINDS = ('top1', 'class=NAME', 'box=K', 'all')


@dataclass(frozen=True)
class Wanted:
    """The candidates to explain.

    Attributes:
        kind: top1, class, box or all.
        number: the label of a class, or the rank of a box, from 1, the best.
        threshold: the lowest score of a box, 0 to 1.
        topk: the highest number of boxes or classes.
        per_box: one question for each box, instead of one for all.

    Raises:
        UserError: ``topk`` below one.
    """

    kind: str = 'top1'
    number: int = 0
    threshold: float = 0.3
    topk: int = 5
    per_box: bool = False

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise UserError(f'--topk {self.topk}: at least one box or class must be explained.')


@dataclass(frozen=True)
class Question:
    """Candidates that one map explains together, and a note for the user on how they are chosen."""

    candidates: tuple[Candidate, ...]
    note: str = ''


def parse_target(text: str, classes: Sequence[str], **options: Any) -> Wanted:
    """Parse ``top1``, ``class=NAME``, ``box=K`` or ``all``; ``options`` are the other fields of :class:`Wanted`.

    Raises:
        UserError: another word, a class that is not in ``classes`` (with the nearest names), a box number below one.
    """
    kind, _, value = text.partition('=')
    if text in ('top1', 'all'):
        return Wanted(text, **options)
    if kind == 'box' and value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0:
        return Wanted('box', int(value), **options)
    if kind == 'class' and value:
        return Wanted('class', find_class(value, classes), **options)
    raise UserError(f'--target {text}: give one of {", ".join(KINDS)}; K counts boxes from 1, the best one.')


def find_class(name: str, classes: Sequence[str]) -> int:
    """Index of a class by its name, in upper or lower case.

    Raises:
        UserError: no class has this name, with the nearest names.
    """
    if not classes:
        raise UserError(f'--target class={name}: the class names of this model are unknown; give its data set with --data-root.')
    lower = [known.lower() for known in classes]
    if name.lower() in lower:
        return lower.index(name.lower())
    hint = did_you_mean(name, classes, cutoff=0.4) or f' It has {listed(classes, 10)}.'
    raise UserError(f'none of the {len(classes)} classes of this model is {name!r}.{hint}')


def choose(reading: Reading, image: int, wanted: Wanted) -> list[Question]:
    """The questions on one image of the batch, one for each map.

    A question without candidates says in its note why there is nothing to explain.

    Raises:
        UserError: a box of a classifier.
    """
    if isinstance(reading, ClassifierReading):
        return _choose_class(reading, image, wanted)
    label = wanted.number if wanted.kind == 'class' else None
    best = reading.best(image, label)
    if best is None:
        return [Question((), 'the detector proposes no region on this image')]
    if wanted.kind == 'top1' and best.score >= wanted.threshold:
        return [Question((best,))]  # the best candidate is also the best box: no other box can suppress it
    most = wanted.number if wanted.kind == 'box' else wanted.topk + 1  # one more, to know whether some are left out
    found = reading.found(image, wanted.threshold, label, most) if best.score >= wanted.threshold else []
    if wanted.kind == 'box':
        if len(found) < wanted.number:
            return [Question((), f'box {wanted.number} was asked for, but {_count(found)} a score of {wanted.threshold:g}')]
        return [Question((found[wanted.number - 1],))]
    if found:
        chosen, rest = tuple(found[: wanted.topk]), found[wanted.topk :]
        note = f'only the best {wanted.topk} of its boxes; more with --topk' if rest else ''
        return [Question((c,), note) for c in chosen] if wanted.per_box else [Question(chosen, note)]
    note = f'no box reaches a score of {wanted.threshold:g}; the best candidate, {best.score:.3f}, is explained'
    return [Question((best,), note)]


def _choose_class(reading: ClassifierReading, image: int, wanted: Wanted) -> list[Question]:
    if wanted.kind == 'box':
        raise UserError('a classifier has no boxes: give --target top1, class=NAME or all.')
    if wanted.kind == 'all':
        return [Question((c,)) for c in reading.found(image, most=wanted.topk)]
    return [Question((reading.best(image, wanted.number if wanted.kind == 'class' else None),))]


def _count(found: Sequence[Candidate]) -> str:
    return 'no box reaches' if not found else 'only one box reaches' if len(found) == 1 else f'only {len(found)} boxes reach'
