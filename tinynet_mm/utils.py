"""The one function that ``mmengine.hub.get_model('tinynet_mm::...')`` looks for under this name."""

from .mmlab.registration import register


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register our classes. The default scope stays: ours stand in the root registries, our configs name the scope of others."""
    register()
