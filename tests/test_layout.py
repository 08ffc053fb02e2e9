"""The rules of the house, read from the source: who imports whom, how long things are, what a config may hold."""

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
STAND_ALONE = {'setup_env.py', 'doctor.py'}  # run where our package cannot be imported, so all of their code is in the tool


def rooms_of(path: Path) -> str:
    """'formula/tiny.py' of tinynet_mm/formula/tiny.py."""
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> frozenset[str]:
    """Absolute dotted names a module imports anywhere, ours as 'tinynet_mm.archs'; ``from . import x`` counts as x."""
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
    """Top-level names of what a module imports beside the standard library and ours."""
    return {name.split('.')[0] for name in imported(path)} - sys.stdlib_module_names - {'tinynet_mm'}


def ours(path: Path) -> set[str]:
    return {name.removeprefix('tinynet_mm.') for name in imported(path) if name.startswith('tinynet_mm.')}


def library(*rooms: str) -> list[Path]:
    return [p for p in LIBRARY if rooms_of(p).split('/')[0].removesuffix('.py') in rooms]


# Who may import whom ----------------------------------------------------------------------------------------------------------


BASE = {'errors', 'files'}
PURE = {'archs', 'cost', 'formula', 'errors', 'files'}
# folder or module -> what it may import of ours; None: anything but cli
LAYERS = {
    'errors': set(),
    'files': {'errors'},
    'archs': BASE,
    'cost': BASE | {'archs'},
    'models': BASE | {'archs'},
    'formula': PURE | {'paper', 'mmlab'},  # paper.printed are numbers; mmlab.registration says where configs are
    'paper': PURE | {'mmlab'},
    'plots': BASE | {'logs'},
    'logs': BASE,
    'data': BASE | {'mmlab'},
    'training': BASE | {'archs', 'cost', 'data', 'logs'},
    'mmlab': BASE | {'archs', 'cost', 'models', 'data', 'plots', 'training'},
    'cam': BASE | {'data', 'mmlab', 'plots', 'training'},
    'deploy': BASE | {'archs', 'formula', 'bench'},
    'sweep': PURE | {'data', 'mmlab', 'logs', 'plots', 'training', 'paper'},
    'bench': None,
    'cli': None,
    'registry': set(),
    'utils': {'mmlab'},
    '__init__': {'mmlab'},
    'schedules': set(),
}


@pytest.mark.parametrize('path', LIBRARY, ids=rooms_of)
def test_layers(path):
    """Each folder imports only the folders below it, and no library module imports the command line."""
    layer = rooms_of(path).split('/')[0].removesuffix('.py')
    used = {name.split('.')[0] for name in ours(path)} - {layer}
    assert 'cli' not in used
    assert LAYERS[layer] is None or used <= LAYERS[layer]


@pytest.mark.parametrize('path', library('archs', 'cost', 'formula', 'errors', 'files'), ids=rooms_of)
def test_pure_modules_import_neither_torch_nor_mmlab(path):
    assert outside(path) <= {'numpy', 'scipy', 'sklearn', 'pymoo'}


def test_the_import_of_the_package_is_pure():
    assert outside(PACKAGE / '__init__.py') == set()
    assert {'wrapt'} == outside(PACKAGE / 'mmlab' / 'registration.py') - {'mmengine', 'mmpretrain'}


@pytest.mark.parametrize('path', library('plots'), ids=rooms_of)
def test_plots_receive_rows(path):
    assert outside(path) <= {'numpy', 'matplotlib', 'cv2', 'PIL', 'scipy'}


@pytest.mark.parametrize(
    'neighbour, room',
    [('pytorch_grad_cam', 'cam'), ('onnx', 'deploy'), ('onnxruntime', 'deploy'), ('ray', 'sweep'), ('wrapt', 'mmlab')],
)
def test_a_fragile_neighbour_is_touched_in_one_room(neighbour, room):
    users = {rooms_of(p).split('/')[0].removesuffix('.py') for p in LIBRARY if neighbour in outside(p)}
    assert users <= {room, 'bench'}


@pytest.mark.parametrize('path', [*LIBRARY, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_imports_tools(path):
    assert 'tools' not in outside(path)


# How we write -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('path', [*LIBRARY, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_says_what_it_is_and_is_not_long(path):
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
    assert f'tools/{path.name}' in ast.get_docstring(tree), 'the docstring shows the command'


def test_libraries_do_not_print():
    allowed = {'cli.py', 'errors.py'}
    for path in LIBRARY:
        calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert rooms_of(path) in allowed or not [c.lineno for c in calls if c.func.id == 'print'], rooms_of(path)


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
    assert '@' not in text, 'a placeholder was left'
