"""The paper's tables: our networks match its figures, and the files in the repository are up to date."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from tinynet_mm.paper import tables
from tinynet_mm.paper.tables import (
    EXCEPTIONS,
    MACS_TOLERANCE,
    NOT_THERE,
    PAPER,
    PARAMS_TOLERANCE,
    make_rows,
    read_csv,
    readme_table,
    to_csv,
    to_markdown,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def rows():
    return make_rows()


def is_near(row) -> bool:
    return abs(row.macs_difference) <= MACS_TOLERANCE and abs(row.params_difference or 0) <= PARAMS_TOLERANCE


def test_our_networks_match_the_papers_figures_except_those_explained(rows):
    ours = [row for row in rows if row.ours]
    assert len(ours) == 10 + 7 + 10 + 2 + 7
    assert {(row.table, row.network) for row in ours if not is_near(row)} == set(EXCEPTIONS)
    assert all(abs(row.macs_difference) < 0.035 for row in ours)


def test_networks_of_other_libraries_are_near_the_papers_figures(rows):
    compared = [row for row in rows if not row.ours and row.macs]
    assert all(abs(row.macs_difference) < 0.1 and abs(row.params_difference) < 0.2 for row in compared)


def test_all_rows_are_present_and_networks_without_a_library_are_named(rows):
    assert [(row.table, row.network) for row in rows] == [(printed.table, printed.name) for printed in PAPER]
    missing = {row.network for row in rows if row.source == NOT_THERE}
    unscaled = {'MobileNetV1 0.5x (r=0.86)', 'MnasNet-A1 0.35x', 'MnasNet-A1 0.35x (r=0.57)'}
    assert missing == {'FBNet-B', 'ProxylessNAS', *unscaled}
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


def test_tool_writes_the_files_and_the_readme_table(rows, tmp_path, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location('tools_make_tables', ROOT / 'tools' / 'make_tables.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tables, 'make_rows', lambda: rows)  # counted once
    files = ['--csv', str(tmp_path / 'new' / 'tables.csv'), '--docs', str(tmp_path / 'tables.md')]
    with pytest.raises(FileNotFoundError, match='tables.csv: no such table'):
        tool.main([*files, '--readme'])
    assert tool.main(files) == 0
    assert read_csv(tmp_path / 'new' / 'tables.csv') == rows
    assert (tmp_path / 'tables.md').read_text().count('\n| ') == 7 + 2 * 5 + len(rows)
    capsys.readouterr()
    assert tool.main([*files, '--readme']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and lines[:2] == readme_table(rows).splitlines()[:2]
    assert lines[5] == '| TinyNet-D | `tinynet_d` | 152 | 2.34 | 2.3 | 51.6 | 52 |'
    assert to_csv(rows).splitlines()[0].startswith('table,network,ours,input,params,macs,paper_params,paper_macs,source')
