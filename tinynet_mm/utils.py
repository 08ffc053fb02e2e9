"""The function that ``mmengine.hub.get_model('tinynet_mm::...')`` calls by this name."""

from .mmlab.registration import register


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register the classes of this package in the root registries; ``init_default_scope`` has no effect on them."""
    register()
