"""Errors as one sentence, and files that are complete or missing."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet_mm import errors, files
from tinynet_mm.errors import UserError, did_you_mean, listed

ROOT = Path(__file__).resolve().parents[1]


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


def test_a_pipe_or_a_socket_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 'socket'))
    for name in ('pipe', 'socket'):
        for write in (files.check_writable, lambda path: files.write_text(path, 'x')):
            with pytest.raises(UserError, match=f'cannot write .*{name}: it is a device, pipe or socket, not a file; choose'):
                write(tmp_path / name)
        assert (tmp_path / name).exists() and not (tmp_path / name).is_file()


def test_a_folder_without_results_is_removed(tmp_path):
    for name in ('a/b', 'a/c'):
        with pytest.raises(UserError), files.results_folder(tmp_path / name) as folder:
            if name == 'a/c':
                files.write_text(folder / 'x', '')
            raise UserError('nothing is found')
        assert sorted(path.name for path in tmp_path.rglob('*')) == ([] if name == 'a/b' else ['a', 'c', 'x'])


def test_an_output_is_no_input_also_through_a_link(tmp_path):
    files.write_text(tmp_path / 'a', '')
    (tmp_path / 'b').symlink_to('a')
    files.check_not_inputs([tmp_path / 'c'], [tmp_path / 'a', tmp_path / 'none'])
    for outputs, inputs in ((['a'], ['b']), (['b'], ['a'])):
        with pytest.raises(UserError, match='it is also an input'):
            files.check_not_inputs([tmp_path / name for name in outputs], [tmp_path / name for name in inputs])


# The environment of a tool ----------------------------------------------------------------------------------------------------


def call(*command: object, **options) -> subprocess.CompletedProcess:
    environment = os.environ | options.pop('env', {})
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, timeout=120, **options)


def test_an_output_that_nobody_reads_ends_a_tool_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    done = call('tools/cost.py', 'tinynet_a', '--stages', stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, '')


@pytest.mark.parametrize(
    'package, command, extra', [('pymoo', 'formula --budget 75M', 'formula'), ('torch', 'train rtmdet_tinynet_e_coco', 'onedl')]
)
def test_a_package_that_is_not_installed_is_one_sentence(package, command, extra):
    code = f'import sys; sys.modules["{package}"] = None; from tinynet_mm.command import main; main({command.split()})'
    done = call('-c', code, stdout=subprocess.PIPE)
    assert done.returncode == 2 and done.stdout == '' and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f'error: this command needs the package {package}, which is not installed: pip install ')
    assert f'"tinynet_mm[{extra}]"' in done.stderr


def test_another_broken_pipe_is_a_bug(capfd):
    def main():
        raise BrokenPipeError(errno.EPIPE, 'Broken pipe')

    with pytest.raises(SystemExit) as stop:
        errors.run(main)
    assert stop.value.code == 1 and 'Traceback' in capfd.readouterr().err


def test_a_terminal_in_ascii_and_an_unknown_backend_of_matplotlib(tmp_path):
    environment = dict(PYTHONIOENCODING='ascii', MPLBACKEND='nowhere')
    command = ('tools/plot_results.py', 'results/paper_imagenet.csv', '--y', 'top1', '--out', tmp_path / 'ü.png')
    done = call(*command, env=environment, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, '') and done.stdout.endswith('\\xfc.png\n')


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
