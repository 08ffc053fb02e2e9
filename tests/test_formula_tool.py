"""tools/formula.py and its files: the printed values build the same network, and the configs build and give losses."""

import ast
import dataclasses
import importlib.util
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from test_targets import write_detector

from tinynet_mm.archs import BASES, EFFICIENTNET_B0, Arch, Scaling, Stage, preset, scale
from tinynet_mm.cost import cost
from tinynet_mm.deploy import latency
from tinynet_mm.errors import UserError, run
from tinynet_mm.files import read_csv, write_csv
from tinynet_mm.formula import TinyFormula
from tinynet_mm.formula.bases import load_base
from tinynet_mm.formula.configs import detection_levels, pyramid, write_configs
from tinynet_mm.paper.printed import BUILT, TABLES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('tools_formula', ROOT / 'tools' / 'formula.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def own_base() -> Arch:
    """A user-defined base with three stages and strides to 32."""
    stages = (Stage('inverted', 16, 2, stride=2), Stage('inverted', 32, 3, stride=4), Stage('inverted', 64, 2, stride=2))
    return Arch('own', 'efficientnet', 64, stem=16, stages=stages, head=128)


def test_the_printed_values_build_the_printed_network(main, capsys):
    assert main(['--budget', '75M']) == 0
    out = capsys.readouterr().out
    r, d, w = (float(re.search(rf'\b{name} = ([\d.]+) ± [\d.]+', out)[1]) for name in 'rdw')
    arch = scale(EFFICIENTNET_B0, Scaling(r=r, w=w, d=d))
    found = cost(arch)
    assert f'{arch.resolution} px' in out and f'{found.macs / 1e6:.1f}M MACs' in out
    assert abs(found.macs / 75e6 - 1) < 0.03
    assert out.index('TinyNet-D (table 3)') < out.index('THIS NETWORK') < out.index('TinyNet-C (table 3)')
    assert 'as printed in the paper' in out


def test_it_starts_without_torch():
    """The answer takes one second instead of five."""
    code = "import runpy, sys; sys.argv = ['formula', '--budget', '75M']\n"
    code += "try: runpy.run_path('tools/formula.py', run_name='__main__')\nexcept SystemExit as end: assert not end.code\n"
    code += "assert not {'torch', 'mmengine', 'mmcv', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    'arguments, quantity, value', [(['--params', '3M'], 'parameters', '3.0'), (['--activations', '3M'], 'activations', '[23].')]
)
def test_other_units(main, capsys, arguments, quantity, value):
    assert main(arguments) == 0
    assert re.search(rf'cost +{value}\d*M {quantity}', capsys.readouterr().out)


def test_a_front_is_fitted_saved_and_loaded(main, tmp_path, capsys):
    c = np.geomspace(0.05, 0.9, 9)
    base_macs = cost(EFFICIENTNET_B0).macs
    rows = [dict(r=round(0.9 + 0.1 * float(np.log(x)), 4), d=0.8, w=0.5, macs=round(x * base_macs), accuracy=0.5) for x in c]
    front, saved = write_csv(tmp_path / 'front.csv', rows), tmp_path / 'out' / 'formula.json'
    assert main(['--budget', '80M', '--frontier', str(front), '--save', str(saved)]) == 0
    first = capsys.readouterr().out
    assert f'fitted to the 9 networks of {front}' in first and f'written: {saved}' in first
    assert TinyFormula.load(saved) == TinyFormula.fit(rows, base_macs)
    assert main(['--budget', '80M', '--formula', str(saved)]) == 0
    assert capsys.readouterr().out.splitlines()[1:6] == first.splitlines()[1:6]


def test_extrapolation_is_refused_or_warned_about(main, capsys):
    with pytest.raises(ValueError, match='outside the range.*--extrapolate'):
        main(['--budget', '600M'])
    assert main(['--budget', '600M', '--extrapolate']) == 0
    assert 'warning: c = 1.56 is outside the fitted range' in capsys.readouterr().err


def test_published_table_is_written(main, tmp_path, capsys):
    assert main(['--published', str(tmp_path / 'table.csv')]) == 0
    rows = read_csv(tmp_path / 'table.csv', ('r_published', 'r_formula', 'macs_formula'))
    assert len(rows) == 5 and all(abs(row['r_difference']) < 0.02 and abs(row['macs_difference']) < 0.03 for row in rows)
    kept = read_csv(ROOT / 'results' / 'formula_published.csv')
    for row, old in zip(rows, kept, strict=True):
        for key, value in row.items():
            assert value == (old[key] if isinstance(value, str) else pytest.approx(old[key], rel=1e-3, abs=1e-3)), key
    assert [row['name'] for row in kept if row['same_network_at_printed'] == 'True'] == ['tinynet_c']
    assert 'tinynet_c  100.0M MACs: r 0.8239 ' in capsys.readouterr().out


