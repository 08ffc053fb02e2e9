"""Register our classes and our package name with MMLab as soon as MMLab is imported, in any import order.

Importing torch and mmdet takes about five seconds, so ``import tinynet_mm`` does not import them. :func:`arm` installs an import
hook for mmengine, mmcv and mmdet; the hook runs at once if they are already imported. :func:`register` then imports the modules
that define our classes. It waits until none of the three is partly imported: mmdet imports mmcv, which imports mmengine.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from wrapt import register_post_import_hook

HOSTS = ('mmengine', 'mmcv', 'mmdet')
PACKAGE = Path(__file__).parents[1]
NOT_SHIPPED = ('setup_env.py', 'make_index.py', 'make_tables.py')  # tools that work on a checkout; setup.py has them too
# modules that register classes; they need mmengine and mmcv, and the detection head is registered if mmdet is installed
DATA = ('tinynet_mm.data.augment', 'tinynet_mm.data.memory', 'tinynet_mm.data.timm_augment')
MODULES = ('tinynet_mm.models', *DATA, 'tinynet_mm.training')


def arm() -> None:
    """Install the import hooks; without MMLab they never run."""
    for host in HOSTS:
        register_post_import_hook(host_imported, host)
    register_post_import_hook(index_models, 'mmpretrain')
    register_post_import_hook(without_multimodal, 'mmpretrain.utils.dependency')


def without_multimodal(dependency: ModuleType) -> None:
    """See :func:`tinynet_mm.mmlab.versions.without_multimodal`."""
    from . import versions

    versions.without_multimodal(dependency)


def host_imported(host: ModuleType) -> None:
    """Check the versions after the import of a host, and register unless another host is partly imported."""
    if host.__name__ == 'mmengine':
        from . import loaders, versions

        versions.check_versions()
        versions.silence()  # first: the next line imports mmengine.runner, which keeps its own reference to print_log
        loaders.install()
    others = [sys.modules[name] for name in HOSTS if name in sys.modules and name != host.__name__]
    if not any(getattr(module.__spec__, '_initializing', False) for module in others):
        register()


def register() -> None:
    """Import the modules that register classes, and add our name to MMEngine's table of packages with configs."""
    from mmengine.config.utils import MODULE2PACKAGE

    # MMEngine searches for configs in the folder of this distribution or module. We give a module: for an editable install the
    # folder of the distribution is site-packages, which does not contain our package (mmengine 0.10.7).
    MODULE2PACKAGE.setdefault('tinynet_mm', 'tinynet_mm.registry')
    if find_spec('mmcv'):
        for name in MODULES:
            importlib.import_module(name)


def shipped_configs() -> dict[str, Path]:
    """The file of each of our configs by its name, for instance ``ssdlite_tinynet_d_coco``; the names are unique."""
    files = sorted((config_root() / 'configs').rglob('*.py'))
    return {path.stem: path for path in files if '_base_' not in path.parts}


def names_config(text: str) -> bool:
    """Whether a text is a config: a file, ``package::name``, or the name of one of ours."""
    return '::' in text or text.endswith('.py') or text in shipped_configs()


def recipe(name: str) -> Path:
    """The file of a recipe, for instance ``_base_/rtmdet_coco.py``; a wheel has a copy next to each kind of detector."""
    folder = config_root() / 'configs'
    return next((path for path in (folder / name, *sorted(folder.glob(f'*/{name}'))) if path.is_file()), folder / name)


def config_root() -> Path:
    """The folder with ``configs`` and ``model-index.yml``: the checkout of an editable install, otherwise inside the package."""
    checkout = PACKAGE.parent
    return checkout if (checkout / 'model-index.yml').exists() else PACKAGE / '.mim'


def index_models(mmpretrain: ModuleType) -> None:
    """Make ``mmpretrain.get_model('tinynet_e_in1k')`` find our classifiers."""
    from mmpretrain.apis import ModelHub

    root = config_root()
    if (root / 'model-index.yml').exists():
        ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)
