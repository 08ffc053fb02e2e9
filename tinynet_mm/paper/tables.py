"""Parameters and multiply-adds of the networks in the paper's tables 1, 2, 3, 5 and 6, compared with the printed figures.

Networks of this package are computed from their stage tables in closed form. The networks they are compared with are built by
timm or torchvision, if these have them, and counted by torch. There are no accuracies: none of these networks was trained.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import efficientnet, mobilenetv3

from .. import files
from ..archs import EFFICIENTNET_B0, INFERRED, PRESETS, Arch, Scaling, preset, scale
from ..cost import Cost, cost
from ..files import csv_text
from ..mmlab.counting import count_images
from .printed import BUILT, GHOSTNETS, IMAGENET, RESNETS, Published

# timm's functions that build a family at any width; timm registers some of the widths only
GENERATORS: dict[str, Callable] = {
    'mnasnet_a1': partial(efficientnet._gen_mnasnet_a1, 'semnasnet_100'),
    'mobilenet_v1': partial(efficientnet._gen_mobilenet_v1, 'mobilenetv1_100'),
    'mobilenet_v3': partial(mobilenetv3._gen_mobilenet_v3, 'mobilenetv3_large_100'),
}
BUILDERS: dict[str, Callable] = {'timm': timm.create_model, 'torchvision': torchvision.models.get_model}


@dataclass(frozen=True)
class Compared:
    """A network of another library: its name there, the side of its square input in pixels, and options of its constructor."""

    library: str
    model: str
    side: int = 224
    options: tuple[tuple[str, float], ...] = ()

    def cost(self) -> Cost:
        """Cost for one image, counted by torch on the meta device."""
        with torch.device('meta'):
            build = GENERATORS.get(self.model) or partial(BUILDERS[self.library], self.model)
            return count_images(build(**dict(self.options)), self.side)

    @property
    def source(self) -> str:
        """The library with its version, the name and the options."""
        options = ''.join(f', {key}={value}' for key, value in self.options)
        return f'{self.library} {version(self.library)}: {self.model}{options}'


def _printed(table: int, *rows: tuple[str, float, float]) -> tuple[Published, ...]:
    return tuple(Published(name, round(params * 1e6), round(macs * 1e6), 0.0, table=table) for name, params, macs in rows)


# Printed in the paper: name, parameters and MACs in millions (0 if not printed). Tables 2, 3 and 6 are in paper.printed.
TABLE_1 = _printed(
    1,
    ('EfficientNet-B-1, tuned', 0, 200),
    ('B0 by r = 0.70', 0, 196),
    ('B0 by d = 0.45', 0, 196),
    ('B0 by w = 0.65', 0, 205),
    ('TinyNet-B', 0, 201),
    ('EfficientNet-B-2', 0, 97),
    ('B0 by r = 0.46', 0, 103),
    ('B0 of minimum depth', 0, 173),
    ('B0 by w = 0.38', 0, 99),
    ('TinyNet-C', 0, 97),
)
TABLE_5 = _printed(5, ('EfficientNet-B-3', 0, 51), ('TinyNet-D', 0, 52))
PAPER: tuple[Published, ...] = (*TABLE_1, *RESNETS, *IMAGENET, *TABLE_5, *GHOSTNETS)

PRESET_OF = BUILT | {'EfficientNet-B-1, tuned': 'efficientnet_b-1_in100'}
SHRUNKEN = {
    'B0 by r = 0.70': Scaling(r=0.70),
    'B0 by r = 0.46': Scaling(r=0.46),
    'B0 by d = 0.45': Scaling(d=0.45),
    'B0 of minimum depth': Scaling(d=0.01),
    'B0 by w = 0.65': Scaling(w=0.65),
    'B0 by w = 0.38': Scaling(w=0.38),
}
COMPARED = {
    'MobileNetV3 Large 1.25x': Compared('timm', 'mobilenet_v3', options=(('channel_multiplier', 1.25),)),
    'MnasNet-A1': Compared('timm', 'semnasnet_100'),
    'MobileNetV2 1.0x': Compared('timm', 'mobilenetv2_100'),
    'ShuffleNetV2 1.5x': Compared('torchvision', 'shufflenet_v2_x1_5'),
    'MobileNetV1 0.5x (r=0.86)': Compared('timm', 'mobilenet_v1', side=192, options=(('channel_multiplier', 0.5),)),
    'MnasNet-A1 0.35x': Compared('timm', 'mnasnet_a1', options=(('channel_multiplier', 0.35),)),
    'MnasNet-A1 0.35x (r=0.57)': Compared('timm', 'mnasnet_a1', side=128, options=(('channel_multiplier', 0.35),)),
    'MobileNetV2 0.5x': Compared('timm', 'mobilenetv2_050'),
    'MobileNetV3 Small 1.25x': Compared('torchvision', 'mobilenet_v3_small', options=(('width_mult', 1.25),)),
    'MobileNetV2 0.35x': Compared('timm', 'mobilenetv2_035'),
    'ShuffleNetV2 0.5x': Compared('torchvision', 'shufflenet_v2_x0_5'),
    'MobileNetV3 Small 0.75x': Compared('timm', 'mobilenetv3_small_075'),
    'MobileNetV2 0.35x (r=0.71)': Compared('timm', 'mobilenetv2_035', side=160),
    'MobileNetV3 Small 0.5x': Compared('timm', 'mobilenetv3_small_050'),
    'MobileNetV3 Small 1.0x (r=0.57)': Compared('timm', 'mobilenetv3_small_100', side=128),
    'MobileNetV3 Large 0.75x': Compared('timm', 'mobilenetv3_large_075'),
}

ROUNDED = 'the parameters are equal after rounding to the one decimal that the paper prints.'
OURS = "closed form, equal to torch's counter"
NOT_THERE = 'not offered by timm, torchvision or mmpretrain'
# (table, network) -> the reason for a difference of more than 2 % in multiply-adds or parameters
EXCEPTIONS = {
    (1, 'TinyNet-C'): 'table 1 prints 97 M where table 3 prints 100 M for the same network.',
    **dict.fromkeys(
        [(3, 'EfficientNet-B-3'), (5, 'EfficientNet-B-3')],
        'one exponent t has to meet 51 M and 2.0 M; where it meets the parameters, the multiply-adds are 49.8 M at most. '
        'r = 0.61, w = 0.69, d = 0.49 (`efficientnet_b-3_printed`) gives 50.8 M and 1.98 M.',
    ),
    (3, 'EfficientNet-B-4'): 'one exponent t has to meet 24 M and 1.3 M; where it meets the parameters, '
    'the multiply-adds are 23.2 M at most. r = 0.48, w = 0.60, d = 0.37 (`efficientnet_b-4_printed`) gives 23.5 M and 1.34 M.',
    (3, 'TinyNet-E'): ROUNDED,
}
# the same for networks of other libraries
REMARKS = {
    **dict.fromkeys([(3, 'MobileNetV1 0.5x (r=0.86)'), (3, 'ShuffleNetV2 0.5x')], ROUNDED),
    **dict.fromkeys(
        [(3, 'MobileNetV3 Small 0.75x'), (6, 'MobileNetV3 Small 0.75x')],
        'the 2.4 M are those of the MobileNetV3 paper; in timm and in mmpretrain it has 2.04 M.',
    ),
    **dict.fromkeys(
        [(3, 'MobileNetV3 Small 1.25x'), (3, 'MobileNetV3 Small 0.5x'), (3, 'MobileNetV2 0.35x (r=0.71)')],
        'the reason for the difference is not known.',
    ),
    **dict.fromkeys(
        [(3, 'MnasNet-A1 0.35x'), (3, 'MnasNet-A1 0.35x (r=0.57)')],
        'the reason for the difference is not known; widths are rounded to multiples of 8 here, as in timm.',
    ),
}
MACS_TOLERANCE, PARAMS_TOLERANCE = 0.02, 0.02


@dataclass(frozen=True)
class Row:
    """A line of results/tables.csv. Counts are integers, 0 if not available; differences are ratios minus one."""

    table: int
    network: str
    ours: bool
    input: int
    params: int
    macs: int
    paper_params: int
    paper_macs: int
    source: str
    note: str = ''

    @property
    def params_difference(self) -> float | None:
        """Ratio of the counted to the printed parameters minus one; None if one of them is missing."""
        return self.params / self.paper_params - 1 if self.params and self.paper_params else None

    @property
    def macs_difference(self) -> float | None:
        """Ratio of the counted to the printed MACs minus one; None if one of them is missing."""
        return self.macs / self.paper_macs - 1 if self.macs and self.paper_macs else None


def network_of(name: str) -> Arch | None:
    """The table of a network by its name in the paper, None if only other libraries have it."""
    if name in PRESET_OF:
        return preset(PRESET_OF[name])
    return scale(EFFICIENTNET_B0, SHRUNKEN[name]) if name in SHRUNKEN else None


def row_of(printed: Published) -> Row:
    """Count one network; a network that no library builds has the paper's figures only."""
    arch, note = network_of(printed.name), (EXCEPTIONS | REMARKS).get((printed.table, printed.name), '')
    if arch:
        found, side, source = cost(arch), arch.resolution, OURS
        if arch.name in INFERRED:
            source += '; (r, w, d) inferred here'
    elif printed.name in COMPARED:
        theirs = COMPARED[printed.name]
        found, side, source = theirs.cost(), theirs.side, theirs.source
    else:
        found, side, source = Cost(0, 0, 0), 0, NOT_THERE
    return Row(
        printed.table, printed.name, arch is not None, side, found.params, found.macs, printed.params, printed.macs, source, note
    )


