"""The rules of the code, checked in the source: imports between folders, lengths, the content of configs."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'tinynet_mm'
LIBRARY = sorted(p for p in PACKAGE.rglob('*.py') if '.mim' not in p.parts)
TOOLS = sorted((ROOT / 'tools').glob('*.py'))
CONFIGS = sorted(p for p in (ROOT / 'configs').rglob('*.py'))
STAND_ALONE = {'setup_env.py', 'doctor.py'}  # these run without our package, so all of their code is in the tool


def name_of(path: Path) -> str:
    """The path in the package: 'formula/tiny.py' for tinynet_mm/formula/tiny.py."""
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> frozenset[str]:
    """Absolute dotted names of all imports of a module, ours as 'tinynet_mm.archs'; ``from . import x`` counts as x."""
    names = set()
    package = ('tinynet_mm', *path.relative_to(PACKAGE).parts[:-1]) if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            names |= {module} if node.module else {f'{module}.{alias.name}' for alias in node.names}
    return frozenset(names)


def outside(path: Path) -> set[str]:
    """Top-level names of the third-party imports of a module."""
    return {name.split('.')[0] for name in imported(path)} - sys.stdlib_module_names - {'tinynet_mm'}


def ours(path: Path) -> set[str]:
    return {name.removeprefix('tinynet_mm.') for name in imported(path) if name.startswith('tinynet_mm.')}


def library(*folders: str) -> list[Path]:
    return [p for p in LIBRARY if name_of(p).split('/')[0].removesuffix('.py') in folders]


# Imports ---------------------------------------------------------------------------------------------------------------------


BASE = {'errors', 'files'}
PURE = {'archs', 'cost', 'formula', 'errors', 'files'}
# folder or module -> the parts of our package that it may import; None: all except cli
LAYERS = {
    'errors': set(),
    'files': {'errors'},
    'archs': BASE,
    'cost': BASE | {'archs'},
    'models': BASE | {'archs'},
    'formula': PURE | {'paper', 'mmlab'},  # paper.printed has numbers; mmlab.registration has the folder of the configs
    'paper': PURE | {'mmlab'},
    'plots': BASE | {'logs'},
    'logs': BASE,
    'data': BASE | {'mmlab'},
    'training': BASE | {'archs', 'cost', 'data', 'logs', 'mmlab'},
    'mmlab': BASE | {'archs', 'cost', 'models', 'data', 'plots'},
    'cam': BASE | {'data', 'mmlab', 'plots', 'training'},
    'deploy': BASE | {'archs', 'data', 'formula', 'bench'},
    'report': BASE | {'data', 'mmlab', 'plots', 'logs'},
    'sweep': PURE | {'data', 'mmlab', 'logs', 'plots', 'training', 'paper'},
    'command': BASE | {'mmlab', '__version__'},
    '__main__': {'command'},
    'bench': None,
    'cli': None,
    'registry': set(),
    'utils': {'mmlab'},
    '__init__': {'mmlab'},
    'schedules': set(),
}


@pytest.mark.parametrize('path', LIBRARY, ids=name_of)
def test_layers(path):
    """Each folder imports only its lower layers, and no library module imports the command line."""
    layer = name_of(path).split('/')[0].removesuffix('.py')
    used = {name.split('.')[0] for name in ours(path)} - {layer}
    assert 'cli' not in used
    assert LAYERS[layer] is None or used <= LAYERS[layer]


@pytest.mark.parametrize('path', library('archs', 'cost', 'formula', 'errors', 'files'), ids=name_of)
def test_pure_modules_import_neither_torch_nor_mmlab(path):
    assert outside(path) <= {'numpy', 'scipy', 'sklearn', 'pymoo'}


def test_the_import_of_the_package_is_pure():
    assert outside(PACKAGE / '__init__.py') == set()
    assert {'wrapt'} == outside(PACKAGE / 'mmlab' / 'registration.py') - {'mmengine', 'mmpretrain'}


@pytest.mark.parametrize('path', library('plots'), ids=name_of)
def test_plots_receive_rows(path):
    assert outside(path) <= {'numpy', 'matplotlib', 'cv2', 'PIL', 'scipy'}


@pytest.mark.parametrize(
    'package, folder',
    [
        ('pytorch_grad_cam', 'cam'),
        ('onnx', 'deploy'),
        ('onnxruntime', 'deploy'),
        ('openvino', 'deploy'),
        ('ray', 'sweep'),
        ('wrapt', 'mmlab'),
    ],
)
def test_a_fragile_package_is_imported_in_one_folder(package, folder):
    users = {name_of(p).split('/')[0].removesuffix('.py') for p in LIBRARY if package in outside(p)}
    assert users <= {folder, 'bench'}


@pytest.mark.parametrize('path', [*LIBRARY, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_imports_tools(path):
    assert 'tools' not in outside(path)


# Size and style ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('path', [*LIBRARY, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_has_a_docstring_and_is_not_long(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree), 'needs a docstring'
    assert len(path.read_text().splitlines()) <= 400
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    long = {n.name: n.end_lineno - n.lineno + 1 for n in functions if n.end_lineno - n.lineno >= 60}
    assert not long, 'functions of more than 60 lines'


@pytest.mark.parametrize('path', [*LIBRARY, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_exception_is_swallowed(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f'line {node.lineno}: a bare except'
            assert not all(isinstance(n, ast.Pass) for n in node.body), f'line {node.lineno}: except ...: pass'


@pytest.mark.parametrize('path', [p for p in TOOLS if p.name not in STAND_ALONE], ids=lambda p: p.name)
def test_a_tool_is_thin(path):
    tree = tree_of(path)
    main = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == 'main'), None)
    assert main is not None and [a.arg for a in main.args.args] == ['argv'] and len(main.args.defaults) == 1
    assert len(path.read_text().splitlines()) <= 160
    assert f'tools/{path.name}' in ast.get_docstring(tree), 'the docstring must show the command'


def test_the_library_does_not_print():
    allowed = {'cli.py', 'command.py', 'errors.py'}
    for path in LIBRARY:
        calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert name_of(path) in allowed or not [c.lineno for c in calls if c.func.id == 'print'], name_of(path)


# Configs ----------------------------------------------------------------------------------------------------------------------

PROGRAM = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.If, ast.With, ast.comprehension)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.relative_to(ROOT / 'configs').as_posix())
def test_a_config_loads_and_is_literal(path):
    tree = tree_of(path)
    assert not [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, PROGRAM)]
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert calls <= {'dict'}
    assert ast.get_docstring(tree), 'needs a docstring'
    cfg = Config.fromfile(path)
    assert '_base_' in path.parts or cfg.custom_imports.imports == ['tinynet_mm']


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.relative_to(ROOT / 'configs').as_posix())
def test_a_config_has_two_levels_at_most(path):
    for base in bases_of(path):
        assert '::' in base or not bases_of((path.parent / base).resolve()), f'{base} has a base of its own'


def bases_of(path: Path) -> list[str]:
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            value = ast.literal_eval(node.value)
            return [value] if isinstance(value, str) else list(value)
    return []


@pytest.mark.parametrize('path', [p for p in CONFIGS if '_base_' not in p.parts], ids=lambda p: p.name)
def test_the_command_in_a_config_names_this_config(path):
    text = ast.get_docstring(tree_of(path))
    assert path.relative_to(ROOT).as_posix() in text
    assert '@' not in text, 'a placeholder is left'
