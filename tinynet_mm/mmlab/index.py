"""Write the index of models from the configs: ``model-index.yml`` and a ``metafile.yml`` for each group of configs.

MMEngine, mmdet, mmpretrain and mim find a model by its name in these files. Parameters and multiply-adds are counted by torch
on the built model (on the meta device, without memory), at the input size of the config; a test compares the classifiers with
:mod:`tinynet_mm.cost`. No weights are listed, because none of these models was trained here.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..cost import Cost
from ..files import write_text
from .configs import input_side
from .counting import count

HEADER = '# written by tools/make_index.py from the configs; do not edit\n'
PAPER = {
    'URL': 'https://arxiv.org/abs/2010.14819',
    'Title': "Model Rubik's Cube: Twisting Resolution, Depth and Width for TinyNets",
}
OTHER_PAPERS = {  # of collections whose detector is that of another paper
    'rtmdet': {
        'URL': 'https://arxiv.org/abs/2212.07784',
        'Title': 'RTMDet: An Empirical Study of Designing Real-Time Object Detectors',
    },
    'yolox': {'URL': 'https://arxiv.org/abs/2107.08430', 'Title': 'YOLOX: Exceeding YOLO Series in 2021'},
}


class Plain(yaml.SafeDumper):
    """YAML without anchors, which people read more easily."""

    def ignore_aliases(self, data: object) -> bool:
        """Write every value in full."""
        return True


@dataclass(frozen=True)
class Group:
    """Configs that share a metafile, in ``folder`` of the checkout; the first word of a name is its collection."""

    folder: str
    pattern: str
    task: str
    dataset: str


GROUPS = (
    Group('configs', '*_coco.py', 'Object Detection', 'COCO'),
    Group('configs/imagenet', '*_in1k*.py', 'Image Classification', 'ImageNet-1k'),
)


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the model of a config on the meta device, in evaluation mode; it has no weights and takes no memory."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model).eval()


def config_cost(cfg: Config) -> Cost:
    """Return the cost of the complete model for one image of the config's input size."""
    model, side = build_on_meta(cfg), input_side(cfg)
    image = torch.empty(1, 3, side, side, device='meta')
    return count(model, lambda: model(image, mode='tensor'))


def entry(group: Group, path: Path) -> dict:
    """One model of a metafile."""
    cfg = Config.fromfile(path)
    macs, params, _ = config_cost(cfg)
    return {
        'Name': path.stem,
        'In Collection': path.stem.split('_')[0],
        'Config': f'{group.folder}/{path.name}',
        'Metadata': {'FLOPs': macs, 'Parameters': params, 'Input Size': input_side(cfg), 'Training Data': group.dataset},
        'Results': [{'Task': group.task, 'Dataset': group.dataset, 'Metrics': {}}],
        'Weights': None,
    }


def metafile(root: Path, group: Group) -> dict:
    """The metafile of a group: its collection, and an entry for each of its configs."""
    paths = sorted((root / group.folder).glob(group.pattern))
    models = [entry(group, path) for path in paths]
    names = sorted({model['In Collection'] for model in models})
    about = {'Metadata': {'Training Data': group.dataset}, 'Paper': PAPER, 'README': 'README.md'}
    papers = {name: {'Paper': paper} for name, paper in OTHER_PAPERS.items()}
    return {'Collections': [{'Name': name, **about, **papers.get(name, {})} for name in names], 'Models': models}


def write_index(root: Path) -> list[Path]:
    """Write ``model-index.yml`` and the metafiles under ``root``; returns their paths."""
    written = []
    for group in GROUPS:
        written.append(_write(root / group.folder / 'metafile.yml', metafile(root, group)))
    index = {'Import': [str(path.relative_to(root)) for path in written]}
    return [*written, _write(root / 'model-index.yml', index)]


def _write(path: Path, content: dict) -> Path:
    return write_text(path, HEADER + yaml.dump(content, Dumper=Plain, sort_keys=False, width=120))
