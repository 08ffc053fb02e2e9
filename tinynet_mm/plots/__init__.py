"""Figures: sheets of detections, learning curves, accuracy against cost; each function receives plain rows.

``save(figure, 'x.png')`` writes PNG, PDF or SVG by the suffix.
"""

from .costs import Point, front, read_points, select_rows, tradeoff
from .curves import Panel, check_smoothing, default_panels, learning_curves, write_curves
from .sheet import Boxes, detection_sheet
from .style import COLOURS, MARKERS, check_suffix, new_figure, save, styled

__all__ = [
    'COLOURS', 'MARKERS', 'check_suffix', 'new_figure', 'save', 'styled',
    'Boxes', 'detection_sheet',
    'Panel', 'check_smoothing', 'default_panels', 'learning_curves', 'write_curves',
    'Point', 'front', 'read_points', 'select_rows', 'tradeoff',
]  # fmt: skip
