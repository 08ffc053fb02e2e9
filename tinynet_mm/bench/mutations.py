"""Change the content of a valid file at random: its structure, its words, or its bytes.

A mutation receives bytes and a generator and returns bytes. The values that replace others are those that break readers: the
ends of number types, texts in place of numbers, nesting, names that leave a folder.
"""

import copy
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import yaml

Rng = np.random.Generator
T = TypeVar('T')

TEXTS = (
    '', ' ', 'x', '0', '1', '-1', '1.5', 'nan', '-inf', '1e308', '1e999', '0x1', '1_000', '\u0663', 'true', 'null', 'x' * 20_000,
    '9' * 5000, '1' * 400, '\0', '\ud800', '\ufeff', 'a\nb', '../x', '/etc/passwd', '.', '..', 'a/b', 'C:\\x', '{{x}}',
    '<b>', '%s', '2001-99-99', '1:61:61', '!!python/tuple [1]', '&a [*a]', '*a', '<<: x', '? [x]', '0b', '- - -', '"', "'", ',',
    ';', '#',
)  # fmt: skip
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-300, 1e15, 1e308, float('nan'), float('inf'), -float('inf'), 2**31, 2**63, 2**64, 10**400)
# texts in place of JSON that json.dumps does not write
RAW = {f'@{name}{depth}@': opening * depth + closing * depth for depth in (200, 980, 100_000)
       for name, opening, closing in (('list', '[', ']'), ('object', '{"a":', ''))}  # fmt: skip
VALUES: tuple[Any, ...] = (None, True, False, *NUMBERS, *TEXTS, *RAW, [], {}, [[]], [None], [1, 2, 3, 4], {'a': 1})
SEPARATORS = re.compile(rb'([\s,:;="<>{}\[\]()]+)')


def pick(rng: Rng, items: Sequence[T]) -> T:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


# Structure --------------------------------------------------------------------------------------------------------------------


def spots(tree: object) -> Iterator[tuple[Any, Any]]:
    """The container and the key of each value in nested dicts and lists."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from spots(tree[key])  # type: ignore[index]


def change_tree(tree: object, rng: Rng) -> object:
    """Replace, remove, copy, wrap or rename one value in nested dicts and lists; changes ``tree``."""
    places = list(spots(tree))
    if not places:
        return pick(rng, VALUES)
    (container, key), (other, name) = pick(rng, places), pick(rng, places)
    action = rng.integers(8)
    if action == 0:
        del container[key]
    elif action == 1:
        container[key] = copy.deepcopy(other[name])
    elif action == 2:
        container[key] = [container[key]]
    elif action == 3 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif action == 3:
        container[pick(rng, TEXTS)] = container.pop(key)
    elif action == 4 and type(container[key]) in (int, float):
        container[key] = container[key] * pick(rng, (-1, 0.5, 1000)) + pick(rng, (0, 1e-9, 1))
    else:
        container[key] = copy.deepcopy(pick(rng, VALUES))
    return tree


def raw(text: str) -> bytes:
    """The text as UTF-8, with the JSON of :data:`RAW` in place of its names."""
    for name in RAW if '@' in text else ():
        text = text.replace(f'"{name}"', RAW[name])
    return text.encode(errors='surrogatepass')


def change_json(data: bytes, rng: Rng) -> bytes:
    """Change one value of a JSON file, or of one line of a file with JSON lines."""
    try:
        return raw(json.dumps(change_tree(json.loads(data), rng)))
    except ValueError:
        lines = data.split(b'\n')
        number = int(rng.integers(len(lines)))
        lines[number] = raw(json.dumps(change_tree(json.loads(lines[number] or b'{}'), rng)))
        return b'\n'.join(lines)


def change_yaml(data: bytes, rng: Rng) -> bytes:
    """Change one value of a YAML file."""
    return raw(yaml.safe_dump(change_tree(yaml.safe_load(data), rng)))


def change_xml(data: bytes, rng: Rng) -> bytes:
    """Change one element of an XML file."""
    root = ElementTree.fromstring(data)
    inside = [(parent, index) for parent in root.iter() for index in range(len(parent))]
    parent, index = pick(rng, inside)
    element, action, text = parent[index], rng.integers(7), str(pick(rng, VALUES))
    if action == 0:
        parent.remove(element)
    elif action == 1:
        parent.insert(index, copy.deepcopy(element))
    elif action == 2:
        element.append(copy.deepcopy(parent[index]))
    elif action == 3:
        element.tag = pick(rng, [other.tag for other in root.iter()])
    elif action == 4 or not element.attrib:
        element.text = text
    else:
        key = pick(rng, list(element.attrib))
        element.set(key, text) if action == 5 else element.attrib.pop(key)
    return ElementTree.tostring(root, encoding='unicode').encode(errors='surrogatepass')


def change_checkpoint(data: bytes, rng: Rng) -> bytes:
    """Change one value of a checkpoint of torch."""
    import torch

    content = change_tree(torch.load(io.BytesIO(data), weights_only=True), rng)
    torch.save(content, made := io.BytesIO())
    return made.getvalue()


STRUCTURES: dict[str, Callable[[bytes, Rng], bytes]] = {
    '.json': change_json,
    '.yaml': change_yaml,
    '.xml': change_xml,
    '.pth': change_checkpoint,
}


# Words and bytes --------------------------------------------------------------------------------------------------------------


def change_words(data: bytes, rng: Rng) -> bytes:
    """Replace a word of a text by another text or another word, or remove, repeat or move a line."""
    if rng.random() < 0.3:
        lines = data.splitlines(keepends=True) or [b'']
        line = lines.pop(int(rng.integers(len(lines))))
        for _ in range(int(rng.integers(3))):
            lines.insert(int(rng.integers(len(lines) + 1)), line)
        return b''.join(lines)
    parts = SEPARATORS.split(data)
    place = int(rng.integers(len(parts)))
    text = raw(json.dumps(pick(rng, list(RAW)))) if rng.random() < 0.05 else pick(rng, TEXTS).encode(errors='surrogatepass')
    parts[place] = text if rng.random() < 0.7 else pick(rng, parts)
    return b''.join(parts)


def change_bytes(data: bytes, rng: Rng) -> bytes:
    """Flip a bit, or replace, insert, repeat, remove or cut off some bytes."""
    start = int(rng.integers(len(data) + 1))
    end = min(len(data), start + int(rng.geometric(0.1)))
    action = rng.integers(6)
    if action == 0 and start < len(data):
        return data[:start] + bytes([data[start] ^ 1 << int(rng.integers(8))]) + data[start + 1 :]
    if action == 1:
        return data[:start] + pick(rng, (b'\0', b'\xff', b'\x7f', b'\x80', b'\xff\xff\xff\xff')) + data[start + 1 :]
    if action == 2:
        return data[:start] + rng.bytes(end - start) + data[start:]
    if action == 3:
        return data[:end] + data[start:]
    if action == 4:
        return data[:start] + data[end:]
    return data[:start] if rng.random() < 0.3 else data[:start] + rng.bytes(end - start) + data[end:]


def mutated(data: bytes, suffix: str, rng: Rng, text: bool = True) -> bytes:
    """One to four mutations of the content of a file; ``text`` is False for a format without words."""
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        structure = STRUCTURES.get(suffix)
        chance = rng.random()
        try:
            if structure and chance < 0.6:
                data = structure(data, rng)
                continue
        except Exception:  # an earlier mutation left no structure
            chance = 1.0
        data = change_words(data, rng) if text and chance < 0.8 else change_bytes(data, rng)
    return data
