"""Every command of the README and of docs/, in a block or in a sentence, has a verb and options that exist."""

import contextlib
import io
import re
import runpy
from functools import cache
from pathlib import Path

import pytest

from tinynet_mm import command

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
PLACEHOLDERS = {'VERB', 'NAME'}
COMMAND = re.compile(r'(?:tinynet (\S+)|python (?:-m tinynet_mm (\S+)|tools/(\w+)\.py))(.*)')


def commands(text: str) -> list[tuple[str, set[str]]]:
    """The verb or tool of each command of a page, and its options."""
    blocks = [line for block in re.findall(r'^```sh\n(.*?)^```', text, re.DOTALL | re.MULTILINE) for line in block.splitlines()]
    found = []
    for line in (*blocks, *re.findall(r'`([^`\n]+)`', text)):
        if match := COMMAND.match(line.strip()):
            verb, module, tool, rest = match.groups()
            found.append((verb or module or tool, set(re.findall(r'(?<!\S)--[a-z][\w-]*', rest.partition(' #')[0]))))
    return found


@cache
def options_of(verb: str) -> frozenset[str]:
    """The options in the help of a tool, and of its stages."""
    tools = command.tools()
    path = tools[verb] if verb in tools else ROOT / 'tools' / f'{verb}.py'
    helps = [['--help'], *([stage, '--help'] for stage in ('sample', 'run', 'collect', 'fit', 'compare', 'report'))]
    text = io.StringIO()
    main = runpy.run_path(str(path))['main']
    for arguments in helps if path.stem == 'sweep' else helps[:1]:
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            main(arguments)
    return frozenset(re.findall(r'--[a-z][\w-]*', text.getvalue()))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_have_verbs_and_options_that_exist(page):
    for verb, options in commands(page.read_text()):
        if verb in PLACEHOLDERS or verb.startswith('-'):
            continue
        assert verb in command.tools() or (ROOT / 'tools' / f'{verb}.py').is_file(), f'{page.name}: {verb}'
        assert options <= options_of(verb) | {'--help'}, f'{page.name}: {verb}'


def test_commands_are_found_in_blocks_and_in_sentences():
    text = 'Use `tinynet cost --json` or\n\n```sh\npython tools/train.py a --resume   # --not\n```\n`no tinynet`'
    assert commands(text) == [('train', {'--resume'}), ('cost', {'--json'})]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 100
