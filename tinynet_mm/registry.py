"""The registries of the scope ``tinynet_mm``, where MMEngine looks them up by this module's name.

Our classes stand in MMEngine's root registries, which every scope sees; these are empty children, so that a name given with
``scope='tinynet_mm'`` (``DetInferencer``, ``get_model``) is found without a warning for every object built.
"""

from mmengine import registry as root
from mmengine.registry import Registry

KINDS = [name for name in root.__all__ if isinstance(getattr(root, name), Registry)]
REGISTRIES = {
    name: Registry(getattr(root, name).name, parent=getattr(root, name), scope='tinynet_mm', locations=['tinynet_mm'])
    for name in KINDS
}
