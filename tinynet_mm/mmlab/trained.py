"""Load a trained model as deployment takes it: the model, its test pipeline, its cost and where it comes from."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from torch import nn

from ..data.memory import read_from_files
from . import checkpoints, configs, editing, inference
from .counting import count

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Attributes:
        model: of mmdet or mmpretrain with its weights, config and ``dataset_meta``.
        pipeline: the steps of its test pipeline.
        size: (height, width) of the input in pixels, if it is not that of the pipeline; None otherwise.
        about: ``macs`` of an image, ``params``, ``config``, and ``checkpoint``, the SHA-256 of the file.
    """

    model: nn.Module
    pipeline: list[ConfigDict]
    size: tuple[int, int] | None
    about: dict[str, Any]

    def functions(self) -> dict[str, Callable[[Sequence[np.ndarray]], Any]]:
        """The model on BGR images: ``detect`` of a detector, its boxes, scores and labels; or ``classify``, its probabilities."""
        if not hasattr(self.model, 'bbox_head'):
            return {'classify': lambda images: inference.classify(self.model, images)}

        def detect(images: Sequence[np.ndarray]) -> list[tuple]:
            return [(found.boxes, found.scores, found.labels) for found in inference.detect(self.model, images)]

        return {'detect': detect}


def load_trained(
    config: str,
    checkpoint: str,
    data_root: Path | None = None,
    input_size: int | None = None,
    split: str = 'val',
    options: Sequence[str] = (),
    note: Callable[[str], object] = LOGGER.warning,
) -> Trained:
    """Load a model with the weights of a checkpoint.

    Args:
        config: a config file, or a name like ``mmdet::ssd/...``.
        checkpoint: the path or URL of the weights.
        data_root: folder of the data set that the model is trained on; None keeps that of the config.
        input_size: side of the square input in pixels; None keeps the size of the config.
        split: the split that the caller uses.
        options: ``KEY=VALUE`` settings to change.
        note: receives a sentence for each split that another one replaces; by default it is logged.

    Raises:
        FileNotFoundError, UserError: no such file, or files that do not belong together.
    """
    cfg = configs.load_config(config)
    head = cfg.model.get('bbox_head') or {}
    if input_size is not None:
        editing.check_side(input_size, head)
    side = input_size if 'input_size' in head else None
    editing.prepare(cfg, data_root, side, (split,), note)
    configs.merge_options(cfg, configs.parse_options(options))
    model = checkpoints.load_model(read_from_files(cfg), checkpoint)
    size = (input_size, input_size) if input_size else None
    about = origin(model, config, checkpoint, size or configs.input_size(model.cfg))
    return Trained(model, configs.test_pipeline(model.cfg), size, about)


def origin(model: nn.Module, config: str, checkpoint: str, size: tuple[int, int]) -> dict[str, Any]:
    """The cost of a model for an image of ``size``, the name of its config and the SHA-256 of its checkpoint."""
    image = torch.zeros(1, 3, *size, device=next(model.parameters()).device)
    cost = count(model, lambda: model(image, mode='tensor'))
    file = Path(checkpoint)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ''
    return dict(macs=cost.macs, params=cost.params, config=configs.config_name(config), checkpoint=digest)
