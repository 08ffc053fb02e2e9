"""What the tests of hostile files share: how a tool is called, and a small training with its files."""

import json
import logging
import re
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from test_detection_tools import shapes as shapes
from test_detection_tools import tool
from test_detection_tools import trained as trained  # fixtures

from tinynet_mm import errors, files
from tinynet_mm.data.images import write_image

CONFIG = 'configs/ssdlite_tinynet_e_coco.py'
HUGE, NAN, INF, LONG = 10**400, float('nan'), float('inf'), 'x' * 100_000
DEEP, DIGITS = '[' * 200_000, '9' * 5000
SECONDS, MEGABYTES = 30, 700  # that one call of a tool may use: of the processor, and of memory more than before


def listing(folder: Path) -> list[tuple]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob('*') if path.is_file())


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Say:
    """Run a tool as its command does; returns what it prints, and checks its exit status, time and memory."""

    def __init__(self, capfd, folder: Path):
        self.capfd, self.folder = capfd, folder

    def __call__(self, name: str, *arguments: object, status: int = 0) -> str:
        started, before = time.process_time(), memory()
        with pytest.raises(SystemExit) as stop:
            errors.run(lambda: tool(name)([str(argument) for argument in arguments]))
        said = ''.join(self.capfd.readouterr())
        assert stop.value.code == status and 'Traceback' not in said, said[-3000:]
        assert time.process_time() - started < SECONDS and memory() - before < MEGABYTES
        return said

    def refuse(self, sentence: str, name: str, *arguments: object) -> None:
        """Check that a tool ends with a sentence that matches, and leaves the folder as it was."""
        before = listing(self.folder)
        last = self(name, *arguments, status=2).splitlines()[-1]
        assert 'error: ' in last and len(last) < 2500 and re.search(sentence, last), last[-3000:]
        assert listing(self.folder) == before


@pytest.fixture
def say(capfd, tmp_path, monkeypatch) -> Say:
    monkeypatch.setattr(logging, 'raiseExceptions', False)  # MMEngine's logger keeps the closed console of an earlier test
    return Say(capfd, tmp_path)


def log(folder: Path, lines: list, config: str | None = None) -> Path:
    target = folder / 'run' / '20260101_000000' / 'vis_data'
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    files.write_text(target / 'scalars.json', ''.join(f'{line}\n' for line in texts))
    if config is not None:
        files.write_text(target / 'config.py', config)
    return folder / 'run'


@pytest.fixture(scope='module')
def made(trained, shapes, tmp_path_factory) -> dict[str, Path]:
    """A config, its checkpoint, an exported file, an image, the data that they belong to, and a log."""
    folder = tmp_path_factory.mktemp('made')
    config, checkpoint = trained / 'ssdlite_tinynet_e_coco.py', trained / 'epoch_1.pth'
    assert tool('export')([str(config), str(checkpoint), '--out', str(folder / 'model.onnx')]) == 0
    image = write_image(folder / 'image.png', np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    run = log(folder, [dict(lr=0.1, loss=1.0 / step, epoch=1, iter=step, step=step) for step in (1, 2, 3)])
    return dict(config=config, checkpoint=checkpoint, exported=folder / 'model.onnx', image=image, data=shapes, run=run)


def commands(made: dict, path: Path, out: Path) -> dict[str, tuple]:
    """A command of each tool that reads a checkpoint."""
    data = ('--data-root', made['data'])
    train = ('train', CONFIG, *data, '--input-size', '64', '--schedule', 'short', '--work-dir', out)
    init = f'model.backbone.init_cfg=dict(type="Pretrained",checkpoint="{path}",prefix="backbone.")'
    return dict(
        test=('test', made['config'], path, *data, '--out', out),
        report=('report', made['config'], path, *data, '--out', out),
        export=('export', made['config'], path, '--out', out / 'model.onnx'),
        cam=('cam', made['config'], path, made['image'], '--out', out),
        compare=('cam', made['image'], '--compare', f'{made["config"]}={path}', '--out', out / 'figure'),
        convert=('convert_weights', path, out / 'x.pth', '--to', 'ours'),
        publish=('publish', path, '--out-dir', out),
        int8=('benchmark_int8', made['config'], path, *data, '--out', out / 'int8.csv'),
        latency=('latency', '--reference', made['config'], path, '--image', made['image']),
        load_from=(*train, '--cfg-options', f'load_from={path}'),
        resume=(*train, '--resume', path),
        init_cfg=(*train, '--cfg-options', init),
    )
