"""Broken and hostile exported files, logs, tables and sweeps: one sentence, status 2, nothing written, bounded memory.

Images and annotations are in test_hostile.py.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import DEEP, DIGITS, HUGE, INF, LONG, NAN, log
from hostile import made as made
from hostile import say as say
from sweeps import made_up, with_results
from test_detection_tools import shapes as shapes
from test_detection_tools import trained as trained  # fixtures

from tinynet_mm.archs import EFFICIENTNET_B0
from tinynet_mm.formula import TinyFormula
from tinynet_mm.mmlab import configs
from tinynet_mm.sweep import results

# Exported files ---------------------------------------------------------------------------------------------------------------


def described(**values) -> Callable[[onnx.ModelProto], None]:
    """Change fields of the description."""

    def change(model: onnx.ModelProto) -> None:
        spec = json.loads(next(entry.value for entry in model.metadata_props if entry.key == 'tinynet_mm'))
        onnx.helper.set_model_props(model, {'tinynet_mm': json.dumps(spec | values)})

    return change


def text(content: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: onnx.helper.set_model_props(model, {'tinynet_mm': content})


def outside(model: onnx.ModelProto) -> None:
    """Weights in a file of the machine."""
    first = model.graph.initializer[0]
    first.ClearField('raw_data')
    first.data_location = onnx.TensorProto.EXTERNAL
    first.external_data.add(key='location', value='../../../../etc/passwd')


def without_scores(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def in_place_of(model: onnx.ModelProto, name: str) -> tuple[str, str]:
    """The new name of an output of the graph, and the name under which a new operator writes it."""
    for node in model.graph.node:
        for place, output in enumerate(node.output):
            if output == name:
                node.output[place] = f'{name}_old'
    return f'{name}_old', name


def subgraph(op: str, *inputs: str, **attributes: onnx.GraphProto) -> Callable[[onnx.ModelProto], None]:
    """Add an operator with graphs inside."""
    return lambda model: model.graph.node.append(onnx.helper.make_node(op, inputs, ['x'], **attributes))


def many_zeros(model: onnx.ModelProto) -> None:
    """4 PB of zeros while it runs; the number depends on the input, so that it is not computed when the file is opened."""
    old, new = in_place_of(model, model.graph.output[0].name)
    sizes = onnx.numpy_helper.from_array(np.array([1, 10**15], np.int64), 'sizes')
    model.graph.initializer.append(sizes)
    nodes = [('Shape', ['images'], 's', dict(start=0, end=1)), ('Mul', ['s', 'sizes'], 'n', {})]
    nodes += [
        ('ConstantOfShape', ['n'], 'zeros', {}),
        ('ReduceMax', ['zeros'], 'zero', dict(keepdims=0)),
        ('Add', [old, 'zero'], new, {}),
    ]
    for op, inputs, output, attributes in nodes:
        model.graph.node.append(onnx.helper.make_node(op, inputs, [output], **attributes))


def function(model: onnx.ModelProto) -> None:
    body = [onnx.helper.make_node('Identity', ['a'], ['b'])]
    model.functions.append(onnx.helper.make_function('here', 'Same', ['a'], ['b'], body, model.opset_import))


def group(model: onnx.ModelProto) -> None:
    """A field of an old type, before which a reader could stop."""
    model.MergeFromString(bytes([99 << 3 & 127 | 128 | 3, 6, 99 << 3 & 127 | 128 | 4, 6]))


EMPTY = onnx.helper.make_graph([], 'empty', [], [])
NONE, FIELD = 'no description of tinynet_mm', 'which no export writes; export the model again'
EXPORTED = {  # name: (change of an ONNX file, what predict says)
    'text': (text('hello'), NONE),
    'list': (text('[1]'), NONE),
    'null': (text('null'), NONE),
    '200,000 lists deep': (text(DEEP), NONE),
    'number of 5000 digits': (text(DIGITS), NONE),
    'unknown field': (described(x=1), "unknown field 'x': update tinynet_mm"),
    'another format': (described(format='x'), 'in format x; this version reads format 1'),
    'height of 10^9': (described(height=10**9), FIELD),
    'height of 400 digits': (described(height=HUGE), FIELD),
    'height of 0': (described(height=0), FIELD),
    'height of text': (described(height='64'), FIELD),
    'another height': (described(height=128), r'does not have the input images \(1, 3, 128, 64\)'),
    'batch of 10^7': (described(batch=10**7), FIELD),
    'negative batch': (described(batch=-1), FIELD),
    'edge of a million': (described(resize='crop', edge=10**6), 'becomes 1250000 x 1000000 here; crop it first'),
    'mean of lists': (described(mean=[[1], 2, 3]), FIELD),
    'std of zero': (described(std=[0, 1, 1]), FIELD),
    'std of NaN': (described(std=[NAN] * 3), FIELD),
    'padding of text': (described(pad=['x'] * 3), FIELD),
    'threshold of text': (described(iou_thr='x'), FIELD),
    'negative levels': (described(levels=[-5, 10]), FIELD),
    'unknown resizing': (described(resize='x'), "resize='x' with cv2 and 'bilinear' is unknown; export again"),
    'names of numbers': (described(classes=[1, 2, 3, 4, 5]), FIELD),
    'names of 100 kB': (described(classes=[LONG] * 5), 'has over 200 characters'),
    'names of null': (described(classes=None), FIELD),
    'task of a list': (described(task=['x']), FIELD),
    'outputs of another form': (described(post='nms'), 'does not have the output boxes of its description'),
    'no scores': (without_scores, 'does not have the output scores'),
    'weights outside': (outside, 'External data path'),
    'a loop': (subgraph('Loop', 'images', body=EMPTY), 'the operator Loop, which can run without end and which no export writes'),
    'a scan': (subgraph('Scan', 'images', body=EMPTY), 'the operator Scan, which can run without end'),
    'a branch': (subgraph('If', 'images', then_branch=EMPTY, else_branch=EMPTY), 'the operator If, which can run without end'),
    'a search': (subgraph('BeamSearch', 'images', decoder=EMPTY), 'the operator BeamSearch'),
    'a function': (function, 'the operator function, which can run without end'),
    'a group': (group, 'is not an ONNX file that ONNX Runtime runs .it has fields of the type 3'),
    'zeros of 4 PB': (many_zeros, 'model.onnx fails in ONNX Runtime .*; export the model again'),
}


@pytest.mark.parametrize('name', EXPORTED)
def test_exported_files(name, made, tmp_path, say):
    change, sentence = EXPORTED[name]
    model = onnx.load(made['exported'])
    change(model)
    onnx.save(model, tmp_path / 'model.onnx')
    say.refuse(sentence, 'predict', tmp_path / 'model.onnx', made['image'], '--out', tmp_path / 'out')


@pytest.mark.parametrize('content', [b'', b'hello', bytes(1000), 'half'])
@pytest.mark.parametrize('command', ['predict', 'make_golden', 'latency'])
def test_files_that_are_not_exported(content, command, made, tmp_path, say):
    path, data = tmp_path / 'model.onnx', made['exported'].read_bytes()
    path.write_bytes(data[: len(data) // 2] if content == 'half' else content)
    arguments = ('--runs', '1') if command == 'latency' else (made['image'], '--out', tmp_path / 'out')
    say.refuse(r'model.onnx is not an ONNX file that ONNX Runtime runs .*; export the model again', command, path, *arguments)


# Logs -------------------------------------------------------------------------------------------------------------------------


STEPS = [dict(lr=0.1, loss=1.0 / s, epoch=e, iter=4 * e - 4 + s, step=4 * e - 4 + s) for e in (1, 2, 3) for s in (2, 4)]
COUNTED = [{key: value for key, value in line.items() if key != 'epoch'} for line in STEPS] + [dict(top1=5.0, step=0)]


def first(**values) -> list:
    """The log with other values in its first line."""
    return [STEPS[0] | values, *STEPS[1:]]


LEFT_OUT, NO_LOG = 'line 1 cannot be read and is left out', 'not a log of MMEngine'
LOGS = {  # name: (lines, train_cfg in the config, a note or the error)
    **{f'iter of {value!r}'[:30]: (first(iter=value), None, LEFT_OUT) for value in ('x', None, [1], NAN, INF, HUGE, True)},
    **{f'epoch of {value!r}'[:30]: (first(epoch=value), None, LEFT_OUT) for value in ('x', None, [], NAN, HUGE)},
    **{f'step of {value!r}'[:30]: (first(step=value), None, LEFT_OUT) for value in ('x', INF, HUGE)},
    'loss of 400 digits': (first(loss=HUGE), None, 'loss is nan at iteration 2'),
    'loss of +-1e308': (first(loss=1e308, lr=-1e308) + [STEPS[-1] | dict(loss=-1e308, lr=1e308, step=13)], None, 'curves in'),
    'loss of text': (first(loss='x'), None, 'curves in'),
    'a key that is a formula': (first(**{'$\\frac{x$ loss': 1.0}), None, 'curves in'),
    'a key of 100 kB': (first(**{f'{LONG} loss': 1.0}), None, LEFT_OUT),
    '400 losses': ([line | {f'loss_{n}': 1.0 for n in range(400)} for line in STEPS], None, 'curves in'),
    '200,000 lists deep': ([*STEPS, DEEP], None, 'the last line is incomplete'),
    'number of 5000 digits': ([*STEPS, f'{{"step": {DIGITS}}}'], None, 'the last line is incomplete'),
    'interval of 0': (COUNTED, 'max_iters=100, val_interval=0', 'curves in'),
    'interval of text': (COUNTED, "max_iters='x', val_interval='y'", 'curves in'),
    'a million of billions of validations': (COUNTED, 'max_iters=10**15, val_interval=1', 'curves in'),
    'a billion of validations': (COUNTED, 'max_iters=1000000000, val_interval=1', 'curves in'),
    'config with a syntax error': (COUNTED, 'max_iters=(', 'curves in'),
    'zero bytes': (['\0' * 100], None, NO_LOG),
    'text': (['hello'], None, NO_LOG),
    'nothing': ([], None, 'the log is empty'),
    'no training': ([{'coco/bbox_mAP': 0.1, 'step': 3}], None, 'the log has a validation but no training'),
}


@pytest.mark.parametrize('name', LOGS)
def test_logs(name, tmp_path, say):
    lines, loop, sentence = LOGS[name]
    run = log(tmp_path, lines, None if loop is None else f'train_cfg = dict({loop})\n')
    command = ('plot_curves', run, '--out', tmp_path / 'curves.png')
    if sentence in (LEFT_OUT, 'curves in') or 'line' in sentence or 'loss is' in sentence:
        assert sentence in say(*command)
    else:
        say.refuse(sentence, *command)


@pytest.mark.parametrize('make', [os.mkfifo, Path.mkdir], ids=['pipe', 'folder'])
def test_pipes_and_folders_with_names_of_logs(make, tmp_path, say):
    run = log(tmp_path, STEPS)
    scalars = next(run.rglob('scalars.json'))
    make(scalars.with_name('config.py'))
    assert 'curves in' in say('plot_curves', run, '--out', tmp_path / 'curves.png')
    scalars.unlink()
    make(scalars)
    say.refuse('no training log of MMEngine', 'plot_curves', run, '--out', tmp_path / 'none.png')


@pytest.mark.parametrize(
    'config, sentence',
    [
        ('model = dict(', 'is not a config that MMEngine reads'),
        ('x = 1', 'has no model'),
        ("model = dict(type='SingleStageDetector', backbone=dict(arch='e'))", 'is not a training of a classifier'),
        ("model = dict(type='ImageClassifier', backbone=5, head=dict(num_classes=5))", 'is not a training of a classifier'),
        ("model = dict(type='ImageClassifier', backbone=dict(type='TinyNet', arch=5), head=dict(num_classes=5))", 'arch=5'),
    ],
)
def test_runs_that_cannot_be_compared(config, sentence, tmp_path, say):
    say.refuse(sentence, 'compare_runs', log(tmp_path, STEPS, config), '--out', tmp_path / 'runs.csv')


# Tables, JSON and sweeps ------------------------------------------------------------------------------------------------------

HEAD = 'name,macs,accuracy,family,source\n'
ROWS = 'a,100,50.5,x,measured\nb,200,60.5,x,measured\nc,300,70,y,measured\n'
TABLES = {  # name: (content, what plot_results says; None if it draws)
    'byte order mark': (b'\xef\xbb\xbf' + (HEAD + ROWS).encode(), None),
    'NaN': (HEAD + ROWS + 'd,nan,nan,x,\n', None),
    'scores of +-1e308': (HEAD + ROWS + 'd,1,1e308,x,m\ne,2,-1e308,x,m\n', None),
    '400 digits': (HEAD + ROWS + f'd,{"9" * 400},50,x,\n', None),
    '5000 digits': (HEAD + ROWS + f'd,{DIGITS},50,x,\n', None),
    'a name that is a formula': (HEAD + ROWS + '$\\frac{x$,150,80,$x_$,m\n', None),
    'a name of 100 kB': (HEAD + ROWS + f'{LONG},150,80,x,m\n', 'has over 200 characters'),
    'a group of 100 kB': (HEAD + ROWS + f'd,150,80,{LONG},m\n', 'has over 200 characters'),
    'a field of 200 kB': (HEAD + ROWS + f'{LONG * 2},150,80,x,m\n', 'line 5 is not CSV .*field larger'),
    '500 groups': (HEAD + ''.join(f'n{n},{n + 1},5,g{n},m\n' for n in range(500)), '500 groups and 1 sources do not fit'),
    'no rows': ('hello\n', 'has no rows'),
    'truncated': ((HEAD + ROWS)[:-3], 'the file is truncated'),
    'a missing field': (HEAD + ROWS + 'd,1\n', 'line 5 is incomplete'),
    'a field too many': (HEAD + 'd,1,2,x,m,5\n', 'line 2 is incomplete'),
    'an open quote': (HEAD + ROWS + '"d,1,2,x,m\n', 'line 5 is incomplete'),
    'Latin 1': ((HEAD + ROWS).encode() + b'\xe9,1,2,x,\n', 'is not text in UTF-8'),
    'UTF-16': ((HEAD + ROWS).encode('utf-16'), 'is not text in UTF-8'),
    'zero bytes': (bytes(1000), 'truncated'),
}


@pytest.mark.parametrize('name', TABLES)
def test_tables(name, tmp_path, say):
    content, sentence = TABLES[name]
    (tmp_path / 'table.csv').write_bytes(content if isinstance(content, bytes) else content.encode())
    command = ('plot_results', tmp_path / 'table.csv', '--group', 'family', '--out', tmp_path / 'figure.png')
    if sentence is None:
        assert 'points: ' in say(*command)
    else:
        say.refuse(sentence, *command)


def test_a_front_of_thousands_of_networks(tmp_path, say):
    count = 20_000
    rows = ''.join(f'network{n},{100 + n},{50 + n * 0.001:.4f},x,measured\n' for n in range(count))
    (tmp_path / 'front.csv').write_text(HEAD + rows)
    assert f'points: {count}' in say('plot_results', tmp_path / 'front.csv', '--out', tmp_path / 'figure.png')


def table(**values) -> str:
    return json.dumps(asdict(EFFICIENTNET_B0) | values)


def stage(**values) -> str:
    own = asdict(EFFICIENTNET_B0)
    return json.dumps(own | dict(stages=[own['stages'][0] | values, *own['stages'][1:]]))


BASES = {  # name: (JSON of a base network, what formula says)
    'a list': ('[]', 'is not a base table but a list'),
    'half a file': (table()[:100], 'is not JSON'),
    '200,000 lists deep': (DEEP, 'is not JSON'),
    '5000 digits': (f'{{"resolution": {DIGITS}}}', 'is not JSON'),
    'resolution of 400 digits': (table(resolution=HUGE), 'resolution = 10000.* is not a number of 0 or more, up to 1000000'),
    'resolution of NaN': (table(resolution=NAN), 'resolution = nan is not a number'),
    'resolution of a list': (table(resolution=[1]), r'resolution = \[1\] is not a number'),
    'stem of 10^18': (table(stem=10**18), 'stem = 1000.* is not a number'),
    'a name that is a template': (table(name="{{$NO:'+__import__('os').getcwd()+'}}"), 'which MMEngine evaluates in a config'),
    'a name of 100 kB': (table(name=LONG), 'has over 200 characters'),
    'a name of a list': (table(name=['x']), r"name=\['x'\] is not a text"),
    'a family of a list': (table(family=['x']), 'is not a text'),
    'an unknown field': (table(x=1), "unexpected keyword argument 'x'"),
    'stages of numbers': (table(stages=[1, 2]), 'not a base table'),
    'stages of null': (table(stages=None), 'not a base table'),
    '100,000 stages': (table(stages=asdict(EFFICIENTNET_B0)['stages'][:1] * 100_000), 'has 100000 stages; give at most 1000'),
    'channels of 400 digits': (stage(channels=HUGE), 'channels = 1000.* is not a number'),
    'a kernel of 2': (stage(kernel=2), 'the kernel odd'),
    'an expansion of infinity': (stage(expansion=INF), 'expansion = inf is not a number'),
    'a stride of 0': (stage(stride=0), 'must be positive'),
}


@pytest.mark.parametrize('name', BASES)
def test_base_tables(name, tmp_path, say):
    content, sentence = BASES[name]
    (tmp_path / 'base.json').write_text(content)
    command = ('formula', '--budget', '75M', '--base', tmp_path / 'base.json', '--write-configs', tmp_path / 'configs')
    say.refuse(f'base.json.*{sentence}', *command)


def test_the_name_of_a_base_table_is_not_code_in_the_configs(tmp_path, say):
    ran = tmp_path / 'ran'
    (tmp_path / 'base.json').write_text(table(name=f"'''\nimport os\nos.mkdir({str(ran)!r})\n''' + \"\"\"\n\\"))
    say('formula', '--budget', '75M', '--base', tmp_path / 'base.json', '--write-configs', tmp_path / 'configs')
    written = sorted((tmp_path / 'configs').glob('*.py'))
    assert len(written) == 3
    for path in written:
        assert configs.load_config(str(path)).model.backbone.arch.name.startswith("'''")
    assert not ran.exists()


@pytest.mark.parametrize('key', ['x', 'y', 'amplitude', 'noise'])
@pytest.mark.parametrize('value', ['x', None, NAN, HUGE, [], [1.0], [NAN] * 5, -1])
def test_formulas(key, value, tmp_path, say):
    content = json.loads(TinyFormula.published().save(tmp_path / 'formula.json').read_text())
    content['r'][key] = value
    (tmp_path / 'formula.json').write_text(json.dumps(content))
    say.refuse('formula.json is not a complete formula', 'formula', '--budget', '75M', '--formula', tmp_path / 'formula.json')


@pytest.fixture(scope='module')
def swept(tmp_path_factory) -> Path:
    sweep = made_up(tmp_path_factory.mktemp('swept'), 6)
    results.collect(with_results(sweep))
    return sweep.path


def cell(column: str, value: str) -> Callable[[str], str]:
    """Change the value of a column in the second row of a table."""

    def change(content: str) -> str:
        rows = [line.split(',') for line in content.splitlines()]
        rows[2][rows[0].index(column)] = value
        return ''.join(f'{",".join(row)}\n' for row in rows)

    return change


SWEEPS = {  # name: (stage, file, change of its text, what sweep says)
    'macs of NaN': ('fit', 'rows.csv', cell('macs', 'nan'), "line 3: macs is 'nan', not a finite number"),
    'macs of 400 digits': ('fit', 'rows.csv', cell('macs', '9' * 400), 'line 3: macs is .*not a finite number'),
    'accuracy of text': ('fit', 'rows.csv', cell('accuracy', 'x'), "line 3: accuracy is 'x'"),
    'a negative r': ('fit', 'rows.csv', cell('r', '-1'), 'r'),
    'truncated rows': ('fit', 'rows.csv', lambda content: content[:-3], 'the file is truncated'),
    'a name that leaves the folder': (
        'collect',
        'samples.csv',
        cell('name', '../x'),
        r"the name '../x' is not that of a network",
    ),
    'a name of 100 kB': ('collect', 'samples.csv', cell('name', LONG), 'is not that of a network'),
    'an unknown method': ('collect', 'samples.csv', cell('method', 'x'), "has the method 'x'; known: random"),
    'a target of text': ('collect', 'samples.csv', cell('target', 'x'), "has the target 'x'"),
    'a recipe with a syntax error': ('run', 'recipe.py', lambda content: 'model = dict(', 'recipe.py'),
    'a recipe without a model': ('run', 'recipe.py', lambda content: 'x = 1', 'recipe.py'),
    'a formula of text': ('compare', 'formula.json', lambda content: 'hello', 'formula.json is not JSON'),
}


@pytest.mark.parametrize('name', SWEEPS)
def test_sweeps(name, swept, tmp_path, say):
    command, file, change, sentence = SWEEPS[name]
    root = Path(shutil.copytree(swept, tmp_path / 'sweep'))
    path = root / file
    path.write_text(change(path.read_text() if path.exists() else ''))
    say.refuse(sentence, 'sweep', command, root)


@pytest.mark.parametrize('content', [b'', b'{"accur', b'[]', b'{"accuracy": "x"}', DEEP.encode(), b'{"accuracy": %d}' % HUGE])
def test_results_of_a_sweep_that_are_broken_are_named_and_left_out(content, swept, tmp_path, say):
    root = Path(shutil.copytree(swept, tmp_path / 'sweep'))
    broken = sorted(root.glob('trials/*/result.json'))[0]
    broken.write_bytes(content)
    said = say('sweep', 'collect', root)
    assert f'warning: {broken}' in said and '5 trained networks, 1 not done' in said


@pytest.mark.parametrize('value', ['nan', '-1', 'x', '9' * 400])
def test_fronts_of_the_formula(value, tmp_path, say):
    (tmp_path / 'front.csv').write_text('r,d,c\n' + ''.join(f'0.{n},0.{n},0.{n}\n' for n in range(4, 9)) + f'{value},0.9,0.9\n')
    say.refuse(
        'line 7: r is|r and d of a frontier must be positive', 'formula', '--budget', '75M', '--frontier', tmp_path / 'front.csv'
    )
