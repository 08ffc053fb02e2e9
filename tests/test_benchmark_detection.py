"""The comparison of trained detectors: rows, kept rows, continued trainings, failures; short scripts replace the two tools."""

import csv
from pathlib import Path

import pytest
from test_detection_tools import tool

from tinynet_mm.bench import detection
from tinynet_mm.data.shapes import ShapesSpec, make_shapes
from tinynet_mm.errors import UserError

CONFIGS = [str(Path(__file__).parents[1] / 'configs' / f'{kind}_tinynet_e_coco.py') for kind in ('ssdlite', 'rtmdet')]
TRAIN = """
import json, pathlib, sys

given = sys.argv[1:]
folder = pathlib.Path(given[given.index('--work-dir') + 1])
epochs = int(given[given.index('--epochs') + 1])
sum(range(3_000_000))  # some CPU time
(folder / 'calls.txt').open('a').write(' '.join(given) + chr(10))
if (folder / 'fails').exists():
    sys.exit('broken')
log = folder / '1' / 'vis_data' / 'scalars.json'
log.parent.mkdir(parents=True, exist_ok=True)
rows = []
for epoch in range(1, epochs + 1):
    rows.append(dict(loss=1.0, epoch=epoch, iter=epoch * 4, step=epoch * 4))
    rows.append({'coco/bbox_mAP': 0.5 - 0.1 * abs(epoch - 2), 'step': epoch})
log.write_text(''.join(json.dumps(row) + chr(10) for row in rows))
(folder / f'epoch_{epochs}.pth').touch()
(folder / 'last_checkpoint').touch()
"""
TEST = """
import json, pathlib, sys

given = sys.argv[1:]
out = pathlib.Path(given[given.index('--out') + 1])
out.mkdir(exist_ok=True)
value = {'val': 0.25, 'test': 0.5}[given[given.index('--split') + 1]]
(out / 'metrics.json').write_text(json.dumps(dict(metrics={'coco/bbox_mAP': value, 'coco/bbox_mAP_50': value + 0.1})))
"""


@pytest.fixture
def bench(tmp_path):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(TRAIN)
    (tmp_path / 'tools' / 'test.py').write_text(TEST)
    list(make_shapes(tmp_path / 'shapes', ShapesSpec(train=3, val=1, test=1, size=64, class_train=1, class_val=1, class_size=32)))
    root = next((tmp_path / 'shapes').rglob('train.json')).parent.parent

    def run(seeds, configs=CONFIGS, jobs=1, checkpoint=None):
        settings = (configs, root, seeds, 96, 3, tmp_path / 'runs', tmp_path / 'out.csv', tmp_path / 'tools', jobs)
        return detection.compare(*settings, checkpoint=checkpoint)

    run.folder, run.root = tmp_path, root
    return run


def test_each_training_has_a_row_and_runs_once(bench):
    bench([0], CONFIGS[:1])
    bench([0, 1], jobs=2)
    rows = list(csv.DictReader((bench.folder / 'out.csv').open()))
    assert sorted((row['config'], row['seed']) for row in rows) == [
        (f'{kind}_tinynet_e_coco', seed) for kind in ('rtmdet', 'ssdlite') for seed in '01'
    ]
    for row in rows:
        assert (row['val_mAP'], row['test_mAP_50'], row['best_val_mAP'], row['best_epoch']) == ('0.25', '0.6', '0.5', '2')
        assert float(row['cpu_minutes']) >= 0 and int(row['macs']) > 1e6
    assert len({row['macs'] for row in rows}) == 2
    calls = [path.read_text().splitlines() for path in (bench.folder / 'runs').glob('*/calls.txt')]
    assert [len(lines) for lines in calls] == [1] * 4
    assert all('--schedule short' in line and 'randomness.seed=' in line and '--resume' not in line for (line,) in calls)


def test_a_set_with_train_only_is_divided_and_has_val_scores(bench):
    for split in ('val', 'test'):
        (bench.root / 'annotations' / f'{split}.json').unlink()
    (row,) = bench([0], CONFIGS[:1])
    assert (row['val_mAP'], row['test_mAP']) == (0.25, '')