def make_rows() -> list[Row]:
    """The rows of tables 1, 2, 3, 5 and 6, except those without a defined network; takes seconds."""
    return [row_of(printed) for printed in PAPER]


# Files and text ---------------------------------------------------------------------------------------------------------------

DIFFERENCES = ('params_difference', 'macs_difference')


def to_csv(rows: Iterable[Row]) -> str:
    """Text of results/tables.csv."""
    return csv_text(asdict(row) | {name: _four_digits(getattr(row, name)) for name in DIFFERENCES} for row in rows)


def _four_digits(difference: float | None) -> str:
    return '' if difference is None else f'{difference:.4f}'


def read_csv(path: Path) -> list[Row]:
    """Read rows that :func:`to_csv` wrote.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the file is not a complete table.
    """
    lines = [{key: value for key, value in line.items() if key not in DIFFERENCES} for line in files.read_csv(path)]
    return [Row(**line | {'ours': line['ours'] == 'True'}) for line in lines]


def millions(count: int, digits: int = 1) -> str:
    """A count in millions, a dash for 0."""
    return f'{count / 1e6:,.{digits}f}' if count else '–'


def percent(difference: float | None) -> str:
    """A ratio minus one as a percentage with sign, a dash for None."""
    return '–' if difference is None else f'{difference:+.1%}'.replace('-', '−').replace('%', ' %')


