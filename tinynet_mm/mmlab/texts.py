"""The text of a config in a checkpoint: read as data, without running it.

A checkpoint holds the config of its training as the text of a Python file. ``DetInferencer(weights=FILE)`` without a config and
``Runner.resume`` run this text with ``Config.fromstring``. MMEngine writes only literals and ``dict(...)`` into it. Such a config
can still name any function of the machine as a ``type``, and any module in ``custom_imports``, so these are checked too.
"""

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry, root
from mmengine.utils import get_object_from_string

from ..errors import UserError

FIX = 'give the config of the training as a file'
SCOPES = ('default_scope', '_scope_')  # entries that name a package, whose registry MMEngine imports
PACKAGES = ('mmengine', 'mmcv', 'torch')  # with registered classes, next to those that MMEngine lists


def config_of(text: str) -> Config:
    """The config in a text of assignments of literals, as ``Config.fromstring`` returns it for the text that MMEngine saves.

    Raises:
        UserError: a text with anything else, a base, a template, a type that is not registered or a module of another package.
    """
    settings = assignments(text)
    _check_names(settings)
    try:
        for name in _imports(settings):
            import_module(name)
        return Config(settings, cfg_text=text)
    except (ImportError, KeyError) as error:  # a package that is not installed, or a name that MMEngine reserves
        raise UserError(f'the config text cannot be read: {error.args[0]}; {FIX}.') from error


def assignments(text: str) -> dict[str, Any]:
    """The assignments of a text by name; see :func:`config_of`."""
    if not isinstance(text, str):
        raise UserError(f'the config in the checkpoint is a {type(text).__name__}, not a text; {FIX}.')
    if '{{' in text:
        raise UserError(f'the config text contains "{{{{", which MMEngine evaluates; {FIX}.')
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f'the config text is not Python ({error}); {FIX}.') from error
    settings = {}
    for number, node in enumerate(body):
        try:
            match node:
                case ast.Expr(value=ast.Constant()) if number == 0:  # a docstring
                    continue
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name != '_base_':
                    settings[name] = literal(value)
                case _:
                    raise ValueError('no assignment')
        except (ValueError, TypeError, SyntaxError, RecursionError) as error:
            line = (ast.get_source_segment(text, node) or '').partition('\n')[0][:80]
            reason = f'the config text contains {line!r}, which is not data: the text of a checkpoint is not run'
            raise UserError(f'{reason}; {FIX}.') from error
    return settings


def literal(node: ast.expr) -> Any:
    """The value of a Python literal; ``dict(key=value)`` and ``dict({...})`` are literals too, as MMEngine writes them.

    Raises:
        ValueError, TypeError, SyntaxError, RecursionError: anything else.
    """
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=words) if all(word.arg for word in words):
            return {word.arg: literal(word.value) for word in words}
        case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as value], keywords=[]):
            return literal(value)
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {literal(key): literal(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=parts):
            return [literal(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(literal(part) for part in parts)
    return ast.literal_eval(node)


# Names of objects and modules in a config -------------------------------------------------------------------------------------


def _check_names(settings: dict[str, Any]) -> None:
    """Raise UserError for a name with which MMEngine would import a module of another package, or call what is not registered."""
    registries = list(_registries())
    packages = {*PACKAGES, *MODULE2PACKAGE, *(registry.scope for registry in registries)}
    known = {id(value) for registry in registries for value in registry.module_dict.values()}
    names = {name for registry in registries for name in registry.module_dict}
    for key, value in _strings(settings):
        if key in SCOPES and value not in packages:
            raise UserError(f'the config text has {key}={value[:80]!r}, a package without registries; {FIX}.')
        if key == 'type' and value not in names and not _is_registered(value, packages, known):
            raise UserError(f'the config text names the type {value[:80]!r}, which is not registered in MMLab; {FIX}.')
    for name in _imports(settings):
        if not isinstance(name, str) or name.partition('.')[0] not in packages:
            raise UserError(f'the config text imports {str(name)[:80]!r}, which is not a module of MMLab; {FIX}.')


def _imports(settings: dict[str, Any]) -> list:
    """The modules of ``custom_imports``."""
    entry = settings.get('custom_imports')
    names = entry.get('imports') if isinstance(entry, dict) else entry
    return list(names) if isinstance(names, list | tuple) else [names] if names else []


def _strings(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts in all dicts below a node, with their keys."""
    if isinstance(node, dict):
        yield from ((str(key), value) for key, value in node.items() if isinstance(value, str))
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from _strings(part)


def _registries() -> Iterator[Registry]:
    """Yield all registries of MMEngine and of the packages below it."""
    found = [value for value in vars(root).values() if isinstance(value, Registry)]
    while found:
        registry = found.pop()
        found += registry.children.values()
        yield registry


def _is_module(name: str) -> bool:
    try:
        return bool(name) and find_spec(name) is not None
    except ValueError:  # a module without the description of its source, for instance __main__
        return True


def _is_registered(name: str, packages: set[str], known: set[int]) -> bool:
    """Whether an unknown name is one that MMEngine finds in no module, or a registered object (``known`` has their ids).

    MMEngine takes the name of a type that is in no registry for ``module.object``, and imports the module.
    """
    scope, dot, _ = name.partition('.')
    if not dot:
        return not _is_module(name)
    if scope not in packages:
        return False
    found = get_object_from_string(name)  # its module can register it
    return found is None or id(found) in known or any(found in r.module_dict.values() for r in _registries())
