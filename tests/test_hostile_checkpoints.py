"""Broken and hostile checkpoints in every tool: one sentence, status 2, nothing written, bounded memory."""

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import DEEP, LONG, commands
from hostile import made as made
from hostile import say as say
from safetensors.torch import save_file
from test_detection_tools import shapes as shapes
from test_detection_tools import trained as trained  # fixtures

from tinynet_mm.mmlab.reading import read

# Checkpoints ------------------------------------------------------------------------------------------------------------------


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


Writer = Callable[[Path, dict], object]


def saved(path: Path, content: object) -> None:
    torch.save(content, path)


def part(**values) -> Writer:
    return lambda path, content: saved(path, content | values)


def meta(**values) -> Writer:
    return lambda path, content: saved(path, content | dict(meta=content['meta'] | values))


def classes(names: object, key: str = 'classes') -> Writer:
    return meta(dataset_meta={key: names})


def weights(change: Callable[[torch.Tensor], object]) -> Writer:
    """The checkpoint with other floating-point weights."""

    def write(path: Path, content: dict) -> None:
        state = {key: change(v) if v.is_floating_point() else v for key, v in content['state_dict'].items()}
        saved(path, content | dict(state_dict=state))

    return write


def repeated(path: Path, content: dict) -> None:
    """A tensor of 40 GB that has one number in the file."""
    saved(path, content | dict(state_dict=content['state_dict'] | dict(x=torch.zeros(1).expand(10**10))))


