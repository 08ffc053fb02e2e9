"""Trainings and tests on two processes of the CPU, against one process: weights, scores, files, and a process that ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch

from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import RepeatedError, UserError
from tinynet_mm.mmlab import processes
from tinynet_mm.mmlab.reading import read

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['tinynet_mm', 'still_norms'])
steps = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=False),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, sampler=dict(shuffle=False), dataset=dict(pipeline=steps)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=steps))
test_dataloader = val_dataloader
model = dict(bbox_head=dict(input_size=64), test_cfg=dict(score_thr=0.0))
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=2.4))  # 0.1 for a batch of 8
param_scheduler = []
custom_hooks = [dict(type='StillNorms')]
"""
STILL_NORMS = """
import os
import signal
import time

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm

@HOOKS.register_module()
class StillNorms(Hook):
    '''Norms use their running statistics, which do not depend on how images are divided into batches.'''

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        if runner.rank == 0 and os.environ.get('SIGTERM_BEFORE_STEP') == str(runner.iter + 1):
            os.kill(os.getppid(), signal.SIGTERM)  # to torchrun, which sends it to the processes
            time.sleep(3)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config and drawn shapes: 16 images for training, 6 for validation (an odd number for each of two processes)."""
    found = tmp_path_factory.mktemp('processes')
    list(make_shapes(found, ShapesSpec(train=16, val=6, test=2, size=64, class_train=1, class_val=1, class_size=32)))
    (found / 'small.py').write_text(CONFIG.format(base=str(ROOT / 'configs' / 'ssdlite_tinynet_e_coco.py')))
    (found / 'still_norms.py').write_text(STILL_NORMS)
    return found


def start(folder: Path, *command: str, count: int = 1, node: Sequence[str] = ()) -> subprocess.Popen:
    many = [sys.executable, '-m', 'torch.distributed.run', *(node or ['--standalone']), '--nproc_per_node', str(count)]
    environment = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=f'{ROOT}:{folder}', CUDA_VISIBLE_DEVICES='-1')
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    return subprocess.Popen([*(many if count > 1 or node else [sys.executable]), *command], **options)


