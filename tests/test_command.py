"""The command ``tinynet``: every verb is the tool of its file, starts without torch, and is completed by the shell."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet_mm import __version__, command
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import configs, registration

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    *('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'timm', 'scipy', 'sklearn', 'pymoo', 'matplotlib', 'pandas'),
    *('onnx', 'onnxruntime', 'openvino', 'ray'),
)
VERBS = command.tools()
HELP = f"""
import sys
from tinynet_mm.command import main
sys.argv[1:] = [{{verb!r}}, '--help']
try:
    main()
finally:
    print('loaded:', *[name for name in {HEAVY} if name in sys.modules])
"""


def call(*words: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize('verb', VERBS)
def test_the_help_of_a_verb_names_it_and_loads_nothing_heavy(verb):
    done = call('-c', HELP.format(verb=verb))
    assert done.returncode == 0 and done.stdout.startswith(f'usage: tinynet {verb} '), done.stderr
    assert 'tools/' not in done.stdout.replace('://', '') and done.stdout.endswith('loaded:\n')
    assert re.search(rf'^ *tinynet {verb}\b', done.stdout.partition('\n\n')[2], re.MULTILINE)  # the examples of the tool


def test_every_tool_of_the_wheel_has_a_verb_in_the_overview():
    constants = [node for node in ast.parse((ROOT / 'setup.py').read_text()).body if isinstance(node, ast.Assign)]
    assert registration.NOT_SHIPPED in [ast.literal_eval(node.value) for node in constants if node.targets[0].id == 'NOT_SHIPPED']
    files = {path.name for path in (ROOT / 'tools').glob('*.py')} - set(registration.NOT_SHIPPED)
    assert {path.name for path in VERBS.values()} == files
    assert {f'{stem}.py' for stem in command.FILES.values()} <= files
    lines = command.overview().splitlines()
    assert [sum(line.startswith(f'  {verb} ') for line in lines) for verb in VERBS] == [1] * len(VERBS)
    assert all(line.count('(') == line.count(')') for line in lines)
    assert {verb for verbs in command.GROUPS.values() for verb in verbs} <= set(VERBS)


def test_a_verb_is_the_program_of_its_file(tmp_path):
    words = ('tinynet_e', 'resnet18', '--stages')
    by_verb, by_file = call('-m', 'tinynet_mm', 'cost', *words, cwd=tmp_path), call(ROOT / 'tools' / 'cost.py', *words)
    assert by_verb.returncode == 0 and by_verb.stdout == by_file.stdout
    wrong = call('-m', 'tinynet_mm', 'cost', 'tinynet_f', cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.startswith('error: ') and len(wrong.stderr.splitlines()) == 1


def test_an_overview_that_nobody_reads_or_that_cannot_be_written():
    reader, writer = os.pipe()
    os.close(reader)
    command_line = [sys.executable, '-m', 'tinynet_mm', '--help']
    done = subprocess.run(command_line, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, '')


def test_without_a_verb_and_with_a_wrong_one(capsys):
    assert command.main([]) == command.main(['--help']) == 0
    assert capsys.readouterr().out.startswith('usage: tinynet VERB')
    assert command.main(['--version']) == 0 and capsys.readouterr().out == f'tinynet_mm {__version__}\n'
    with pytest.raises(SystemExit):
        command.main(['help', 'cost'])
    assert capsys.readouterr().out.startswith('usage: tinynet cost ')
    with pytest.raises(UserError, match="no verb 'tran'. Did you mean train?"):
        command.main(['tran'])


@pytest.mark.parametrize(
    'line, expected',
    [
        ('tinynet tr', 'train'),
        ('tinynet train --sched', '--schedule'),
        ('tinynet train x.py --schedule ', 'short'),
        ('tinynet train rtmdet_tinynet_e', 'rtmdet_tinynet_e_coco'),
        ('tinynet sweep f', 'fit'),
        ('tinynet cam rtmdet_tinynet_e', 'rtmdet_tinynet_e_coco'),
        ('tinynet check rtmdet_tinynet_e', 'rtmdet_tinynet_e_coco'),
        ('tinynet predict rtmdet_tinynet_e', 'rtmdet_tinynet_e_coco'),
        ('tinynet cost tinynet_', 'tinynet_e'),
    ],
)
def test_the_shell_completes_verbs_options_and_configs(line, expected, tmp_path):
    out = tmp_path / 'completions'
    names = {'_ARGCOMPLETE': '1', 'COMP_LINE': line, 'COMP_POINT': str(len(line)), '_ARGCOMPLETE_IFS': '\n'}
    call('-m', 'tinynet_mm', env=os.environ | names | {'_ARGCOMPLETE_STDOUT_FILENAME': str(out)}, cwd=tmp_path)
    assert expected in [word.strip() for word in out.read_text().split('\n')]


def test_our_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    expected = (ROOT / 'configs' / 'rtmdet_tinynet_e_coco.py').resolve()
    monkeypatch.chdir(tmp_path)
    for name in ('rtmdet_tinynet_e_coco', 'rtmdet_tinynet_e_coco.py', 'configs/rtmdet_tinynet_e_coco.py'):
        assert Path(configs.load_config(name).filename).resolve() == expected
    assert configs.load_config('tinynet_e_in1k').filename.endswith('imagenet/tinynet_e_in1k.py')
    with pytest.raises(FileNotFoundError, match='Did you mean rtmdet_tinynet_e_coco'):
        configs.load_config('rtmdet_tinynet_f_coco')
    with pytest.raises(FileNotFoundError, match='an empty name: no such config. Give a file, or a name such as'):
        configs.load_config('')
    with pytest.raises(FileNotFoundError, match='other/rtmdet_tinynet_e_coco.py: no such config'):
        configs.load_config('other/rtmdet_tinynet_e_coco.py')
    mine = tmp_path / 'rtmdet_tinynet_e_coco'
    mine.write_text('model = dict(type="mine")')
    with pytest.raises(Exception, match='is not a config|Only py'):
        configs.load_config('rtmdet_tinynet_e_coco')  # a file of the user comes first


def test_names_of_our_configs_are_unique():
    paths = [path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts]
    assert len(registration.shipped_configs()) == len(paths)


def test_every_config_is_found_by_its_name():
    known = dict(tinynet_e=False, resnet18=False) | {'x.py': True, 'mmdet::ssd/x.py': True}
    assert {text: registration.names_config(text) for text in known} == known
    for name, path in registration.shipped_configs().items():
        assert registration.names_config(name)
        assert configs._shipped_path(name) == path and configs.config_name(str(path)) == name