def markdown_table(header: list[str], lines: Iterable[list[str]], text: tuple[int, ...] = (0,)) -> str:
    """A GitHub table; columns of ``text`` are aligned to the left, the others (numbers) to the right."""
    rule = [':--' if index in text else '--:' for index in range(len(header))]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (header, rule, *lines))


def _line(row: Row) -> list[str]:
    counts = [millions(row.params, 2), millions(row.paper_params), percent(row.params_difference)]
    counts += [millions(row.macs), millions(row.paper_macs, 0), percent(row.macs_difference)]
    return [row.network, str(row.input) if row.input else '–', *counts, row.source]


TITLES = {
    1: 'Table 1: EfficientNet-B0 shrunken, ImageNet-100',
    2: 'Table 2: ResNet-50 shrunken, ImageNet-100',
    3: 'Table 3: small networks, ImageNet-1000',
    5: 'Table 5: backbones of SSDLite, COCO (the paper counts the classifier at its own input)',
    6: 'Table 6: GhostNet, ImageNet-1000',
}
PREFACE = """# The paper's networks, counted

Written by `python tools/make_tables.py` with `results/tables.csv`; do not edit. Parameters and multiply-adds (the paper's
FLOPs) are in millions, each with the printed figure and the difference. Networks of this package are counted in closed form;
`tests/test_cost.py` compares this with torch's counter on the built network. The networks they are compared with are built by
the named library and counted by torch. The paper's rows with RandAugment or HSwish have the same counts as those without.
"""


def to_markdown(rows: list[Row]) -> str:
    """Text of docs/tables.md."""
    header = ['network', 'input', 'params', 'paper', 'diff.', 'MACs', 'paper', 'diff.', 'source']
    parts = [PREFACE]
    for table, title in TITLES.items():
        own = [row for row in rows if row.table == table]
        parts.append(f'## {title}\n\n{markdown_table(header, map(_line, own), text=(0, 8))}\n')
        parts += [f'{row.network}: {row.note}\n' for row in own if row.note]
    parts.append(_inferred_text())
    return '\n'.join(parts)


def _inferred_text() -> str:
    lines = []
    for name in sorted(INFERRED):
        base, s = PRESETS[name]
        lines.append([f'`{name}`', f'`{base}`', f'{s.r:g}', f'{s.w:g}', f'{s.d:g}', 'no' if s.fixed_ends else 'yes'])
    table = markdown_table(['preset', 'base', 'r', 'w', 'd', 'stem and head scaled'], lines, text=(0, 1))
    return f"""## Inferred multipliers

The paper prints the cost of these networks but not their multipliers. Here r and d are as close as possible to those of the
TinyNets at the same cost ratio, with multiply-adds within 1 % of the printed figures, and parameters within 1.5 % if they are
printed (`tinynet_mm.paper.inferred`). Other multipliers meet the same figures.

{table}

The depthwise kernels of GhostNet-A are inferred too: table 7 has no column for them, and with 5x5 in all blocks the multiply-adds
are those that the paper prints (3x3 is 2.1 % below). Table 4, the latency on a phone, is compared in [latency.md](latency.md).
[choices.md](choices.md) has the other points that the paper leaves open.
"""