def compressed(path: Path, content: dict) -> None:
    """A file of 100 kB that unpacks to 100 MB."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file, file.open('archive/data.pkl', 'w') as target:
        for _ in range(10):
            target.write(bytes(10**7))


def tensors(path: Path, content: dict, metadata: dict | None = None) -> None:
    save_file({key: value.contiguous() for key, value in content['state_dict'].items()}, path, metadata)


def cut(write: Writer) -> Writer:
    return lambda path, content: (write(path, content), os.truncate(path, 10**6))


def header(text: str, size: int | None = None) -> Writer:
    data = struct.pack('<Q', len(text) if size is None else size) + text.encode()
    return lambda path, content: path.write_bytes(data)


def code(path: Path, content: dict) -> None:
    saved(path, content | dict(x=Call(os.mkdir, f'{path}.ran')))


NOT_READ, NO_NAMES = 'is not a checkpoint that can be read', 'the class names are not a list of texts'
CHECKPOINTS: dict[str, tuple[Writer, str | None]] = {  # name: (how it is written, what predict says; None if it is accepted)
    'good.pth': (saved, None),
    'float16.pth': (weights(torch.Tensor.half), None),
    'float8.pth': (weights(lambda value: value.to(torch.float8_e4m3fn)), None),
    'plain.pth': (lambda path, content: saved(path, content['state_dict']), None),
    'good.safetensors': (tensors, None),
    'a number as key.pth': (lambda path, content: saved(path, content['state_dict'] | {5: torch.ones(1)}), None),
    'truncated.pth': (cut(saved), NOT_READ),
    'empty.pth': (lambda path, content: path.touch(), NOT_READ),
    'page.pth': (lambda path, content: path.write_text('<!DOCTYPE html><html>'), NOT_READ),
    'text.pth': (lambda path, content: path.write_text('hello'), NOT_READ),
    'folder.pth': (lambda path, content: path.mkdir(), 'no checkpoint at .*folder.pth: train first'),
    'pipe.pth': (lambda path, content: os.mkfifo(path), 'no checkpoint at .*pipe.pth: train first'),
    'code.pth': (code, r'contains posix.mkdir; a pickle .* can run any code .*allow it: --trust'),
    'getattr.pth': (lambda path, content: saved(path, content | dict(x=Call(getattr, np.ndarray, 'tofile'))), 'can run any code'),
    'pickle.pth': (lambda path, content: path.write_bytes(pickle.dumps(Call(os.mkdir, f'{path}.ran'))), NOT_READ),
    'list.pth': (lambda path, content: saved(path, [1, 2]), 'contains a list, not a dict of weights'),
    'no weights.pth': (lambda path, content: saved(path, {}), 'contains no weights; pass the checkpoint of a training'),
    'numbers.pth': (weights(lambda value: 1.0), 'does not fit the model'),
    'other.pth': (lambda path, content: saved(path, torch.nn.Linear(2, 2).state_dict()), 'does not fit .* Give the config of'),
    'meta of a list.pth': (part(meta=[1]), 'meta is a list, not a dict; give another file'),
    'meta of text.pth': (part(meta='x'), 'meta is a str, not a dict'),
    'weights of a list.pth': (part(state_dict=[1]), 'state_dict is a list, not a dict'),
    'weights of null.pth': (part(state_dict=None), 'state_dict is a NoneType, not a dict'),
    'weights of a tensor.pth': (part(state_dict=torch.ones(2)), 'state_dict is a Tensor, not a dict'),
    'data set of text.pth': (meta(dataset_meta='x'), 'meta.dataset_meta is a str, not a dict'),
    'classes of a number.pth': (classes(5), NO_NAMES),
    'classes of numbers.pth': (classes([1, 2, 3, 4, 5]), NO_NAMES),
    'classes of lists.pth': (classes([['a']] * 5), NO_NAMES),
    'classes of 100 kB.pth': (classes([LONG] * 5), 'the name xxx.* has over 200 characters; shorten it'),
    'classes of code.pth': (classes(['{{$NO:x}}'] * 5), 'which MMEngine evaluates in a config; rename it'),
    'CLASSES of a number.pth': (classes(5, 'CLASSES'), NO_NAMES),
    'CLASSES of numbers.pth': (classes([1, 2, 3, 4, 5], 'CLASSES'), NO_NAMES),
    'CLASSES of 100 kB.pth': (classes([LONG] * 5, 'CLASSES'), 'the name xxx.* has over 200 characters; shorten it'),
    'CLASSES of code.pth': (classes(['{{$NO:x}}'] * 5, 'CLASSES'), 'which MMEngine evaluates in a config; rename it'),
    'CLASSES of mmdet 2.pth': (classes(list('abcde'), 'CLASSES'), None),
    'meta with CLASSES of a number.pth': (meta(CLASSES=5), NO_NAMES),
    'three classes.pth': (classes(['a', 'b', 'c']), 'does not fit the model of this config, .* of another shape'),
    'nan.pth': (weights(lambda value: value * torch.nan), 'not finite, so the training failed; use an earlier checkpoint'),
    'meta device.pth': (weights(lambda value: value.to('meta')), 'without plain numbers; save a float model again'),
    'complex.pth': (weights(lambda value: value.to(torch.complex64)), 'without plain numbers'),
    'repeated.pth': (repeated, 'bytes of weights are repeated to 400'),
    'compressed.pth': (compressed, 'unpacks to 100000000; use a checkpoint from another source'),
    'truncated.safetensors': (cut(tensors), NOT_READ),
    'torch.safetensors': (saved, NOT_READ),
    'header of 10 TB.safetensors': (header('{}', 10**13), NOT_READ),
    'long tensor.safetensors': (header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9000]}}'), NOT_READ),
    'text as names.safetensors': (partial(tensors, metadata=dict(classes='x')), NOT_READ),
    'number as names.safetensors': (partial(tensors, metadata=dict(classes='5')), NO_NAMES),
    'deep names.safetensors': (partial(tensors, metadata=dict(classes=DEEP)), NOT_READ),
}


def checkpoint(name: str, folder: Path, source: Path) -> Path:
    content = read(source)
    CHECKPOINTS[name][0](folder / name, {key: content[key] for key in ('state_dict', 'meta')})  # the optimizer is as large
    return folder / name


@pytest.mark.parametrize('name', CHECKPOINTS)
def test_checkpoints(name, made, tmp_path, say):
    path, sentence = checkpoint(name, tmp_path, made['checkpoint']), CHECKPOINTS[name][1]
    command = ('predict', made['config'], path, made['image'], '--out', tmp_path / 'out')
    if sentence is None:
        say(*command)
        assert (tmp_path / 'out' / 'image.jpg').is_file()
    else:
        say.refuse(f'{path.name}.*{sentence}' if 'no checkpoint' not in sentence else sentence, *command)
    assert not Path(f'{path}.ran').exists()


TOOLS = ('test', 'report', 'export', 'cam', 'compare', 'convert', 'publish', 'int8', 'latency', 'load_from', 'resume', 'init_cfg')


@pytest.mark.parametrize('name', ['truncated.pth', 'code.pth', 'weights of a list.pth', 'CLASSES of 100 kB.pth'])
@pytest.mark.parametrize('command', TOOLS)
def test_every_tool_refuses_a_checkpoint(name, command, made, tmp_path, say):
    path = checkpoint(name, tmp_path, made['checkpoint'])
    say.refuse(f'{name}.*{CHECKPOINTS[name][1]}', *commands(made, path, tmp_path / 'out')[command])
    assert not Path(f'{path}.ran').exists()


RESUMED = {
    'optimizer of another model': part(optimizer=torch.optim.SGD([torch.ones(1)], lr=1).state_dict()),
    'averages of another model': part(ema_state_dict={'module.x': torch.ones(1)}),
}


@pytest.mark.parametrize('name', RESUMED)
def test_a_training_does_not_continue_from_a_foreign_state(name, made, tmp_path, tmp_path_factory, say):
    RESUMED[name](tmp_path / 'foreign.pth', read(made['checkpoint']))
    work = tmp_path_factory.mktemp('work')
    options = ('--workers', '0', '--cfg-options', f'visualizer.name={work.name}')
    command = commands(made, tmp_path / 'foreign.pth', work)['resume']
    say.refuse('cannot continue from .*foreign.pth .*; give a checkpoint of a training with this config', *command, *options)


@pytest.mark.parametrize('values', [dict(epoch='x'), dict(iter=-1)])
def test_a_training_does_not_continue_without_its_place(values, made, tmp_path, say):
    meta(**values)(tmp_path / 'lost.pth', read(made['checkpoint']))
    command = commands(made, tmp_path / 'lost.pth', tmp_path / 'work')['resume']
    say.refuse(f'lost.pth has no meta.{next(iter(values))}, so a training cannot continue from it; .*load_from=', *command)


def test_weights_without_the_prefix_of_init_cfg(made, tmp_path, say):
    path = checkpoint('other.pth', tmp_path, made['checkpoint'])
    say.refuse("other.pth has no tensor with the prefix 'backbone.'", *commands(made, path, tmp_path / 'work')['init_cfg'])


def test_the_text_of_a_config_in_a_checkpoint_is_not_run(made, tmp_path, say):
    ran = tmp_path / 'ran'
    meta(cfg=f'import os\nos.mkdir({str(ran)!r})\n', epoch='x')(tmp_path / 'code.pth', read(made['checkpoint']))
    say.refuse('has no meta.epoch', *commands(made, tmp_path / 'code.pth', tmp_path / 'work')['resume'])
    assert not ran.exists()
