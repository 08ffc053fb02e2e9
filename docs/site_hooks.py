"""Hooks of mkdocs: formulas as MathML, and links to files of the repository outside of ``docs``.

The pages are read on a code host too. There, a formula is a fenced block ``math``, or TeX between a dollar sign with a backtick
and its reverse, and a link to a table is ``../results/x.csv``. On the site, MathML needs no script, and linked files are copied.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^```math\n(.+?)\n```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'\$`([^`]+)`\$')
OUTSIDE = re.compile(r'\]\((?:\.\./)+(results/[^)#]+|SECURITY\.md|README\.md)(#[^)]*)?\)')
PLACE = re.compile(r'(?:<p>)?MATHML(\d+)END(?:</p>)?')
formulas: list[str] = []


@cache
def linked_files() -> tuple[Path, ...]:
    """The files outside of ``docs`` that the pages link to."""
    return (ROOT / 'SECURITY.md', *sorted((ROOT / 'results').rglob('*.csv')))


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of ``docs`` to the site."""
    for path in linked_files():
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put marks in the place of formulas, and change the links that leave ``docs``."""
    up = '../' * page.file.src_uri.count('/')

    def place(tex: str, display: str) -> str:
        formulas.append(convert(tex, display=display))
        return f'MATHML{len(formulas) - 1}END'

    def link(match: re.Match) -> str:
        target = 'index.md' if match[1] == 'README.md' else match[1]
        return f']({up}{target}{match[2] or ""})'

    markdown = BLOCK.sub(lambda match: f'\n{place(match[1], "block")}\n', markdown)
    return OUTSIDE.sub(link, INLINE.sub(lambda match: place(match[1], 'inline'), markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Replace the marks by MathML."""
    return PLACE.sub(lambda match: formulas[int(match[1])], html)
