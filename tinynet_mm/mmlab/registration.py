"""Our classes and our name, known to MMLab as soon as MMLab is loaded, in whatever order the imports come.

Importing all of it with our package would cost every pure program torch and mmdet, about five seconds. So :func:`arm` asks to
be called when one of the hosts has been imported (at once, where it already is), and :func:`register` then imports our rooms.
It waits until no host is half imported: mmdet imports mmcv, which imports mmengine, and ours need all three whole.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from wrapt import register_post_import_hook

HOSTS = ('mmengine', 'mmcv', 'mmdet')
PACKAGE = Path(__file__).parents[1]
# our modules that register classes; they need mmengine and mmcv, and the detection head registers itself where mmdet is
ROOMS = ('tinynet_mm.models', 'tinynet_mm.data.augment', 'tinynet_mm.data.memory', 'tinynet_mm.training')


def arm() -> None:
    """Have everything registered once MMLab is imported; does nothing else, and nothing at all where MMLab never is."""
    for host in HOSTS:
        register_post_import_hook(host_imported, host)
    register_post_import_hook(index_models, 'mmpretrain')


def host_imported(host: ModuleType) -> None:
    """A host is whole now: check the versions, and register unless another host is in the middle of its own import."""
    if host.__name__ == 'mmengine':
        from . import versions

        versions.check_versions()
        versions.allow_history_buffers()
        versions.silence_onedl()
    others = [sys.modules[name] for name in HOSTS if name in sys.modules and name != host.__name__]
    if not any(getattr(module.__spec__, '_initializing', False) for module in others):
        register()


def register() -> None:
    """Import what registers classes, and enter our name in mmengine's look-up of packages with configs."""
    from mmengine.config.utils import MODULE2PACKAGE

    # Configs are looked for in the folder of this distribution or module. A module, because that of an editable install's
    # distribution is site-packages, where we are not (mmengine 0.10.7).
    MODULE2PACKAGE.setdefault('tinynet_mm', 'tinynet_mm.registry')
    if find_spec('mmcv'):
        for room in ROOMS:
            importlib.import_module(room)


def config_root() -> Path:
    """The folder with ``configs`` and ``model-index.yml``: the checkout of an editable install, else inside the package."""
    checkout = PACKAGE.parent
    return checkout if (checkout / 'model-index.yml').exists() else PACKAGE / '.mim'


def index_models(mmpretrain: ModuleType) -> None:
    """Make ``mmpretrain.get_model('tinynet_e_in1k')`` find our classifiers."""
    from mmpretrain.apis import ModelHub

    root = config_root()
    if (root / 'model-index.yml').exists():
        ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)
