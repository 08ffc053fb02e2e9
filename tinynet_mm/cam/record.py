"""Record the outputs of layers while a network runs, with gradients where they are needed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters need no gradient inside the context."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def recorded(layers: dict[str, nn.Module]) -> Iterator[list[tuple[str, Tensor]]]:
    """Names and outputs of ``layers`` in the order in which they finish; a head may call a layer once for each level.

    An output that needs no gradient becomes a leaf that needs one, so the graph begins there. The network continues with a copy,
    so that an in-place activation after the layer does not overwrite the recorded output.
    """
    calls: list[tuple[str, Tensor]] = []

    def hook(name: str) -> Callable:
        def keep(module: nn.Module, inputs: tuple, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            kept = output if output.requires_grad else output.detach().requires_grad_()
            calls.append((name, kept))
            return kept.clone()

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def is_map(output: Tensor, batch: int) -> bool:
    """Whether a layer's output is one map (C, H, W) or one square grid of tokens (N, C) for each image of the batch."""
    return output.ndim in (3, 4) and len(output) == batch and (output.ndim == 4 or _extra_tokens(output) <= 2)


def least_side(output: Tensor) -> int:
    """Number of cells on the shorter side of an output that :func:`is_map` accepts."""
    return min(output.shape[-2:]) if output.ndim == 4 else math.isqrt(output.shape[1])


def as_map(output: Tensor | None) -> Tensor | None:
    """Convert tokens (B, N, C) of a square grid, class token first, to (B, C, H, W); maps stay the same."""
    if output is None or output.ndim == 4:
        return output
    grid = output[:, _extra_tokens(output) :].transpose(1, 2)
    return grid.unflatten(2, (least_side(output), -1))


def _extra_tokens(output: Tensor) -> int:
    return output.shape[1] - math.isqrt(output.shape[1]) ** 2
