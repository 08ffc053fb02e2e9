"""Checkpoints that contain code, in a pickle or in a config: MMLab does not run it once tinynet_mm is imported."""

import hashlib
import os
import threading
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch import nn

from tinynet_mm import errors
from tinynet_mm.errors import TRUST_ALL, TRUST_NONE, UserError
from tinynet_mm.mmlab.loaders import HASH
from tinynet_mm.mmlab.reading import load_weights, read

CONFIG = str(Path(__file__).resolve().parents[1] / 'configs' / 'rtmdet_tinynet_e_coco.py')


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def runner(work, **settings):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    loop = dict(type='EpochBasedTrainLoop', max_epochs=1)
    loader = dict(dataset=[0], sampler=dict(type='DefaultSampler', shuffle=False), batch_size=1)
    return Runner(nn.Linear(1, 1), str(work), loader, train_cfg=loop, optim_wrapper=wrapper, log_level='ERROR', **settings)


def initialise(path, work):
    MODELS.build(dict(type='TinyNet', arch='e', init_cfg=dict(type='Pretrained', checkpoint=str(path)))).init_weights()


LOADERS = {
    'load_checkpoint': lambda path, work: load_checkpoint(nn.Linear(1, 1), str(path)),
    'load_from': lambda path, work: runner(work, load_from=str(path)).load_or_resume(),
    'resume': lambda path, work: runner(work).resume(str(path)),
    'init_cfg': initialise,
    'init_detector': lambda path, work: init_detector(CONFIG, str(path), device='cpu'),
    'DetInferencer': lambda path, work: DetInferencer(CONFIG, str(path), device='cpu', scope='tinynet_mm'),
}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A folder that the code of the checkpoint makes."""
    monkeypatch.delenv(TRUST_NONE, raising=False)
    monkeypatch.delenv(TRUST_ALL, raising=False)
    return tmp_path / 'mark'


def save(path, **more):
    torch.save(dict(state_dict=nn.Linear(1, 1).state_dict(), meta={}, message_hub={}, optimizer={}, **more), path)
    return path


@pytest.mark.parametrize('name', LOADERS)
def test_no_loader_runs_the_code_of_a_pickle(name, mark, tmp_path):
    path = save(tmp_path / 'bad.pth', extra=Call(os.mkdir, str(mark)))
    with pytest.raises(UserError, match=r'bad.pth contains posix.mkdir; a pickle .* can run any code'):
        LOADERS[name](path, tmp_path / 'work')
    assert not mark.exists()


def test_the_user_can_allow_the_code(mark, tmp_path, monkeypatch):
    path = save(tmp_path / 'bad.pth', extra=Call(os.mkdir, str(mark)))
    monkeypatch.setenv(TRUST_ALL, '1')
    load_checkpoint(nn.Linear(1, 1), str(path))
    assert mark.is_dir()


@pytest.mark.parametrize('name', ['load_from', 'resume', 'DetInferencer'])
def test_getattr_works_for_loss_curves_alone(name, mark, tmp_path):
    path = save(tmp_path / 'bad.pth', extra=Call(getattr, np.ndarray, 'tofile'))
    with pytest.raises(UserError, match='contains getattr'):
        LOADERS[name](path, tmp_path / 'work')


def test_loss_curves_and_arrays_of_numpy_1_are_read(mark, tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    path = save(tmp_path / 'curves.pth', extra=dict(loss=history, part=slice(1, 2), value=np.float64(3)))
    found = CheckpointLoader.load_checkpoint(str(path))['extra']
    assert found['loss'].data[0].tolist() == [1, 2] and found['part'] == slice(1, 2) and found['value'] == 3
    older = tmp_path / 'older.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, 'w') as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry).replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'))
    assert load_weights(older)['extra']['value'] == 3


@pytest.fixture
def server(tmp_path):
    """An address under which the files of tmp_path / 'www' are."""
    (tmp_path / 'www').mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    http = HTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path / 'www')))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{http.server_port}'
    http.shutdown()
    http.server_close()


def test_downloads_are_checked(server, mark, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    www = tmp_path / 'www'
    bad = save(www / 'bad.pth', extra=Call(os.mkdir, str(mark)))
    with pytest.raises(UserError, match='can run any code'):
        load_checkpoint(nn.Linear(1, 1), f'{server}/{bad.name}')
    assert not mark.exists()
    digest = '0' * 8
    while digest[:8].isdigit():  # the weights are random; a hash of eight digits alone is read as a date
        good = save(www / 'good.pth')
        digest = hashlib.sha256(good.read_bytes()).hexdigest()
    for name in (f'net-{digest[:8]}.pth', 'net-0123abcd.pth', 'net-20230101.pth'):
        (www / name).write_bytes(good.read_bytes())
    assert CheckpointLoader.load_checkpoint(f'{server}/net-{digest[:8]}.pth')['meta'] == {}
    assert CheckpointLoader.load_checkpoint(f'{server}/net-20230101.pth')['meta'] == {}  # a date
    with pytest.raises(UserError, match=r'net-0123abcd.pth: the content does not have the hash in its name'):
        CheckpointLoader.load_checkpoint(f'{server}/net-0123abcd.pth')
    cache = tmp_path / 'hub' / 'checkpoints'
    assert not (cache / 'net-0123abcd.pth').exists()
    save(cache / f'net-{digest[:8]}.pth', another=1)
    with pytest.raises(UserError, match='does not have the hash in its name: delete it'):
        CheckpointLoader.load_checkpoint(f'{server}/net-{digest[:8]}.pth')


@pytest.mark.parametrize(
    'name, found',
    [
        ('yolox_nano_20210924-c3b2f8f6.pth', 'c3b2f8f6'),
        ('tinynet_e.pth', None),
        ('net-e.pth', None),
        ('net-20230101.pth', None),
    ],
)
def test_the_hash_of_a_file_name(name, found):
    match = HASH.search(name)
    assert (match and match[1]) == found


# The text of a config in a checkpoint -----------------------------------------------------------------------------------------

TEXT = "model = dict(type='TinyNet', arch='e')\n"
TEXTS = {  # what is appended to a good text, and the sentence
    '\nimport os\nos.mkdir({mark!r})\n': "contains 'import os', which is not data: the text of a checkpoint is not run; give the",
    '\nx = __import__("os").mkdir({mark!r})\n': 'contains .*__import__.*, which is not data',
    '\nx = dict(a=[open])\n': 'which is not data',
    '\nx = dict(**y)\n': 'which is not data',
    '\nx = [i for i in (1, 2)]\n': 'which is not data',
    '\nx = (lambda: 1)\n': 'which is not data',
    '\nif True:\n    x = 1\n': "contains 'if True:', which is not data",
    '\nx: int = 1\n': 'which is not data',
    '\nx, y = 1, 2\n': 'which is not data',
    "\nx = '{{{{fileDirname}}}}'\n": 'contains "{{", which MMEngine evaluates',
    '\n_base_ = {mark!r}\n': 'contains ._base_ = .*which is not data',
    '\nx = y' + '.y' * 20_000 + '\n': 'which is not data|is not Python',
    '\nx = (': 'is not Python',
    '\nx = ' + '[' * 100_000: 'is not Python',
    "\nx = dict(type='os.mkdir', name={mark!r})\n": "names the type 'os.mkdir', which is not registered in MMLab; give",
    "\nx = [dict(type='mmengine.load', file='x.pkl')]\n": "names the type 'mmengine.load', which is not registered",
    "\nx = dict(type='evil')\n": "names the type 'evil', which is not registered",
    "\nx = dict(type='__main__')\n": "names the type '__main__', which is not registered",
    "\nx = dict(type='.x')\n": "names the type '.x', which is not registered",
    "\nx = dict(type='ResNet', _scope_='evil')\n": "has _scope_='evil', a package without registries",
    "\ndefault_scope = 'evil'\n": "has default_scope='evil'",
    "\ncustom_imports = dict(imports=['evil'])\n": "imports 'evil', which is not a module of MMLab",
    "\ncustom_imports = dict(imports='mmdet.nowhere')\n": 'cannot be read: No module named .mmdet.nowhere',
    '\nfilename = 1\n': 'cannot be read: filename is reserved',
}


def inferencer(path, work):
    return DetInferencer(weights=str(path), device='cpu', scope='tinynet_mm')


PLACES = {  # where MMEngine reads the text, and how it gets there
    'message_hub': (lambda text: dict(message_hub=dict(runtime_info=dict(cfg=text))), inferencer),
    'meta': (lambda text: dict(message_hub={}, meta=dict(cfg=text)), inferencer),
    'resume': (lambda text: dict(meta=dict(config=text, epoch=0, iter=0)), LOADERS['resume']),
}


@pytest.mark.parametrize('place', PLACES)
def test_no_loader_runs_the_text_of_a_config(place, mark, tmp_path, monkeypatch):
    where, load = PLACES[place]
    path = tmp_path / 'bad.pth'
    torch.save(dict(state_dict=nn.Linear(1, 1).state_dict()) | where(f'import os\nos.mkdir({str(mark)!r})\n{TEXT}'), path)
    with pytest.raises(UserError, match=r"config text contains 'import os', which is not data: .* is not run; give the config"):
        load(path, tmp_path / 'work')
    assert not mark.exists()


@pytest.mark.parametrize('more', TEXTS, ids=lambda more: more.strip()[:40])
def test_texts_that_are_not_data(more, mark, tmp_path, monkeypatch):
    (tmp_path / 'evil.py').write_text(f'import os\nos.mkdir({str(mark)!r})\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=TEXTS[more]):
        Config.fromstring(TEXT + more.format(mark=str(mark)), '.py')
    assert not mark.exists()


def test_the_user_can_allow_the_code_of_a_text(mark, monkeypatch):
    monkeypatch.setenv(TRUST_ALL, 'yes')
    Config.fromstring(f'made = __import__("os").mkdir({str(mark)!r})\n', '.py')  # an import at the start is lazy in mmengine 0.10
    assert mark.is_dir()


@pytest.mark.parametrize('path', [CONFIG, CONFIG.replace('rtmdet_tinynet_e_coco', 'imagenet/resnet50_b_in100')])
def test_texts_of_mmengine_are_read_as_mmengine_reads_them(path, monkeypatch):
    text = (
        Config.fromfile(path).pretty_text + "\nx = dict({'a b': (1, -2.5), 3: {'c'}}, )\ny = dict(type='torch.optim.sgd.SGD')\n"
    )
    found = Config.fromstring(text, '.py')
    monkeypatch.setenv(TRUST_ALL, '1')  # MMEngine's own reader
    assert found._cfg_dict == Config.fromstring(text, '.py')._cfg_dict


def test_a_checkpoint_of_ours_needs_no_config(tmp_path):
    cfg = Config.fromfile(CONFIG)
    model = init_detector(CONFIG, device='cpu', palette='random')
    content = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('a',))))
    torch.save(content | dict(message_hub=dict(runtime_info=dict(cfg=cfg.pretty_text))), tmp_path / 'good.pth')
    found = inferencer(tmp_path / 'good.pth', tmp_path)
    assert found.model.backbone.arch == model.backbone.arch


@pytest.mark.parametrize('value', ['1', 'y', 'yes', 'true'])
def test_every_value_that_switches_torch_on_switches_us_on(value, mark, tmp_path, monkeypatch):
    monkeypatch.setenv(TRUST_ALL, value)
    good, bad = save(tmp_path / 'good.pth'), save(tmp_path / 'bad.pth', extra=Call(os.mkdir, str(mark)))
    for path in (good, bad):
        with pytest.raises(SystemExit) as stop:
            errors.run(lambda path=path: 'state_dict' not in read(path))
        assert not stop.value.code
    assert mark.is_dir()
