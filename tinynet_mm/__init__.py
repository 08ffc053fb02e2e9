"""TinyNet (NeurIPS 2020) for OpenMMLab: backbones, SSDLite detectors, the tiny formula, and what it takes to use them.

``import tinynet_mm`` is all a user, or a config's ``custom_imports``, needs: our classes enter MMEngine's registries as soon
as MMEngine is there, before or after this import. The import itself loads neither torch nor MMLab, so that
:mod:`tinynet_mm.archs`, :mod:`tinynet_mm.cost` and :mod:`tinynet_mm.formula` work, and start fast, without them.
"""

from .mmlab import registration

__version__ = '0.1.0'

registration.arm()