@pytest.fixture
def simulated(monkeypatch):
    """A simulated clock of 1 ms per 10 M MACs of the network at its own resolution, and the models that a report times."""
    timed = {}

    def arch_of(built):
        return built[0].backbone.arch

    def prepare(model, spec, runtime, threads, folder):
        return latency.Network(spec, lambda images: model)

    def compare(built, runtime, threads):
        timed.update({name: (arch_of(model), model[1], runtime) for name, model in built.items()})
        return {
            name: latency.Latency(
                cost(arch_of(model)).macs / 1e7,
                1,
                2,
                3,
                9,
                1,
                threads,
                1,
                model[1].height,
                model[1].width,
                'fp32',
                'fake',
                'here',
            )
            for name, model in built.items()
        }

    monkeypatch.setattr(latency, 'prepare', prepare)
    monkeypatch.setattr(latency, 'least_ms', lambda network, threads: cost(network.run(None).backbone.arch).macs / 1e7)
    monkeypatch.setattr(latency, 'compare', compare)
    return timed


def test_measured_latency_with_its_neighbours(main, capsys, simulated):
    assert main(['--latency-ms', '5.16', '--runtime', 'eager']) == 0
    out, err = capsys.readouterr()
    assert {'TinyNet-D, 67.0 % in the paper', 'EfficientNet-B-3, 65.0 % in the paper'} < set(simulated)
    assert {runtime for *_, runtime in simulated.values()} == {'eager'}
    assert 'measured here, in turns: fake, 1 thread(s), batch 1' in out and re.search(r'cost +[45]\.\d\d ms', out)
    assert re.search(r'measured +a classifier of 1000 classes, torch [\d.+a-z]+ eager, 1 thread\(s\)', out)
    assert 'other programs are running' in out and '152x152 px  TinyNet-D' in out
    assert len(re.findall(r'measuring: \d+.\d\d ms at \d+x\d+ px with widths', err)) > 5


def test_measured_latency_of_a_detector(main, capsys, simulated, tmp_path):
    """The network is that of the same budget for the classifier, since the clock is; the report compares with the config's."""
    config = write_detector(tmp_path)
    assert main(['--latency-ms', '5.16', '--config', config, '--write-configs', str(tmp_path / 'new')]) == 0
    out = capsys.readouterr().out
    assert set(simulated) == {'THIS NETWORK, untrained', 'the network of the config'}
    assert {(spec.height, spec.post, runtime) for _, spec, runtime in simulated.values()} == {(128, 'decoded', 'onnx')}
    arch, *_ = simulated['THIS NETWORK, untrained']
    assert cost(arch).macs == pytest.approx(51.6e6, rel=0.08) and simulated['the network of the config'][0] == preset('tinynet_e')
    assert 'measured   the detector of detector.py with this backbone, input 128x128 px, onnxruntime ' in out
    assert f'as a classifier of {arch.resolution} px: ' in out and 'published networks' not in out
    written = Config.fromfile(next((tmp_path / 'new').glob('ssdlite_*_5.16ms_coco.py')))
    assert 'Measured: the detector of detector.py' in written.text
    assert MODELS.build(written.model.backbone).arch.stages == arch.stages


def test_classes_are_those_of_the_classifier_of_the_config(main, capsys, simulated, tmp_path):
    config = str(ROOT / 'configs' / 'imagenet' / 'tinynet_e_in100.py')
    assert main(['--latency-ms', '3', '--config', config, '--write-configs', str(tmp_path)]) == 0
    assert 'the classifier of tinynet_e_in100.py with this network, 100 classes' in capsys.readouterr().out
    assert list(tmp_path.glob('*_3ms_in100.py'))


def test_classes_without_a_config_are_refused_before_measuring(main, capsys, simulated, tmp_path):
    config = str(ROOT / 'configs' / 'cifar10' / 'tinynet_e_cifar10.py')
    with pytest.raises(UserError, match='no config for 10 classes'):
        main(['--latency-ms', '3', '--config', config, '--write-configs', str(tmp_path)])
    assert 'measuring' not in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--config', 'a.py'], ['--runtime', 'eager']])
