"""Hold out a part of a data set for validation, stratified by class.

The images of each class are divided by the share, from the rarest class to the most common one, so that rare classes are in both
parts; then those without boxes. Several random divisions are tried if a class with two images or more is missing in a part.
"""

from collections.abc import Hashable, Sequence

import numpy as np

TRIES = 50
SHARE, SEED = 0.2, 0


def held_out(classes: Sequence[set], share: float = SHARE, seed: int = SEED) -> list[int]:
    """The indices of the images to hold out, ascending.

    Args:
        classes: the set of the classes in each image.
        share: the fraction of the images of each class; at least one image of a class with two or more is held out, and one kept.
        seed: of the random choice.
    """
    rng = np.random.default_rng(seed)
    best: set[int] = set()
    least = None
    for _ in range(TRIES):
        chosen = _draw(classes, share, rng)
        missing = len(_missing(classes, chosen))
        if least is None or missing < least:
            best, least = chosen, missing
        if not missing:
            break
    return sorted(best)


def _draw(classes: Sequence[set], share: float, rng: np.random.Generator) -> set[int]:
    members = _members(classes)
    order = sorted(members, key=lambda name: (len(members[name]), str(name)))
    undecided, chosen = set(range(len(classes))), set[int]()
    for images in [*(members[name] for name in order), [index for index, found in enumerate(classes) if not found]]:
        wanted = min(max(1, round(share * len(images))), len(images) - 1)
        free = [index for index in images if index in undecided]
        missing = max(0, wanted - len(chosen.intersection(images)))
        chosen |= set(rng.permutation(free)[:missing].tolist())
        undecided -= set(free)
    if not chosen:  # no two images have a class in common
        chosen = set(rng.permutation(len(classes))[: max(1, round(share * len(classes)))].tolist())
    return chosen


def _members(classes: Sequence[set]) -> dict[Hashable, list[int]]:
    """The indices of the images of each class."""
    members: dict[Hashable, list[int]] = {}
    for index, found in enumerate(classes):
        for name in found:
            members.setdefault(name, []).append(index)
    return members


def _missing(classes: Sequence[set], chosen: set[int]) -> list[Hashable]:
    """The classes with two images or more that are missing in one of the two parts."""
    counts = {name: (len(chosen.intersection(images)), len(images)) for name, images in _members(classes).items()}
    return [name for name, (held, total) in counts.items() if total >= 2 and held in (0, total)]
