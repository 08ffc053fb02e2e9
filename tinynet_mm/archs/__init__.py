"""Architectures as tables: base networks, the scaling (r, w, d), and the presets made from both.

TinyNet (NeurIPS 2020), section 3.2. The records are in ``records``, the scaling in ``scaling``, the base tables and presets in
``networks``. This package does not import torch.
"""

from .networks import BASES, EFFICIENTNET_B0, GHOSTNET_100, GHOSTNET_A, INFERRED, PRESETS, RESNETS, preset, resolve
from .records import ACTIVATIONS, FAMILIES, PLAIN_BLOCKS, Arch, Family, Scaling, Stage
from .scaling import INNER_DIVISORS, Integers, divisible, inner_channels, inverted_compound, reduced_channels, scale

__all__ = [
    'ACTIVATIONS',
    'BASES',
    'EFFICIENTNET_B0',
    'FAMILIES',
    'GHOSTNET_100',
    'GHOSTNET_A',
    'INFERRED',
    'INNER_DIVISORS',
    'PLAIN_BLOCKS',
    'PRESETS',
    'RESNETS',
    'Arch',
    'Family',
    'Integers',
    'Scaling',
    'Stage',
    'divisible',
    'inner_channels',
    'inverted_compound',
    'preset',
    'reduced_channels',
    'resolve',
    'scale',
]