def test_config_and_runtime_need_milliseconds(main, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(['--budget', '75M', *arguments])
    assert end.value.code == 2 and 'budgets in milliseconds; give --latency-ms' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--budget', 'lots'], "'lots' is not a budget"),
        (['--budget', '75M', '--base', 'efficientnet_b9'], 'unknown base'),
        (['--budget', '75M', '--base', 'none.json'], 'none.json: no such file'),
        (['--budget', '75M', '--frontier', 'none.csv'], 'no such table'),
        (['--budget', '75M', '--formula', 'none.json'], 'none.json: no such file'),
        (['--budget', '5M'], 'outside the range of this formula, 22.1M MACs to'),
        (['--params', '50M'], 'outside the range of this formula'),
        (['--budget', '75M', '--classes', '0'], 'needs one class or more'),
        (['--latency-ms', 'nan'], 'not a positive, finite number'),
        (['--latency-ms', '5', '--threads', '999'], 'threads=999'),
        (['--latency-ms', '5', '--config', 'none.py'], 'none.py: no such config'),
        (['--latency-ms', '5', '--config', 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'], 'does not scale'),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(main, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(logging, 'raiseExceptions', False)  # a logger of an earlier test can have a stream that pytest closed
    with pytest.raises(SystemExit) as end:
        run(lambda: main(arguments))
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith('measuring')]
    assert end.value.code == 2 and len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0], lines


def test_invalid_fronts_are_refused(main, tmp_path):
    """Four networks; NaN; a truncated file; one budget."""
    path = tmp_path / 'front.csv'
    rows = [dict(r=0.5 + 0.1 * i, d=0.8, c=0.1 + 0.1 * i) for i in range(6)]
    nan, one_budget = ([row | change for row in rows] for change in (dict(r=float('nan')), dict(c=0.5)))
    for bad, message in ((rows[:4], 'frontier of 4'), (nan, 'line 2: r'), (one_budget, 'about the same')):
        write_csv(path, bad)
        with pytest.raises(ValueError, match=message):
            main(['--budget', '75M', '--frontier', str(path)])
    text = write_csv(path, rows).read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match='truncated'):
        main(['--budget', '75M', '--frontier', str(path)])


def test_a_user_defined_base(main, tmp_path, capsys):
    path = tmp_path / 'own.json'
    path.write_text(json.dumps(dataclasses.asdict(own_base())))
    assert load_base(str(path)) == own_base()
    budget = str(round(0.7 * cost(own_base()).macs))
    assert main(['--budget', budget, '--base', str(path), '--write-configs', str(tmp_path)]) == 0
    assert 'from own, c = 0.7' in capsys.readouterr().out
    model = Config.fromfile(next(tmp_path.glob('own_*_in1k.py'))).model
    stages = [Stage(**stage) for stage in model.backbone.arch.stages]
    assert len(stages) == 3 and model.head.in_channels == 128
    smallest = r'own cannot shrink to .* the smallest it reaches is'
    path.write_text(json.dumps(dataclasses.asdict(own_base()) | dict(stem=512, head=4096)))
    with pytest.raises(ValueError, match=smallest):
        main(['--budget', str(round(0.06 * cost(load_base(str(path))).macs)), '--base', str(path)])


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"name": ', 'is not JSON'),
        ('[]', 'but a list'),
        ('{}', 'not a base table'),
        ('{"stages": 3}', 'not a base table'),
        ('{"resolution": "64", "stages": []}', "resolution = '64' is not a number"),
        ('{"resolution": 64, "stages": [{"block": "inverted", "channels": "16"}]}', "channels = '16' is not a number"),
        ('{"resolution": 64, "stem": -8, "stages": []}', 'stem = -8 is not a number of 0 or more'),
    ],
)
def test_base_tables_refuse(tmp_path, text, message):
    path = tmp_path / 'base.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_base(str(path))


# Configs ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """base -> (solution, ImageNet config, SSDLite config, config of the light detector)."""
    found, formula = {}, TinyFormula.published()
    for base, budget in (('efficientnet_b0', 25e6), ('resnet50', 0.3e9), ('ghostnet_a', 40e6)):
        solution = formula.solve(budget, base)
        found[base] = solution, *write_configs(solution, tmp_path_factory.mktemp('configs') / 'new')
    return found


@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a'])
def test_the_imagenet_config_builds_the_solved_network(written, base):
    solution, path, *_ = written[base]
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == solution.cost.params
    assert model.backbone.arch.stages == solution.arch.stages
    for pipeline in (
        cfg.train_dataloader.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
        cfg.test_dataloader.dataset.pipeline,
    ):
        assert solution.arch.resolution in [step.get('scale', step.get('crop_size')) for step in pipeline]
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in (3, 5)]
    side = solution.arch.resolution
    loss = model(torch.randn(2, 3, side, side), samples, mode='loss')['loss']
    assert 5 < loss.item() < 10