def train(folder: Path, out: str, *more: str, count: int = 1) -> subprocess.Popen:
    common = ['--data-root', str(folder / 'coco'), '--work-dir', str(folder / out), '--from-scratch', *more]
    launcher = ['--launcher', 'pytorch', '--batch-size', str(8 // count)] if count > 1 else []
    return start(folder, 'tools/train.py', str(folder / 'small.py'), *common, *launcher, count=count)


@pytest.fixture(scope='module')
def runs(folder):
    """The work directories of a training on one and on two processes, and what they print."""
    said = {}
    for count in (1, 2):
        process = train(folder, f'work{count}', count=count)
        said[count] = process.communicate(timeout=600)
        assert process.returncode == 0, said[count]
    return said


def test_two_processes_train_as_one(folder, runs):
    files = ('work1/epoch_1.pth', 'work1/epoch_2.pth', 'work2/epoch_2.pth')
    before, one, two = (read(folder / file)['state_dict'] for file in files)
    moved, apart = (max(float((a[key] - b[key]).abs().max()) for key in one) for a, b in ((one, before), (one, two)))
    assert one.keys() == two.keys() and moved > 1e-3 and apart < 1e-4 * moved, (moved, apart)


def test_the_learning_rate_is_that_of_all_images_of_a_step(folder, runs):
    rates = []
    for count in (1, 2):
        lines = next((folder / f'work{count}').glob('*/vis_data/scalars.json')).read_text().splitlines()
        rates += [row['lr'] for row in map(json.loads, lines) if 'lr' in row][:1]
    assert rates[0] == rates[1] == pytest.approx(0.1)
    assert 'learning rate 0.1 for a batch of 8' in runs[2][0]


def test_the_first_process_alone_checks_prints_and_writes(folder, runs):
    assert [runs[count][0].count('train.json: 16 images') for count in (1, 2)] == [1, 1]
    assert [len(list((folder / f'work{count}').glob('*/*.log'))) for count in (1, 2)] == [1, 1]
    assert (folder / 'work2' / 'report' / 'report.html').is_file()


def write_voc(coco: Path, out: Path) -> Path:
    """The data of a COCO folder as Pascal VOC."""
    box = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'
    for name in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (out / name).mkdir(parents=True)
    for split in ('train', 'val', 'test'):
        (table,) = coco.glob(f'annotations/*{split}*.json')
        content = json.loads(table.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        for image in content['images']:
            file = next(coco.rglob(Path(image['file_name']).name))
            stem = f'{split}_{file.stem}'
            shutil.copy(file, out / 'JPEGImages' / f'{stem}.jpg')
            found = [entry for entry in content['annotations'] if entry['image_id'] == image['id']]
            corners = [(x + 1, y + 1, x + w, y + h) for x, y, w, h in (entry['bbox'] for entry in found)]
            boxes = ''.join(box.format(names[entry['category_id']], *corner) for entry, corner in zip(found, corners))
            head = (
                f'<filename>{stem}.jpg</filename><size><width>{image["width"]}</width><height>{image["height"]}</height></size>'
            )
            (out / 'Annotations' / f'{stem}.xml').write_text(f'<annotation>{head}{boxes}</annotation>')
            with (out / 'ImageSets' / 'Main' / f'{split}.txt').open('a') as lines:
                lines.write(f'{stem}\n')
    return out


def test_two_nodes_train_and_convert_the_data_once(folder):
    """Two torchrun calls that meet on this machine, each with one process."""
    data = write_voc(folder / 'coco', folder / 'voc')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    arguments = ['tools/train.py', str(folder / 'small.py'), '--data-root', str(data), '--work-dir', str(folder / 'nodes')]
    arguments += ['--from-scratch', '--launcher', 'pytorch', '--batch-size', '4', '--epochs', '1']
    meet = ['--nnodes', '2', '--rdzv-backend', 'c10d', '--rdzv-endpoint', f'127.0.0.1:{port}']
    nodes = [start(folder, *arguments, node=[*meet, '--node-rank', str(rank)]) for rank in (0, 1)]
    said = [node.communicate(timeout=600) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    text = said[0][0] + said[1][0]
    assert text.count('converted') == 1 and text.count('results:') == 1
    assert (folder / 'nodes' / 'epoch_1.pth').is_file() and len(list((data / 'tinynet_coco').rglob('source.json'))) == 1


DOWNLOAD = """
import os
import sys
from pathlib import Path

import mmengine
from mmengine.runner.checkpoint import CheckpointLoader

import tinynet_mm
from tinynet_mm.mmlab import processes

with processes.group('pytorch'):
    content = CheckpointLoader.load_checkpoint(sys.argv[1])
    Path(sys.argv[2], 'rank' + os.environ['RANK']).write_text(' '.join(content['state_dict']))
"""


def test_two_processes_download_a_file_once(folder, monkeypatch):
    requests, www = [], folder / 'www'
    www.mkdir()
    torch.save(dict(state_dict=dict(weight=torch.ones(1)), meta={}), www / 'net.pth')
    (folder / 'download.py').write_text(DOWNLOAD)
    monkeypatch.setenv('TORCH_HOME', str(folder / 'cache'))

    class Counting(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    with HTTPServer(('127.0.0.1', 0), partial(Counting, directory=str(www))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/net.pth'
        process = start(folder, str(folder / 'download.py'), url, str(folder), count=2)
        said = process.communicate(timeout=300)
        server.shutdown()
    assert process.returncode == 0, said
    assert [(folder / f'rank{rank}').read_text() for rank in (0, 1)] == ['weight', 'weight']
    assert requests == ['/net.pth']


def test_two_processes_test_as_one(folder, runs):
    found = []
    for count in (1, 2):
        out = folder / f'test{count}'
        arguments = [str(folder / 'small.py'), str(folder / 'work1' / 'epoch_2.pth'), '--data-root', str(folder / 'coco')]
        arguments += ['--split', 'val', '--out', str(out), *(['--launcher', 'pytorch'] if count > 1 else [])]
        process = start(folder, 'tools/test.py', *arguments, count=count)
        said = process.communicate(timeout=600)
        assert process.returncode == 0 and said[0].count('metrics: ') == 1, said
        found.append(json.loads((out / 'metrics.json').read_text()))
    assert found[0]['metrics'] == found[1]['metrics'] and found[0]['protocol']['images'] == 6


def test_a_process_that_ends_stops_the_others_with_a_sentence_and_the_training_resumes(folder, runs):
    process = train(folder, 'work2', '--resume', '--epochs', '500', count=2)
    log = folder / 'work2'
    end = time.monotonic() + 300
    while not list(log.glob('epoch_[3-9].pth')) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.2)
    assert (log / 'epoch_2.pth').exists() or list(log.glob('epoch_[3-9].pth'))  # it did resume: epoch 3 follows
    children = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[1]), signal.SIGKILL)
    said = process.communicate(timeout=120)
    assert process.returncode, said
    assert 'error: process 0 lost another process of this run' in said[1] and 'this is a bug' not in said[1], said


def test_sigterm_to_torchrun_saves_on_all_processes_and_a_resumed_training_is_the_same(folder, runs, monkeypatch):
    monkeypatch.setenv('SIGTERM_BEFORE_STEP', '3')  # of 4; the second epoch is steps 3 and 4
    process = train(folder, 'term', count=2)
    said = process.communicate(timeout=600)
    assert process.returncode and said[1].count(f'at step 3, saved in {folder}/term/interrupted.pth') == 1, said
    assert said[1].count('Traceback') == said[1].count('SignalException: Process') == 1, said  # that of torchrun
    monkeypatch.delenv('SIGTERM_BEFORE_STEP')
    process = train(folder, 'term', '--resume', count=2)
    said = process.communicate(timeout=600)
    assert process.returncode == 0 and not (folder / 'term' / 'interrupted.pth').exists(), said
    one, two = (read(folder / out / 'epoch_2.pth')['state_dict'] for out in ('work2', 'term'))
    assert all(torch.equal(value, two[key]) for key, value in one.items())


# In this process --------------------------------------------------------------------------------------------------------------


ENVIRONMENT = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='29871')
SLURM = dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', SLURM_NODELIST='node[1-2]')


@pytest.mark.parametrize(
    'launcher, changed, sentence',
    [
        (
            'pytorch',
            dict(RANK='5', WORLD_SIZE='2'),
            'RANK=5 with WORLD_SIZE=2: ranks are 0 to WORLD_SIZE - 1; start with torchrun',
        ),
        ('pytorch', dict(RANK='first'), "RANK='first' is not a number"),
        ('pytorch', dict(WORLD_SIZE='-1'), "WORLD_SIZE='-1' is not a number"),
        ('pytorch', dict(WORLD_SIZE='0'), 'RANK=0 with WORLD_SIZE=0'),
        ('pytorch', dict(LOCAL_RANK=''), "LOCAL_RANK='' is not a number"),
        ('pytorch', dict(MASTER_PORT='99999999'), 'MASTER_PORT=99999999: ports are 1 to 65535'),
        ('pytorch', dict(MASTER_ADDR='no such machine'), 'cannot meet at no such machine:29871 .*give another address'),
        ('slurm', dict(SLURM_NTASKS=None), 'SLURM_NTASKS are not set'),
        ('slurm', dict(SLURM_NODELIST=None, MASTER_ADDR=None), 'SLURM_NODELIST are not set'),
        (
            'slurm',
            dict(MASTER_ADDR=None, PATH='/nowhere'),
            'does not name the first machine .FileNotFoundError.; set MASTER_ADDR',
        ),
    ],
)
def test_a_launcher_with_a_wrong_environment_is_one_sentence(launcher, changed, sentence, monkeypatch):
    monkeypatch.setattr(processes, 'PATIENCE', timedelta(seconds=2))
    for name, value in (ENVIRONMENT | SLURM | changed).items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=sentence), processes.group(launcher):
        pass
    assert not torch.distributed.is_initialized()


def test_a_port_in_use_is_one_sentence(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        for name, value in (ENVIRONMENT | dict(MASTER_PORT=str(taken.getsockname()[1]))).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match='cannot meet at 127.0.0.1:.*a port that is not in use'), processes.group('pytorch'):
            pass


@pytest.mark.parametrize(
    'launcher, sentence',
    [('pytorch', 'RANK, WORLD_SIZE, .* are not set; start with torchrun'), ('slurm', '--launcher slurm works inside srun')],
)
def test_a_launcher_without_its_environment_is_one_sentence(launcher, sentence, monkeypatch):
    for name in (*processes.NEEDED, 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=sentence), processes.group(launcher):
        pass


def test_the_environment_of_slurm_is_that_of_torchrun(monkeypatch):
    monkeypatch.delenv('MASTER_PORT', raising=False)
    for name, value in dict(PROCID='3', NTASKS='4', LOCALID='1', NODELIST='node[1-2]').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in processes.NEEDED:
        monkeypatch.setenv(name, 'x')  # restored after the test
    monkeypatch.delenv('MASTER_ADDR')
    answer = subprocess.CompletedProcess([], 0, stdout='node1\nnode2\n')
    monkeypatch.setattr(subprocess, 'run', lambda command, **_: answer if command[-1] == 'node[1-2]' else None)
    processes._from_slurm()
    values = [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR')]
    assert values == ['3', '4', '1', 'node1']


def test_one_process_works_and_raises_as_without_a_group():
    assert processes.first(lambda: 1) == processes.first_then_others(lambda: 1) == 1
    with pytest.raises(KeyError):
        processes.first(lambda: {}['x'])


def test_a_repeated_error_is_not_printed(capsys):
    from tinynet_mm.errors import run

    def main():
        raise RepeatedError('said by the first process')

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2 and capsys.readouterr().err == ''
