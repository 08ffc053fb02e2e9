"""TinyNet (NeurIPS 2020) for OpenMMLab: backbones, SSDLite detectors, the tiny formula, class activation maps, deployment.

``import tinynet_mm``, or ``custom_imports`` in a config, registers our classes in MMEngine's registries, whether MMEngine is
imported before or after. The import loads neither torch nor MMLab, so :mod:`tinynet_mm.archs`, :mod:`tinynet_mm.cost` and
:mod:`tinynet_mm.formula` start fast and work without them.
"""

from .mmlab import registration

__version__ = '0.1.0'

registration.arm()
