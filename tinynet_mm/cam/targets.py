"""What a map is asked to explain: a user's words, like ``class=cat``, become candidates of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError, did_you_mean, listed
from .probes import Candidate, ClassifierProbe, Probe

KINDS = ('top1', 'class=NAME', 'box=K', 'all')


@dataclass(frozen=True)
class Wanted:
    """``kind`` is top1, class, box or all; ``number`` the label of a class, or the place of a box, best first, from 1.

    Raises:
        UserError: ``topk`` below one, which leaves nothing to explain.
    """

    kind: str = 'top1'
    number: int = 0
    threshold: float = 0.3
    topk: int = 5
    per_box: bool = False

    def __post_init__(self):
        if self.topk < 1:
            raise UserError(f'--topk {self.topk}: at least one box or class must be explained.')


@dataclass(frozen=True)
class Question:
    """Candidates that one map explains together, and what the user should know about their choice."""

    candidates: tuple[Candidate, ...]
    note: str = ''


def parse_target(text: str, classes: Sequence[str], **options) -> Wanted:
    """``top1``, ``class=NAME``, ``box=K`` or ``all``; ``options`` are the other fields of :class:`Wanted`.

    Raises:
        UserError: another word, a class that ``classes`` lacks (with the nearest ones), a box number below one.
    """
    kind, _, value = text.partition('=')
    if text in ('top1', 'all'):
        return Wanted(text, **options)
    if kind == 'box' and value.isdigit() and int(value) > 0:
        return Wanted('box', int(value), **options)
    if kind == 'class' and value:
        return Wanted('class', find_class(value, classes), **options)
    raise UserError(f'--target {text}: give one of {", ".join(KINDS)}; K counts boxes from 1, the best one.')


def find_class(name: str, classes: Sequence[str]) -> int:
    """Index of a class by its name, whatever its case; ValueError with the nearest names where there is none."""
    if not classes:
        raise UserError(
            f'--target class={name}: this model does not tell the names of its classes; give its data set by --data-root.'
        )
    lower = [known.lower() for known in classes]
    if name.lower() in lower:
        return lower.index(name.lower())
    hint = did_you_mean(name, classes, cutoff=0.4) or f' It has {listed(classes, 10)}.'
    raise UserError(f'there is no class {name!r} among the {len(classes)} of this model.{hint}')


def choose(probe: Probe, image: int, wanted: Wanted) -> list[Question]:
    """The questions on one image of the batch that ``probe`` has read, one for each map to draw.

    A question without candidates says in its note why there is nothing to explain. ValueError: a box of a classifier.
    """
    if isinstance(probe, ClassifierProbe):
        return _choose_class(probe, image, wanted)
    label = wanted.number if wanted.kind == 'class' else None
    best = probe.best(image, label)
    if best is None:
        return [Question((), 'the detector proposes no region on this image')]
    if wanted.kind == 'top1' and best.score >= wanted.threshold:
        return [Question((best,))]  # the best candidate of all is also the best box: nothing can suppress it
    most = wanted.number if wanted.kind == 'box' else wanted.topk + 1  # one more, to tell whether any was left out
    found = probe.found(image, wanted.threshold, label, most) if best.score >= wanted.threshold else []
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


def _choose_class(probe: Probe, image: int, wanted: Wanted) -> list[Question]:
    if wanted.kind == 'box':
        raise UserError('a classifier has no boxes: give --target top1, class=NAME or all.')
    if wanted.kind == 'all':
        return [Question((c,)) for c in probe.found(image, most=wanted.topk)]
    return [Question((probe.best(image, wanted.number if wanted.kind == 'class' else None),))]


def _count(found: Sequence[Candidate]) -> str:
    return 'no box reaches' if not found else 'only one box reaches' if len(found) == 1 else f'only {len(found)} boxes reach'
