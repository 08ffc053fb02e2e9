"""Refuse ONNX files with loops and branches, which can run without end; the exporter writes none.

The file is read as protocol buffers, without the package onnx, since the runtime works without it. A message is a sequence of
fields, each a number with the wire type in its last three bits, and a value (protobuf.dev/programming-guides/encoding). The
numbers of the fields are those of onnx.proto.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

GRAPH, FUNCTION = 7, 25  # of a ModelProto
NODE = 1  # of a GraphProto
NAME, ATTRIBUTE = 4, 5  # of a NodeProto
SUBGRAPHS = (6, 11)  # of an AttributeProto: a graph, and a list of graphs
NEVER_ENDS = '{} contains the operator {}, which can run without end and which no export writes; export the model again.'

Data = bytes | memoryview | mmap.mmap


def check_operators(path: Path) -> None:
    """Check that a file has no operator with a graph inside (Loop, Scan, If), and no functions, which can contain them.

    Raises:
        UserError: it has one, or is not an ONNX file.
    """
    if not path.stat().st_size:
        return  # the runtime reports it
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found = _first_loop(data)
        except (IndexError, ValueError) as error:
            raise UserError(f'{path} is not an ONNX file that ONNX Runtime runs ({error}); export the model again.') from error
    if found is not None:
        raise UserError(NEVER_ENDS.format(path, found))


def _first_loop(model: Data) -> str | None:
    """The name of the first operator with a graph inside, or ``function``; None without one."""
    for number, graph in fields(model):
        if number == FUNCTION:
            return 'function'
        if number != GRAPH:
            continue
        for kind, node in fields(memoryview(graph)):  # without copies of the weights
            if kind == NODE and _has_graph(node):
                return next((bytes(value).decode(errors='replace')[:80] for key, value in fields(node) if key == NAME), '')
    return None


def _has_graph(node: Data) -> bool:
    attributes = (value for number, value in fields(node) if number == ATTRIBUTE)
    return any(number in SUBGRAPHS for attribute in attributes for number, _ in fields(attribute))


def fields(message: Data) -> Iterator[tuple[int, Data]]:
    """Yield the number and the content of each field of a message that has a length: texts, messages and packed numbers.

    Raises:
        IndexError, ValueError: the message is truncated, or is not a protocol buffer.
    """
    place = 0
    while place < len(message):
        key, place = _integer(message, place)
        size = {0: 0, 1: 8, 2: 0, 5: 4}.get(key & 7)
        if size is None:
            raise ValueError(f'it has fields of the type {key & 7}')
        if key & 7 == 0:
            _, place = _integer(message, place)
        elif key & 7 == 2:
            size, place = _integer(message, place)
        if place + size > len(message):
            raise ValueError('it is truncated')
        if key & 7 == 2:
            yield key >> 3, message[place : place + size]
        place += size


def _integer(message: Data, place: int) -> tuple[int, int]:
    """A number of variable length, seven bits in a byte, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError('it has a number of more than 64 bits')