def test_on_a_gpu_there_are_no_cpu_minutes(bench, monkeypatch):
    monkeypatch.setattr(detection.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(detection.torch.cuda, 'get_device_name', lambda: 'Some GPU')
    (row,) = bench([0], CONFIGS[:1])
    assert (row['cpu_minutes'], row['machine']) == ('', 'Some GPU')
    assert next(detection.table([row]))['cpu_minutes'] == ''


def test_an_interrupted_training_continues_and_a_complete_one_is_only_tested(bench):
    trial = detection.Trial(CONFIGS[0], bench.root, 0, 96, 3, bench.folder / 'runs')
    trial.folder.mkdir(parents=True)
    (trial.folder / 'last_checkpoint').touch()
    bench([0], CONFIGS[:1])
    assert (trial.folder / 'calls.txt').read_text().rstrip().endswith('--resume')
    (bench.folder / 'out.csv').unlink()
    bench([0], CONFIGS[:1])
    assert len((trial.folder / 'calls.txt').read_text().splitlines()) == 1


def test_a_training_has_no_cpu_minutes_after_its_benchmark_was_stopped(bench, monkeypatch):
    def stopped(pid, options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detection.os, 'wait4', stopped)
        with pytest.raises(KeyboardInterrupt):
            bench([0], CONFIGS[:1])
    (row,) = bench([0], CONFIGS[:1])
    assert (row['cpu_minutes'], row['val_mAP']) == ('', 0.25)


def test_a_training_that_fails_names_its_log_and_keeps_the_rows(bench):
    trial = detection.Trial(CONFIGS[1], bench.root, 0, 96, 3, bench.folder / 'runs')
    trial.folder.mkdir(parents=True)
    (trial.folder / 'fails').touch()
    with pytest.raises(UserError, match='train.py .*rtmdet_tinynet_e_coco.py fails, see .*log.txt'):
        bench([0])
    assert 'broken' in (trial.folder / 'log.txt').read_text()
    assert [row['config'] for row in csv.DictReader((bench.folder / 'out.csv').open())] == ['ssdlite_tinynet_e_coco']


def test_the_table_has_means_and_ranges_over_the_seeds():
    row = dict(config='a', data='d', input_size=320, epochs=40, weights='scratch', macs=3e8, params=1e6)
    row |= dict(best_val_mAP=0.5, test_mAP='')
    rows = [dict(row, seed=seed, cpu_minutes=10, val_mAP=value) for seed, value in enumerate((0.2, 0.3, 0.7))]
    (line,) = detection.table(rows)
    assert line['val_mAP'] == '0.4 (0.2 to 0.7)' and line['seeds'] == 3 and line['MACs (M)'] == '300' and line['test_mAP'] == ''


def test_weights_of_a_file_replace_random_ones(bench):
    file = bench.folder / 'lite0.pth'
    with pytest.raises(FileNotFoundError, match='lite0.pth: no such file of weights'):
        bench([0], CONFIGS[:1], checkpoint=file)
    file.touch()
    bench([0], CONFIGS[:1]), bench([0], CONFIGS[:1], checkpoint=file)
    assert [row['weights'] for row in csv.DictReader((bench.folder / 'out.csv').open())] == ['scratch', 'lite0']
    calls = [
        path.read_text() for path in sorted((bench.folder / 'runs').glob('*/calls.txt'), key=lambda path: path.stat().st_mtime)
    ]
    assert ['--from-scratch' in call for call in calls] == [True, False]
    assert f'model.backbone.init_cfg.checkpoint={file}' in calls[1]


def test_the_tool_needs_a_data_set(tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool('benchmark_detection')([CONFIGS[0]])
    assert '--data-root' in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match='no such folder'):
        tool('benchmark_detection')([CONFIGS[0], '--data-root', str(tmp_path / 'none'), '--out', str(tmp_path / 'out.csv')])
