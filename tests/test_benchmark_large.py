"""The benchmark of a set of COCO's size on a small set: the drawn set is valid, and the rows hold what they say."""

from pathlib import Path

import numpy as np
import pytest
from test_detection_tools import tool

from tinynet_mm.bench import large
from tinynet_mm.data.check import check_split
from tinynet_mm.errors import UserError
from tinynet_mm.files import read_csv


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    return large.make_set(tmp_path_factory.mktemp('large') / 'set', images=70, boxes=400)


def test_the_drawn_set_is_valid_and_has_links(drawn):
    report = check_split(drawn / 'annotations' / 'train.json', drawn / 'images')
    kinds = {finding.kind for finding in report.findings}
    assert (report.images, report.boxes, report.classes) == (70, 400, 80) and kinds <= {'images without boxes'}
    assert (drawn / 'images' / f'{64:012d}.jpg').samefile(drawn / 'images' / f'{0:012d}.jpg')
    size = (drawn / 'annotations' / 'train.json').stat().st_size
    assert 400 < size / 400 < 600  # bytes for each box, of which COCO's file has 520


def test_evaluations_agree_and_a_difference_would_be_seen(drawn, monkeypatch):
    rows = large.compare_evaluation(drawn, each=10, rounds=1)
    assert [row['contender'] for row in rows] == ['pycocotools', 'faster-coco-eval']
    assert rows[1]['difference'] < 1e-6 and rows[0]['ratio'] == 1.0
    monkeypatch.setattr(large, 'evaluate', lambda name, *_: (1.0, np.full(12, len(name) / 100)))
    assert large.compare_evaluation(drawn, each=1, rounds=1)[1]['difference'] == pytest.approx(0.05)


def test_the_tool_writes_a_row_for_each_measure(tmp_path):
    sizes = ['--images', '90', '--boxes', '400', '--rounds', '1', '--batch', '4', '--workers', '1', '--detections', '5']
    assert tool('benchmark_large')([*sizes, '--out', str(tmp_path / 'a.csv')]) == 0
    rows = read_csv(tmp_path / 'a.csv')
    found = {(row['contender'], row['measure']): float(row['median']) for row in rows}
    assert found['data check', 'images'] == 90 and found['ours', 'peak_mib'] > 200
    workers, main, together = (found['ours', f'{name}_mib'] for name in ('worker', 'main', 'all'))
    assert together == pytest.approx(workers + main, abs=50) and min(workers, main) > 50


def test_too_small_and_a_process_that_ends(tmp_path):
    with pytest.raises(UserError, match='give at least 1 image and 80 boxes'):
        large.make_set(tmp_path, 1, 79)
    with pytest.raises(UserError, match='ended with exit status 3'):
        large.in_process(leave)


def leave(pipe) -> None:
    raise SystemExit(3)
