"""Backbones and the SSDLite head; importing this registers them in MMEngine's root registry."""

from .efficientnet import ScaledEfficientNet, TinyNet
from .ghostnet import ScaledGhostNet
from .resnet import ScaledResNet
from .ssdlite import SSDLiteHead

__all__ = ['SSDLiteHead', 'ScaledEfficientNet', 'ScaledGhostNet', 'ScaledResNet', 'TinyNet']
