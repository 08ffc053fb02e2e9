"""For the API reference: Sphinx roles in docstrings (a role name between colons, then a name in backticks) become code.

It is an extension of griffe, which reads the sources for mkdocstrings.
"""

import re
from typing import Any

import griffe

ROLE = re.compile(r':(?:py:)?(?:mod|class|func|meth|attr|data|exc|obj):`([^`]+)`')


def as_code(match: re.Match) -> str:
    """The name of a role as code; ``~`` in front of it leaves its last part."""
    name = match[1]
    return f'`{name.rsplit(".", 1)[-1] if name.startswith("~") else name.lstrip(".")}`'


class Roles(griffe.Extension):
    """Replace the roles in the docstring of each object."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(as_code, obj.docstring.value)
