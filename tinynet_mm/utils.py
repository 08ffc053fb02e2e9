"""The one function that ``mmengine.hub.get_model('tinynet_mm::...')`` looks for under this name."""

from mmengine.registry import DefaultScope

from .plugin import register


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register our classes and mmdet's; with ``init_default_scope`` also make mmdet the default scope, as mmdet's own does."""
    register()
    if init_default_scope:
        DefaultScope.get_instance('mmdet', scope_name='mmdet')
