"""The registries of the scope ``tinynet_mm``; MMEngine finds them by this module's name.

The classes of this package are in MMEngine's root registries, which all scopes search. These registries are empty children, so
that a name with ``scope='tinynet_mm'`` (``DetInferencer``, ``get_model``) is found without a warning for every built object.
"""

from mmengine import registry as root
from mmengine.registry import Registry

KINDS = [name for name in root.__all__ if isinstance(getattr(root, name), Registry)]
REGISTRIES = {
    name: Registry(getattr(root, name).name, parent=getattr(root, name), scope='tinynet_mm', locations=['tinynet_mm'])
    for name in KINDS
}
