"""The report of a trained detector: one HTML page with curves, detections, scores of each class, and settings.

``write`` goes from a model and its data to rows (:mod:`.scores`), figures (:mod:`.figures`) and the page (:mod:`.page`).
"""

from .training import after_training
from .write import write

__all__ = ['after_training', 'write']
