"""What a budget in milliseconds is measured on: a bare classifier, or the model of a config with another backbone.

A classifier takes images of the network's resolution. A detector keeps the input size of its config, as the detectors of the
paper do (table 5: SSDLite with 512 x 512 pixels for all backbones): r of the formula then selects depth and width only.
:func:`~tinynet_mm.formula.configs.write_configs` writes its two configs by the same rules.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope

from ..archs import ACTIVATIONS, FAMILIES, PRESETS, Arch, preset
from ..archs.networks import with_squeeze_excite
from ..data.memory import read_from_files
from ..deploy.describe import describe
from ..deploy.graphs import check_head
from ..deploy.latency import Built
from ..deploy.spec import Spec
from ..errors import UserError
from ..formula.bases import load_base
from ..formula.configs import backbone
from ..formula.tiny import Solution
from ..mmlab.checkpoints import build_model
from ..mmlab.configs import input_side, is_classifier, load_config, test_pipeline
from ..mmlab.running import config_errors
from ..models import Classifier
from ..models.base import ScaledBackbone
from ..paper.printed import BUILT, neighbours
from .networks import SEED, with_loss


@dataclass(frozen=True)
class Target:
    """What is measured.

    Attributes:
        name: in words.
        base: the network that the formula scales.
        classes: of the classifier whose multiply-adds the formula counts.
        build: builds the model of a network with random weights.
        own: the network of the config, None without a config.
        detector: whether the model is a detector.
    """

    name: str
    base: Arch
    classes: int
    build: Callable[[Arch], Built]
    own: Arch | None = None
    detector: bool = False


def bare_classifier(base: Arch, classes: int = 1000) -> Target:
    """A classifier without a config."""

    def build(arch: Arch) -> Built:
        spec = Spec('classification', 'logits', (), arch.resolution, arch.resolution)
        return Classifier(MODELS.build(backbone(arch)), classes), spec

    return Target(f'a classifier of {classes} classes', base, classes, build)


def contenders(target: Target, solution: Solution) -> dict[str, Built]:
    """The models that are timed in turns for a report, by name.

    They are the solved network, that of the config, and for a classifier the published networks next to the solved one, as bare
    classifiers.
    """
    found = {'THIS NETWORK, untrained': target.build(solution.arch)}
    if target.own:
        found['the network of the config'] = target.build(target.own)
    published = [] if target.detector else neighbours(solution.cost.macs, solution.arch.family)
    build = bare_classifier(target.base, target.classes).build
    return found | {
        f'{row.name}, {row.top1} % in the paper': build(preset(BUILT[row.name])) for row in published if row.name in BUILT
    }


def of_config(config: str, base: str | None = None, classes: int = 1000) -> Target:
    """The model of a config, whose backbone is replaced by the network; other arguments of the backbone stay.

    Args:
        config: the config of a classifier or of a single-stage detector.
        base: a name or table of the backbone's family. By default it is the base of the config's backbone with the same
            activation and squeeze-excite, and, in a classifier, with the input scaled like that of the config.
        classes: see :class:`Target`; for a classifier it is the number of the config.

    Raises:
        FileNotFoundError, UserError: no such config, a backbone of another package, a base of another family, or a model that
            cannot be exported.
    """
    cfg = read_from_files(load_config(config))
    old, name = _own_backbone(cfg, config), Path(config).name
    known = load_base(base) if base else _base_of(cfg.model.backbone, old.arch, name)
    if known.family != old.arch.family:
        raise UserError(
            f'the base {known.name} is a {known.family}, but the backbone of {name} is a {old.arch.family}; give a base of this '
            f'family, like {FAMILIES[old.arch.family].base}.'
        )
    build = _builder(cfg, old.out_channels, name)
    if not is_classifier(cfg):
        model, spec = build(old.arch)
        check_head(model)
        words = f'the detector of {name} with this backbone, input {spec.height}x{spec.width} px'
        return Target(words, known, classes, build, old.arch, detector=True)
    if not base:
        known = replace(known, resolution=-(-known.resolution * input_side(cfg) // old.arch.resolution))  # rounded up
    classes = cfg.model.head.num_classes
    return Target(f'the classifier of {name} with this network, {classes} classes', known, classes, build, old.arch)


def _own_backbone(cfg: Config, config: str) -> ScaledBackbone:
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    part = copy.deepcopy(cfg.get('model', {}).get('backbone'))
    kinds = sorted({family.backbone for family in FAMILIES.values()})
    with config_errors():
        found = MODELS.build(part) if part else None
    if not isinstance(found, ScaledBackbone):
        kind = part.get('type') if part else 'nothing'
        raise UserError(
            f'{config} has {kind} as its backbone, which the formula does not scale; give a config with TinyNet, '
            f'{", ".join(kinds)}.'
        )
    return found


def _base_of(backbone: Mapping, arch: Arch, name: str) -> Arch:
    """The base of a backbone's network, with its activation and squeeze-excite."""
    stem = arch.name.partition('(')[0].partition(',')[0]
    if stem not in PRESETS:
        raise UserError(f'the backbone of {name} is a table of its own, {arch.name}; give its base with --base.')
    base = load_base(PRESETS[stem][0])
    ratios = {stage.se for stage in arch.stages}
    if len(ratios) == 1 and ratios != {stage.se for stage in base.stages}:
        base = with_squeeze_excite(base, *ratios)
    kind = (backbone.get('act_cfg') or {}).get('type') or arch.activation
    return replace(base, activation=kind) if kind in ACTIVATIONS and kind != FAMILIES[arch.family].activation else base


def _builder(cfg: Config, widths: Sequence[int], name: str) -> Callable[[Arch], Built]:
    def build(arch: Arch) -> Built:
        changed = copy.deepcopy(cfg)
        changed.model.backbone['arch'] = arch
        connect(changed.model, widths, MODELS.build(changed.model.backbone).out_channels, name)
        model = with_loss(build_model(changed, SEED))
        size = (arch.resolution, arch.resolution) if is_classifier(cfg) else None
        return model, describe(model, test_pipeline(cfg), size, post='logits' if is_classifier(cfg) else 'decoded')

    return build


def connect(model: ConfigDict, old: Sequence[int], new: Sequence[int], name: str) -> None:
    """Set the input widths of the parts after a backbone, and the output widths of a neck that passes them on (SSDNeck).

    Args:
        model: the config of a model, which is changed.
        old: widths of the backbone's maps that ``model`` is written for.
        new: widths of the other backbone.
        name: of the config, for messages.

    Raises:
        UserError: the first part with input widths has others than ``old``.
    """
    before, after, parts = tuple(old), tuple(new), _parts(model)
    for part in parts:
        given, passed = part['in_channels'], part.get('out_channels')
        if given == before[-1]:
            part['in_channels'] = after[-1]
            return
        if isinstance(given, int) or tuple(given) != before:
            raise UserError(
                f'{name}: {part.get("type")} has in_channels={given}, but its input has {before}; correct the config.'
            )
        part['in_channels'] = type(given)(after)  # mmdet's FPN takes lists only
        if isinstance(passed, int) or not passed or tuple(passed[: len(before)]) != before:
            return
        before, after = tuple(passed), (*after, *passed[len(before) :])
        part['out_channels'] = type(passed)(after)


def _parts(model: ConfigDict) -> list[ConfigDict]:
    """The necks and the head with input widths, in order."""
    found: list[ConfigDict] = []
    for key in ('neck', 'bbox_head', 'head'):
        part = model.get(key) or []
        found += part if isinstance(part, list | tuple) else [part]
    return [part for part in found if 'in_channels' in part]
