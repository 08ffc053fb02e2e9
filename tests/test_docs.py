"""The documentation site: its navigation, the links of all pages, and the commands in them. mkdocs is not needed."""

import inspect
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from test_language import FORBIDDEN

from tinynet_mm import cli, command

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.rglob('*.md'))
NOTEBOOKS = sorted(DOCS.glob('*.ipynb'))
TEXTS = [ROOT / 'README.md', *PAGES]
TOOLS = command.tools()
FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)')


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pages_of(part: object) -> list[str]:
    """The pages of a part of mkdocs.yml's navigation."""
    if isinstance(part, str):
        return [part]
    return [page for item in (part.values() if isinstance(part, dict) else part) for page in pages_of(item)]


def slug(heading: str) -> str:
    """The anchor of a heading, as mkdocs and code hosts write it for headings of words."""
    words = re.sub(r'[`*]|\[([^]]*)\]\([^)]*\)', lambda match: match[1] or '', heading).lower()
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', words).strip())


def without_code(text: str) -> str:
    return re.sub(r'`[^`\n]*`', '', FENCE.sub('', text))


def commands(text: str) -> list[list[str]]:
    """The words of each ``tinynet`` command in the blocks of a shell and in sentences."""
    lines = [*(body for _, kind, body in FENCE.findall(text) if kind == 'sh'), *re.findall(r'`(tinynet [^`\n]+)`', text)]
    blocks = '\n'.join(lines).replace('\\\n', ' ')
    found = []
    for line in re.split(r'\n|&&|;(?= )', blocks):
        words = shlex.split(line, comments=True)
        starts = [i + 1 for i, word in enumerate(words) if word in ('tinynet', 'tinynet_mm')]
        found += [words[starts[0] :]] if starts and words[0] in ('tinynet', 'python', 'torchrun', 'srun') else []
    return found


def source_of(tool: Path) -> str:
    """The text of a tool, and of the functions that give it common options."""
    text, seen = tool.read_text(), set()
    while new := set(re.findall(r'\b(add_\w+)\(', text)) - seen:
        seen |= new
        text += ''.join(inspect.getsource(getattr(cli, name)) for name in new if hasattr(cli, name))
    return text


def options_in(words: list[str]) -> list[str]:
    return [word.partition('=')[0] for word in words if re.match(r'--[a-z]|-[a-z]$', word)]


def test_the_navigation_has_every_page_once():
    listed = pages_of(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in [*PAGES, *NOTEBOOKS])


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_links_point_to_files_and_headings(path):
    for link in LINK.findall(without_code(path.read_text())):
        if link.startswith(('http://', 'https://', 'mailto:')):
            continue
        file, _, anchor = unquote(link).partition('#')
        target = (path.parent / file).resolve() if file else path
        assert target.exists() and target.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall(r'^#+ (.+)$', FENCE.sub('', target.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_commands_name_verbs_and_options_that_exist(path):
    for verb, *rest in commands(path.read_text()):
        if verb in ('VERB', 'NAME', '--help', '--version'):
            continue
        assert verb in TOOLS, f'tinynet {verb}'
        source = source_of(TOOLS[verb])
        unknown = [option for option in options_in(rest) if f"'{option}'" not in source and option != '--help']
        assert unknown == [], f'tinynet {verb}'


@pytest.mark.parametrize('path', [page for page in PAGES if page.parent != DOCS], ids=name_of)
def test_pages_in_folders_have_standard_words(path):
    assert [match[0] for match in FORBIDDEN.finditer(path.read_text())] == []


def test_the_modules_of_the_reference_exist():
    named = [match for page in PAGES for match in re.findall(r'^::: (\S+)$', page.read_text(), re.MULTILINE)]
    paths = [ROOT.joinpath(*module.split('.')) for module in named]
    assert len(set(named)) == len(named) > 50
    assert [path for path in paths if not (path.with_suffix('.py').exists() or (path / '__init__.py').exists())] == []


def test_the_checks_find_what_is_wrong():
    text = '```sh\ncd x && tinynet train a \\\n    --no-such-option 3    # --comment\n```\n'
    assert commands(text) == [['train', 'a', '--no-such-option', '3']]
    assert "'--no-such-option'" not in source_of(TOOLS['train']) and "'--data-root'" in source_of(TOOLS['train'])
    assert slug('Are the maps faithful?') == 'are-the-maps-faithful'
