"""Errors as one sentence, and files that are complete or missing."""

import errno
import json

import pytest

from tinynet_mm import files
from tinynet_mm.errors import UserError, did_you_mean, listed


def test_did_you_mean_never_proposes_the_word_itself():
    assert did_you_mean('tinynet_f', ['tinynet_e', 'resnet50']) == ' Did you mean tinynet_e?'
    assert did_you_mean('tinynet_e', ['tinynet_e']) == ''
    assert did_you_mean('Ant', ['ANT2', 'bee']) == ' Did you mean ANT2?'


@pytest.mark.parametrize('count, text', [(0, ''), (1, '0'), (3, '0, 1, 2'), (5, '0, 1, 2 and 2 more')])
def test_listed(count, text):
    assert listed(range(count), 3) == text


def test_a_file_keeps_its_old_content_if_writing_fails(tmp_path):
    path = files.write_text(tmp_path / 'new' / 'a.txt', 'old')
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError('a bug')
    assert path.read_text() == 'old' and [p.name for p in path.parent.iterdir()] == ['a.txt']


def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match='cannot write .*a.csv: No space left'), files.atomic(tmp_path / 'a.csv') as temporary:
        temporary.write_text('half')
        raise OSError(errno.ENOSPC, 'No space left on device', str(temporary))
    assert not list(tmp_path.iterdir())


def test_an_output_below_a_file_is_one_sentence(tmp_path):
    files.write_text(tmp_path / 'taken', '')
    with pytest.raises(UserError, match='cannot write .*taken/x.json'):
        files.write_json(tmp_path / 'taken' / 'x.json', {})


def test_a_path_that_cannot_be_written_is_found_before_the_work(tmp_path):
    (tmp_path / 'file').touch()
    for path, words in ((tmp_path, 'it is a folder'), (tmp_path / 'file' / 'a' / 'b.csv', 'file is not a folder')):
        with pytest.raises(UserError, match=words):
            files.check_writable(path)
    files.check_writable(tmp_path / 'new' / 'folder' / 'b.csv')
    assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_csv_round_trip_keeps_types(tmp_path):
    rows = [dict(name='a,b', macs=5, top1=0.5), dict(name='é\n', macs=-3, top1=1e-9)]
    assert files.read_csv(files.write_csv(tmp_path / 'rows.csv', rows), ('macs',)) == rows


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_json_in_any_unicode_encoding(tmp_path, encoding):
    (tmp_path / 'a.json').write_bytes(json.dumps(dict(a='é')).encode(encoding))
    assert files.read_json(tmp_path / 'a.json') == dict(a='é')


def test_a_file_that_is_not_json_is_one_sentence(tmp_path):
    (tmp_path / 'a.json').write_text('{')
    with pytest.raises(UserError, match='a.json is not JSON'):
        files.read_json(tmp_path / 'a.json')


def test_the_machine_has_a_name():
    assert files.machine_name().endswith(' cores')
