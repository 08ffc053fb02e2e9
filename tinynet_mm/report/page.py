"""The page of a report: a template with values, and figures as base64 in it; it loads nothing from the network."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from ..plots import styled

TEMPLATE = Path(__file__).with_name('page.html')


def embed(figure: Figure, kind: Literal['png', 'jpeg'] = 'png') -> str:
    """Return a figure as the address of an embedded picture; JPEG is smaller for photographs."""
    content = io.BytesIO()
    options: dict[str, Any] = dict(pil_kwargs=dict(quality=85)) if kind == 'jpeg' else {}
    with styled():
        figure.savefig(content, format=kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}'


def render(values: Mapping[str, Any]) -> str:
    """Return the page; all texts are escaped.

    Raises:
        jinja2.UndefinedError: a value of the template is missing.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['score'] = lambda value: '–' if value != value else f'{value:.3f}'
    return environment.from_string(TEMPLATE.read_text()).render(values)
