"""What the layers of a network gave while it ran, with gradients where they are wanted."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters that ask for no gradient, inside the context."""
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
    """Names and outputs of ``layers`` in the order in which they finish; a head may use a layer once for each level.

    An output below which nothing needs a gradient becomes a leaf that does, so the graph begins there. What goes on into the
    network is a copy, so that an activation in place behind the layer does not overwrite what was recorded.
    """
    calls: list[tuple[str, Tensor]] = []

    def hook(name: str) -> Callable:
        def keep(module, inputs, output):
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
    """Cells on the shorter side of what :func:`is_map`."""
    return min(output.shape[-2:]) if output.ndim == 4 else math.isqrt(output.shape[1])


def as_map(output: Tensor | None) -> Tensor | None:
    """Tokens (B, N, C) of a square grid, class token first, as (B, C, H, W); maps as they are."""
    if output is None or output.ndim == 4:
        return output
    grid = output[:, _extra_tokens(output) :].transpose(1, 2)
    return grid.unflatten(2, (least_side(output), -1))


def _extra_tokens(output: Tensor) -> int:
    return output.shape[1] - math.isqrt(output.shape[1]) ** 2
