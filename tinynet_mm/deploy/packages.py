"""Import the optional packages of deployment, or name the pip command that installs them."""

from importlib import import_module
from types import ModuleType

from ..errors import MissingPackageError


def package(name: str) -> ModuleType:
    """Import a package or module by its dotted name.

    Raises:
        MissingPackageError: it is not installed; the message names the pip command.
    """
    try:
        return import_module(name)
    except ImportError as error:
        missing = name.partition('.')[0]
        raise MissingPackageError(f'{missing} is not installed: pip install "tinynet_mm[deploy]"') from error
