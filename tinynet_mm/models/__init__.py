"""Backbones, and the heads and necks of detectors; importing this registers them in MMEngine's root registry."""

from importlib.util import find_spec

from .classifier import Classifier
from .efficientnet import ScaledEfficientNet, TinyNet
from .ghostnet import ScaledGhostNet
from .resnet import ScaledResNet

__all__ = ['Classifier', 'ScaledEfficientNet', 'ScaledGhostNet', 'ScaledResNet', 'TinyNet']

if find_spec('mmdet'):  # mmdet is not required for classification
    from .assignment import AlignedAssigner  # noqa: F401
    from .rtmdet import LightHead, LightPAN  # noqa: F401
    from .ssdlite import SSDLiteHead  # noqa: F401
