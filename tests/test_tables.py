"""The paper's tables: our networks match its figures, and the files in the repository are up to date."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tinynet_mm.bench import readme
from tinynet_mm.bench import tables as latency_tables
from tinynet_mm.errors import UserError
from tinynet_mm.paper import tables
from tinynet_mm.paper.tables import (
    EXCEPTIONS,
    MACS_TOLERANCE,
    NOT_THERE,
    PAPER,
    PARAMS_TOLERANCE,
    make_rows,
    read_csv,
    to_csv,
    to_markdown,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'results'


@pytest.fixture(scope='module')
def rows():
    return make_rows()


def is_near(row) -> bool:
    return abs(row.macs_difference) <= MACS_TOLERANCE and abs(row.params_difference or 0) <= PARAMS_TOLERANCE


def test_our_networks_match_the_papers_figures_except_those_explained(rows):
    ours = [row for row in rows if row.ours]
    assert len(ours) == 10 + 7 + 10 + 2 + 9
    assert {(row.table, row.network) for row in ours if not is_near(row)} == set(EXCEPTIONS)
    assert all(abs(row.macs_difference) < 0.035 for row in ours)


def test_networks_of_other_libraries_are_near_the_papers_figures(rows):
    compared = [row for row in rows if not row.ours and row.macs]
    assert all(abs(row.macs_difference) < 0.1 and abs(row.params_difference) < 0.2 for row in compared)
    assert all(is_near(row) != bool(row.note) for row in compared)


def test_all_rows_are_present_and_networks_without_a_library_are_named(rows):
    assert [(row.table, row.network) for row in rows] == [(printed.table, printed.name) for printed in PAPER]
    missing = {row.network for row in rows if row.source == NOT_THERE}
    assert missing == {'FBNet-B', 'ProxylessNAS'}
    assert all(row.macs_difference is None for row in rows if row.network in missing)


def test_one_network_has_one_count_in_all_tables(rows):
    counts = {}
    for row in rows:
        assert counts.setdefault(row.network, (row.params, row.macs)) == (row.params, row.macs)


def test_the_files_in_the_repository_are_up_to_date(rows):
    written = read_csv(ROOT / 'results' / 'tables.csv')
    versions = dict(source='')  # another version of timm or torchvision may be installed
    assert [dataclasses.replace(row, **versions) for row in written] == [dataclasses.replace(row, **versions) for row in rows]
    assert (ROOT / 'docs' / 'tables.md').read_text() == to_markdown(written)


def test_the_tool_writes_the_files_and_the_tables_of_the_readme(rows, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('tools_make_tables', ROOT / 'tools' / 'make_tables.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tables, 'make_rows', lambda: rows)  # counted once
    paths = dict(csv='new/tables.csv', docs='tables.md', latency='latency.md', pages='README.md')
    files = [word for name, path in paths.items() for word in (f'--{name}', str(tmp_path / path))]
    regions = [
        f'<!-- {name}: written by tools/make_tables.py -->\nold\n<!-- end -->\n' for name in readme.all_tables(RESULTS, rows)
    ]
    (tmp_path / 'README.md').write_text('start\n' + '\nbetween\n'.join(regions))
    assert tool.main(files) == 0
    assert read_csv(tmp_path / 'new' / 'tables.csv') == rows
    assert (tmp_path / 'tables.md').read_text().count('\n| ') == 7 + 2 * 5 + len(rows)
    assert (tmp_path / 'latency.md').read_text() == latency_tables.make_page(RESULTS)
    text = (tmp_path / 'README.md').read_text()
    assert text.startswith('start\n<!-- backbones') and text.count('\nbetween\n') == 3 and 'old' not in text
    assert '\n| TinyNet-D | `tinynet_d` | 152 | 2.34 | 51.6 | 67.0 | 67.0 | 4.4 |\n' in text
    assert to_csv(rows).splitlines()[0].startswith('table,network,ours,input,params,macs,paper_params,paper_macs,source')
    (tmp_path / 'README.md').write_text(regions[0].replace('backbones', 'heads'))
    with pytest.raises(UserError, match=r"regions of the page are \['heads'\]; give it some of .*'latency'"):
        tool.main(files)


@pytest.mark.parametrize('page', ['README.md', 'docs/benchmarks.md', 'docs/formula.md'])
def test_the_tables_of_a_page_are_up_to_date(page):
    text = (ROOT / page).read_text()
    assert readme.fill(text, readme.all_tables(RESULTS, read_csv(RESULTS / 'tables.csv'))) == text


def test_the_table_of_a_sweep_has_intervals_and_corrected_tests():
    network = dict(target=0.5, r=0.5, d=1.25, resolution=28, c=0.5, macs=7_411_000, params=1_000_000)
    values = dict(tiny=(0.75, [55, 56, 57]), w=(1.0, [54, 55, 56]), r=(0.5, [50]))
    rows = [
        dict(network, method=method, w=w, accuracy=0.0, test_accuracy=value)
        for method, (w, found) in values.items()
        for value in found
    ]
    lines = readme.sweep_table(rows).splitlines()
    assert 'test top-1 %' in lines[0]
    assert lines[2] == '| tiny formula (fitted here) | 0.50 | 0.75 | 1.25 | 7.41 | 3 | 56.0 (53.5 to 58.5) | – | – |'
    assert lines[3] == '| resolution alone | 0.50 | 0.50 | 1.25 | 7.41 | 1 | 50.0 | – | – |'
    margin, p = stats.t.ppf(0.975, 4) * np.sqrt(2 / 3), stats.ttest_ind([55, 56, 57], [54, 55, 56]).pvalue
    assert lines[4].endswith(f'| 55.0 (52.5 to 57.5) | +1.0 (−{margin - 1:.1f} to +{margin + 1:.1f}) | {p:.2g} |')


def test_a_line_of_detectors_is_the_mean_of_the_seeds():
    same = dict(config='a', data='cells', input_size=320, epochs=5, weights='scratch', macs=2e8, params=7.5e5)
    rows = [dict(same, seed=seed, cpu_minutes=10 + seed, val_mAP=0.4 + seed / 10, test_mAP=0.3) for seed in (0, 1)]
    rows += [dict(same, config='b', seed=0, cpu_minutes=5, val_mAP=0.5, test_mAP='')]
    lines = readme.detectors_table(rows).splitlines()[2:]
    assert lines[0] == '| cells | `b` | 0.500 | – | 200 | 0.75 | 5 | 320 | 5 | 1 |'
    assert lines[1] == '| cells | `a` | 0.450 (0.400 to 0.500) | 0.300 (0.300 to 0.300) | 200 | 0.75 | 10 | 320 | 5 | 2 |'
    on_gpu = [dict(rows[0], cpu_minutes=''), rows[1]]
    assert '| 0.75 | 11 |' in readme.detectors_table(on_gpu)  # minutes of the CPU only
    assert '| 0.75 | – |' in readme.detectors_table(on_gpu[:1])


def test_a_network_of_timm_is_bold_if_it_is_faster_and_more_accurate():
    ours = readme.Backbone('Ours', 'ours', 152, 2_000_000, 50_000_000, 67.0, 66.9, 4.4)
    small = readme.Backbone('Small', 'timm:small', 224, 2_500_000, 57_000_000, None, 67.7, 3.6)
    slow = dataclasses.replace(small, name='Slow', milliseconds=4.5)
    worse = dataclasses.replace(small, name='Worse', timm_top1=66.8)
    lines = readme.backbones_table([small, slow, worse, ours]).splitlines()[2:]
    assert lines[0] == '| **Small** | `timm:small` | 224 | 2.50 | 57.0 | – | 67.7 | 3.6 |'
    assert [line.split(' | ')[0] for line in lines[1:]] == ['| Slow', '| Worse', '| Ours']


def test_accuracies_of_timm_are_those_of_networks_that_timm_has():
    import timm

    from tinynet_mm import files

    top1 = {row['name']: row['top1'] for row in files.read_csv(RESULTS / 'timm_imagenet.csv')}
    assert set(top1) <= set(timm.list_models())
    assert set(readme.NEIGHBOURS) <= set(top1)
    assert all(abs(top1[f'tinynet_{letter}'] - value) < 0.1 for letter, value in zip('bcde', (75.0, 71.2, 67.0, 59.9)))


# Latency ----------------------------------------------------------------------------------------------------------------------


def timed(model, runtime, median, **more):
    fixed = dict(precision='fp32', macs=2_000_000, height=32, width=32, times_roof=1.5, runs=10, warmup=1, threads=1, batch=1)
    rate = dict(gemm_gmacs_per_s=43.21, load=0.5, machine='cpu')
    return dict(model=model, runtime=runtime, median_ms=median) | fixed | rate | more


def test_the_latency_page_is_up_to_date():
    assert (ROOT / 'docs' / 'latency.md').read_text() == latency_tables.make_page(RESULTS)


def test_a_table_of_latency_has_a_column_for_each_runtime():
    rows = [
        timed('tinynet_a', 'torch 2 eager', 9),
        timed('tinynet_a', 'onnxruntime 1.2', 3),
        timed('configs/b.py', 'ncnn 1', 4.567),
    ]
    head, _, first, second = (
        [cell.strip() for cell in line.split('|')[1:-1]] for line in latency_tables.latency_table(rows).splitlines()
    )
    assert head[3:6] == ['PyTorch eager (ms)', 'ONNX Runtime (ms)', 'ncnn (ms)']
    assert first == ['`tinynet_a`', '32', '2', '9', '3', '–', '3', '1.5'] and second == [
        '`b`',
        '32',
        '2',
        '–',
        '–',
        '4.57',
        '–',
        '–',
    ]
    assert 'tinynet_a' not in latency_tables.latency_table(rows, ['configs/b.py'])
    assert latency_tables.protocol(rows).startswith('Median of 10 runs after 1, in turns of ten; 1 thread(s), batch 1; float32')


def test_ratios_stand_beside_those_of_the_paper():
    names = [name for pair in latency_tables.PAPER for name in pair]
    rows = [timed(name, 'ncnn 1', median) for name, median in zip(names, (1, 2, 9, 3))]
    assert [line.split('|')[2:4] for line in latency_tables.ratios_table(rows).splitlines()[2:]] == [
        ['                0.81 ', '   0.50 '],
        ['                0.80 ', '   3.00 '],
    ]


def test_the_time_of_a_file_is_compared_with_mmdet():
    rows = [timed('c', 'mmdet 3 inference_detector', 80), timed('a.onnx', 'onnxruntime 1.2', 20)]
    rows = [row | dict(pre_ms=part, network_ms=part, post_ms=part) for row, part in zip(rows, ('', 6))]
    *_, mmdet, ours = ([cell.strip() for cell in line.split('|')[1:-1]] for line in latency_tables.file_table(rows).splitlines())
    assert mmdet[1:] == ['32', '80', '–', '–', '–', '1'] and ours == ['onnxruntime 1.2', '32', '20', '6', '6', '6', '4']


def test_int8_has_its_speed_up_over_float_in_the_same_runtime():
    kinds = ('onnxruntime 1', 'onnxruntime 1 int8', 'openvino 1', 'openvino 1 int8')
    rows = [timed('a', kind, median, precision='int8' if 'int8' in kind else 'fp32') for kind, median in zip(kinds, (6, 3, 4, 8))]
    *_, line = latency_tables.quantised_table(rows).splitlines()
    assert [cell.strip() for cell in line.split('|')[1:-1]] == ['`a`', '6', '3', '2', '4', '8', '0.5']
    head = latency_tables.latency_table(rows).splitlines()[0]
    assert 'OpenVINO (ms)' in head and 'OpenVINO int8 (ms)' in head


def test_accuracy_and_latency_of_int8_stand_side_by_side():
    shared = dict(metric='mAP', value_percent=28.731)
    rows = [
        timed('a', 'openvino 1', 8, variant='float', speedup='', speedup_p10='', speedup_p90='', **shared),
        timed('a', 'openvino 1', 4, variant='int8', speedup=2.0, speedup_p10=1.81, speedup_p90=2.2, **shared),
    ]
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in latency_tables.int8_table(rows).splitlines()[2:]]
    assert lines[0] == ['`a`', 'openvino 1, float', 'mAP 28.73', '8', '–']
    assert lines[1][1:] == ['openvino 1, int8', 'mAP 28.73', '4', '2 (1.8 to 2.2)']


def test_targets_are_compared_with_the_measured_times():
    def row(model, runtime, median, roof='', height=320):
        return dict(model=model, runtime=runtime, median_ms=median, times_roof=roof, height=height)

    rows = [row(name, 'onnxruntime 1', 10.0, roof) for name, roof in (('tinynet_a', 1.3), ('tinynet_e', 1.6), ('timm:lcnet', 2))]
    rows += [row('timm:tinynet_a', 'torch 2 eager', 24.9), row('timm:lcnet', 'torch 2 eager', 25.0)]
    files = [row('x', 'mmdet 3 inference_detector', 40.0), row('x', 'onnxruntime 1', 10.0), row('x', 'ncnn 1', 1.0)]
    lines = [
        [cell.strip() for cell in line.split('|')[1:-1]] for line in latency_tables.targets_table(rows, files).splitlines()[2:]
    ]
    assert [(line[0], line[2], line[3], line[4]) for line in lines] == [
        ('`tinynet_a`', 'at least 2.5', '2.49', 'no'),
        ('`timm:lcnet`', 'at least 2.5', '2.5', 'yes'),
        ('`tinynet_a`', 'at most 1.2', '1.3', 'no'),
        ('`tinynet_e`', 'at most 1.7', '1.6', 'yes'),
        ('`SSDLite-320`', 'at least 4', '4', 'yes'),
    ]
