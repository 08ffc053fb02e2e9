"""The documentation and the messages are plain technical English: words that nobody searches for must not occur."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / 'README.md',
    *(ROOT / 'docs').glob('*.md'),
    *(ROOT / 'tinynet_mm').rglob('*.py'),
    *(ROOT / 'tools').glob('*.py'),
]
FILES = sorted(path for path in SOURCES if '.mim' not in path.parts)
FORBIDDEN = re.compile(
    r'\b(mend(s|ed|ing)?|anew|bears?|whence|thence|thereby|hitherto|to be had|cannot be had|can be had|gone on with|goes on with|'
    r'makes it anew|is no place in|all goes|nought|twain|amiss|behold|betwixt|albeit|save for|for want of|of whom|though it)\b',
    re.IGNORECASE,
)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_word_that_nobody_searches_for(path):
    lines = path.read_text().splitlines()
    found = [f'line {number}: {match[0]}' for number, line in enumerate(lines, 1) for match in FORBIDDEN.finditer(line)]
    assert not found
