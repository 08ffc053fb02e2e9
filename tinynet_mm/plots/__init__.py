"""Figures: detections side by side, learning curves, accuracy against cost; each function receives plain rows.
``save(figure, 'x.png')`` writes PNG, PDF or SVG by the suffix.
"""

from .sheet import Boxes, detection_sheet
from .style import COLOURS, MARKERS, check_suffix, new_figure, save, styled

__all__ = ['COLOURS', 'MARKERS', 'Boxes', 'check_suffix', 'detection_sheet', 'new_figure', 'save', 'styled']