@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a'])
def test_the_ssdlite_config_detects(written, base):
    _, _, path, _ = written[base]
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 512, 512))
        scores, boxes = model.bbox_head(maps)
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2, 1] and len(scores) == len(boxes) == 6


@pytest.mark.parametrize('base', ['efficientnet_b0', 'resnet50', 'ghostnet_a'])
def test_the_config_of_the_light_detector_detects(written, base):
    cfg = Config.fromfile(written[base][3])
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        scores, boxes = model(torch.zeros(1, 3, 320, 320))
    assert [m.shape[-1] for m in scores] == [m.shape[-1] for m in boxes] == [40, 20, 10, 5]


def test_configs_inherit_from_existing_files_and_hold_literals(written):
    for solution, *paths in written.values():
        for path in paths:
            text = path.read_text()
            assert 'import' not in text and solution.base in path.name
            bases = [Path(base) for base in ast.literal_eval(re.search(r'_base_ = (.*)', text)[1])]
            assert bases and all(base.is_absolute() and base.is_file() for base in bases)
        assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(p.name for p in paths)


def test_100_classes_use_the_recipe_of_imagenet_100(tmp_path):
    solution = TinyFormula.published().solve(50e6, classes=100)
    first, *_ = write_configs(solution, tmp_path, classes=100)
    assert first.name == 'efficientnet_b0_50M_in100.py'
    ours, cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / 'tinynet_d_in100.py'), Config.fromfile(first)
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == 100
    for split in ('train', 'val', 'test'):
        mine, theirs = (dict(one[f'{split}_dataloader'].dataset, pipeline=None) for one in (cfg, ours))
        assert mine == theirs and mine['data_root'] == 'data/imagenet100'
    assert cfg.train_cfg == ours.train_cfg


def test_other_classes_have_no_imagenet_config(tmp_path):
    with pytest.raises(ValueError, match='no config for 10 classes: configs are written for the 1000'):
        write_configs(TinyFormula.published().solve(50e6, classes=10), tmp_path / 'new', classes=10)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    'base', [dataclasses.replace(EFFICIENTNET_B0, stem=24), dataclasses.replace(own_base(), name='my own/1', activation='ReLU6')]
)
def test_a_changed_base_is_written_as_a_complete_table(tmp_path, base):
    solution = TinyFormula.published().solve(0.7 * cost(base).macs, base)
    for path in write_configs(solution, tmp_path):
        cfg = Config.fromfile(path)
        init_default_scope(cfg.default_scope)
        built = MODELS.build(cfg.model).backbone
        assert built.arch.stages == solution.arch.stages and built.arch.activation == base.activation
        assert any(isinstance(m, torch.nn.ReLU6) for m in built.modules()) == (base.activation == 'ReLU6')


def test_files_are_not_overwritten(tmp_path):
    solution = TinyFormula.published().solve(50e6)
    paths = write_configs(solution, tmp_path)
    with pytest.raises(ValueError, match='exists already'):
        write_configs(solution, tmp_path)
    paths[0].unlink()
    with pytest.raises(ValueError, match='exists already'):
        write_configs(solution, tmp_path)
    assert not paths[0].exists()


def test_detection_levels_are_those_of_table_5():
    assert detection_levels(preset('tinynet_d')) == ((4, 7), (64, 1280))
    assert detection_levels(BASES['resnet50']) == ((2, 3), (1024, 2048))
    assert pyramid(preset('tinynet_d')) == ((2, 4, 6), (24, 64, 176)) and pyramid(BASES['resnet50'])[0] == (1, 2, 3)
    shallow = Arch('shallow', 'efficientnet', 64, stem=16, stages=(Stage('inverted', 16, stride=2),), head=64)
    assert pyramid(shallow) is None
    with pytest.raises(ValueError, match='shallow has no level of stride 16'):
        detection_levels(shallow)


def test_published_rows_find_their_presets():
    """Those of the paper's networks that are built here cost what the paper prints, within the digits it prints."""
    rows = {row.name: row for table in TABLES.values() for row in table}
    for name, built in BUILT.items():
        found = cost(preset(built), classes=1000)
        assert found.macs == pytest.approx(rows[name].macs, rel=0.035), name
        assert not rows[name].params or found.params == pytest.approx(rows[name].params, rel=0.03), name
