"""The documentation and the messages are plain technical English: words that readers do not search for must not occur.

The list has archaic and literary words, and words that the old texts used in an unusual sense (a file that "lies" somewhere, a
class that "stands" in a registry, a folder called a "room"). A new text that needs one of them uses the standard term instead.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / 'README.md',
    ROOT / 'Makefile',
    ROOT / 'setup.py',
    *(ROOT / 'docs').glob('*.md'),
    *(folder for name in ('tinynet_mm', 'tools', 'configs') for folder in (ROOT / name).rglob('*.py')),
    *(path for path in (ROOT / 'tests').glob('*.py') if path.name != Path(__file__).name),
]
FILES = sorted(path for path in SOURCES if '.mim' not in path.parts)
ARCHAIC = r"""mend|mends|mended|mending|anew|whence|thence|hither|hitherto|thereby|therein|thereof|wherein|naught|nought|twain
amiss|behold|betwixt|albeit|lest|ere|seldom|bear|bears|bore|wont|homeless|stranger|strangers"""
UNUSUAL = r"""lie|lies|lay|lain|stand|stands|stood|told|tell|tells|room|rooms|house|wit|speak|speaks|spoke|whatever|whole of"""
PHRASES = r"""to be had|can be had|cannot be had|go on|goes on|going on|gone on|all goes|no place in|save for|for want of
though it|of one's own|of its own accord|as it were|by and by|no more than that|makes it anew|stands in|stand-in|stand-ins"""
FORBIDDEN = re.compile(
    r'(?<![.\w\-/])(' + '|'.join('|'.join((ARCHAIC, UNUSUAL, PHRASES)).replace('\n', '|').split('|')) + r')(?![\w\-/(])',
    re.IGNORECASE,
)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_standard_words(path):
    lines = path.read_text().splitlines()
    assert [f'line {n}: {match[0]}' for n, line in enumerate(lines, 1) for match in FORBIDDEN.finditer(line)] == []


@pytest.mark.parametrize('text', ['The file lies beside it.', 'It goes on.', 'is not to be had here', 'made anew', 'a stand-in'])
def test_the_old_style_is_found(text):
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize('text', ['a threshold', 'standard', 'file.tell()', 'stand-alone', 'unlikely', 'relies', 'a mushroom'])
def test_standard_words_are_not_found(text):
    assert not FORBIDDEN.search(text)
