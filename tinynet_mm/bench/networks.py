"""Networks for the table of latency: a preset, a config, an exported file, or a classifier of timm or torchvision.

Weights are random, except in files: the time of a network does not depend on them, that of suppression does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..archs.networks import PRESETS, preset
from ..data.memory import read_from_files
from ..deploy.describe import describe
from ..deploy.export import make_graph, random_images
from ..deploy.spec import Spec
from ..errors import MissingPackageError, UserError, did_you_mean
from ..formula.configs import backbone
from ..mmlab.checkpoints import build_model
from ..mmlab.configs import input_size, is_classifier, load_config, test_pipeline
from ..mmlab.counting import count
from ..mmlab.editing import set_input_size, split_side
from ..mmlab.registration import names_config
from ..models import Classifier
from .exported import is_file, spec_of

SEED = 0


@dataclass(frozen=True)
class Candidate:
    """A network to time.

    Attributes:
        name: as the user wrote it.
        spec: its input and outputs, with the MACs of one image, 0 if they are unknown.
        model: the module that is exported, None for a file.
        graph: the module that maps images to the outputs of the exported file, None for a file.
        path: the file, None for a module.
    """

    name: str
    spec: Spec
    model: nn.Module | None = None
    graph: nn.Module | None = None
    path: Path | None = None


def find_network(name: str, batch: int = 1) -> Candidate:
    """The network that a name means; modules are built with random weights.

    Args:
        name: a preset, ``timm:NAME``, ``torchvision:NAME``, a config (``.py`` or ``package::name``; ``@320`` after it sets the
            side of the input of a detector), or an exported file.
        batch: images in a batch.

    Raises:
        FileNotFoundError, UserError: an unknown name, a config that cannot be exported, or a file of another tool or for another
            batch.
        MissingPackageError: timm, torchvision or the runtime of the file is not installed.
    """
    library, mark, inner = name.partition(':')
    if is_file(name):
        return Candidate(name, spec_of(name, batch), path=Path(name))
    if mark and library in LIBRARIES:
        return _from_module(name, *LIBRARIES[library](inner), batch)
    config, side = split_side(name)
    if names_config(config):
        return _from_config(name, config, side, batch)
    if name in PRESETS:
        arch = preset(name)
        return _from_module(name, lambda: Classifier(MODELS.build(backbone(arch))), arch.resolution, batch)
    raise UserError(
        f'unknown network {name!r}.{did_you_mean(name, PRESETS)} Give a preset ({", ".join(PRESETS)}), timm:NAME, '
        'torchvision:NAME, a config (.py or package::name; @320 sets its input size), or a file of `tinynet export` '
        '(.onnx, .xml, .param).'
    )


def _from_module(name: str, build: Callable[[], nn.Module], side: int, batch: int) -> Candidate:
    torch.manual_seed(SEED)
    model = build().eval()
    found = _candidate(name, model, Spec('classification', 'logits', (), side, side, batch=batch))
    return replace(found, spec=replace(found.spec, post='raw')) if isinstance(model, HeadOutputs) else found


def _from_config(name: str, config: str, side: int | None, batch: int) -> Candidate:
    cfg = read_from_files(load_config(config))
    if side:
        set_input_size(cfg, side)
    model = with_loss(build_model(cfg, SEED))
    size = input_size(cfg) if is_classifier(cfg) else None
    post = 'logits' if is_classifier(cfg) else 'decoded'
    return _candidate(name, model, describe(model, test_pipeline(cfg), size, post=post, batch=batch))


def with_loss(model: nn.Module) -> nn.Module:
    """The model; a missing ``loss_cls`` of mmdet's ``SSDHead``, which its post-processing reads, is added."""
    head: Any = getattr(model, 'bbox_head', None)
    if head is not None and type(head).__name__ == 'SSDHead' and not hasattr(head, 'loss_cls'):
        head.loss_cls = MODELS.build(dict(type='mmdet.CrossEntropyLoss'))
    return model


def _candidate(name: str, model: nn.Module, spec: Spec) -> Candidate:
    graph, _, spec = make_graph(model, spec)
    cost = count(graph, lambda: graph(random_images(spec, 1)))
    return Candidate(name, replace(spec, macs=cost.macs, params=cost.params), model, graph)


# Other libraries --------------------------------------------------------------------------------------------------------------


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(f'{name.partition(".")[0]} is not installed: pip install {name.partition(".")[0]}') from error


def _from_timm(name: str) -> tuple[Callable[[], nn.Module], int]:
    timm = _library('timm')
    if not timm.is_model(name):
        raise UserError(f'unknown network timm:{name}.{did_you_mean(name, timm.list_models())} timm.list_models() has all.')
    settings = timm.get_pretrained_cfg(name)
    side = 224 if settings is None else settings.input_size[1]
    return lambda: timm.create_model(name, pretrained=False), side


def _from_torchvision(name: str) -> tuple[Callable[[], nn.Module], int]:
    models = _library('torchvision.models')
    names, detectors = (models.list_models(module=module) for module in (models, models.detection))
    if name in detectors:
        return _torchvision_ssd(models, name)
    if name not in names:
        raise UserError(f'unknown network torchvision:{name}.{did_you_mean(name, names)} torchvision.models has all.')
    weights: Any = models.get_model_weights(name)
    side = weights.DEFAULT.transforms().crop_size[0]
    options: dict[str, Any] = dict(aux_logits=False, init_weights=False) if name in ('googlenet', 'inception_v3') else {}
    return lambda: models.get_model(name, weights=None, **options), side


def _torchvision_ssd(models: Any, name: str) -> tuple[Callable[[], nn.Module], int]:
    if not name.startswith('ssd'):
        raise UserError(
            f'torchvision:{name} is not supported; of the detectors, ssd300_vgg16 and ssdlite320_mobilenet_v3_large are.'
        )
    return lambda: HeadOutputs(models.get_model(name, weights=None, weights_backbone=None)), int(name[3:].strip('lite')[:3])


class HeadOutputs(nn.Module):
    """The outputs of the head of an SSD of torchvision, not decoded, in one tensor; its resizing and suppression are left out."""

    def __init__(self, detector: Any):
        super().__init__()
        self.network, self.box_head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to offsets and class scores (B, P, 4 + K)."""
        found = self.box_head(list(self.network(images).values()))
        return torch.cat([found['bbox_regression'], found['cls_logits']], dim=2)


LIBRARIES: dict[str, Callable[[str], tuple[Callable[[], nn.Module], int]]] = dict(timm=_from_timm, torchvision=_from_torchvision)
