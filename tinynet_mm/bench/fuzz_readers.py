"""For each reader of this package: small valid files, and a function that reads them as the tools do.

A function raises what the reader raises. Where two readers must agree, it also compares them: mmdet reads each annotation file
that the data check accepts, and the sizes of an image are those of its pixels.
"""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import DATASETS, MODELS

from .. import logs
from ..archs import EFFICIENTNET_B0, FAMILIES, Arch, Scaling, scale
from ..cost import cost
from ..data import images
from ..data.check import check_root
from ..data.coco import dataset_paths, find_layout
from ..data.convert import FOLDER
from ..deploy.spec import Spec
from ..errors import UserError
from ..files import read_csv, write_csv, write_json, write_text
from ..formula.bases import load_base
from ..formula.tiny import TinyFormula
from ..mmlab.counting import count_images
from ..mmlab.reading import check_finite, read
from ..mmlab.weights import unpack
from ..sweep import results
from ..sweep.figures import summary
from ..sweep.folder import Sweep, scaling_of
from ..sweep.report import at_one_budget

WIDTH, HEIGHT = 40, 30
BOXES = {'a': [('nut', 0, 3, 12, 15), ('bolt', 20, 10, 39, 30)], 'b': [('bolt', 4, 4, 8, 9), ('nut', 1, 1, 30, 20)], 'c': []}
NAMES = ('bolt', 'nut')


@dataclass(frozen=True)
class Reader:
    """``make`` writes valid files into a folder, ``read`` reads the folder, ``files`` are the patterns of what is mutated."""

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: tuple[str, ...]
    text: bool = True


# Data sets --------------------------------------------------------------------------------------------------------------------


def picture(path: Path) -> None:
    """A small image."""
    images.write_image(path, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def make_coco(root: Path) -> None:
    """Two splits in COCO format."""
    for split in ('train', 'val'):
        entries = [dict(id=n, file_name=f'{name}.png', width=WIDTH, height=HEIGHT) for n, name in enumerate(BOXES, 1)]
        found = [(n, *box) for n, boxes in enumerate(BOXES.values(), 1) for box in boxes]
        boxes = [
            dict(id=i, image_id=n, category_id=NAMES.index(name) + 1, bbox=[x1, y1, x2 - x1, y2 - y1], area=99.5, iscrowd=0)
            for i, (n, name, x1, y1, x2, y2) in enumerate(found, 1)
        ]
        categories = [dict(id=n, name=name, supercategory='part') for n, name in enumerate(NAMES, 1)]
        write_json(root / 'annotations' / f'{split}.json', dict(images=entries, annotations=boxes, categories=categories))
    for name in BOXES:
        picture(root / 'images' / f'{name}.png')


def make_single(root: Path) -> None:
    """One file in COCO format, which is divided."""
    make_coco(root)
    (root / 'annotations' / 'val.json').unlink()


def make_voc(root: Path) -> None:
    """VOC with lists."""
    for name, boxes in BOXES.items():
        picture(root / 'JPEGImages' / f'{name}.png')
        objects = ''.join(
            f'<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>'
            f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
            for label, x1, y1, x2, y2 in boxes
        )
        size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>'
        text = f'<annotation><filename>{name}.png</filename>{size}{objects}</annotation>'
        write_text(root / 'Annotations' / f'{name}.xml', text)
    for split in ('train', 'val'):
        write_text(root / 'ImageSets' / 'Main' / f'{split}.txt', 'a 1\n' if split == 'train' else 'b 1\nc -1\n')


def make_yolo(root: Path, named: bool = True) -> None:
    """YOLO with data.yaml, or with classes.txt."""
    for name, boxes in BOXES.items():
        picture(root / 'images' / 'train' / f'{name}.png')
        rows = [
            (NAMES.index(n), (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
            for n, x1, y1, x2, y2 in boxes
        ]
        text = ''.join(f'{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n' for label, x, y, w, h in rows)
        write_text(root / 'labels' / 'train' / f'{name}.txt', text)
    if named:
        write_text(root / 'data.yaml', 'path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames:\n  0: bolt\n  1: nut\n')
    else:
        write_text(root / 'classes.txt', 'bolt\nnut\n')


def make_labelme(root: Path) -> None:
    """LabelMe next to the images."""
    for name, boxes in BOXES.items():
        picture(root / f'{name}.png')
        kinds = ('rectangle', 'polygon', 'circle')
        shapes = [
            dict(label=label, shape_type=kinds[i % 3], points=[[x1, y1], [x2, y2], [x2, y1]][: 3 if i % 3 == 1 else 2])
            for i, (label, x1, y1, x2, y2) in enumerate(boxes)
        ]
        shapes += [dict(label='nut', shape_type='point', points=[[1, 1]])]
        content = dict(version='5', shapes=shapes, imagePath=f'{name}.png', imageWidth=WIDTH, imageHeight=HEIGHT)
        write_json(root / f'{name}.json', content)


def make_cvat(root: Path) -> None:
    """An export of CVAT with each kind of shape."""
    found = ''
    for name, boxes in BOXES.items():
        picture(root / 'images' / f'{name}.png')
        shapes = ''.join(
            f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" rotation="{i * 5}"/>'
            for i, (label, x1, y1, x2, y2) in enumerate(boxes)
        )
        shapes += '<polygon label="nut" points="1,1;5,1;5,6"/><mask label="nut" left="2" top="2" width="4" height="5" rle="1"/>'
        shapes += '<ellipse label="bolt" cx="9" cy="9" rx="4" ry="3"/><points label="nut" points="1,1"/>'
        found += f'<image id="0" name="{name}.png" subset="train" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    declared = ''.join(f'<label><name>{name}</name></label>' for name in NAMES)
    text = f'<annotations><meta><task><labels>{declared}</labels></task></meta>{found}</annotations>'
    write_text(root / 'annotations.xml', text)


def make_converted(root: Path) -> None:
    """A VOC set that is converted."""
    make_voc(root)
    find_layout(root, note=lambda text: None)


def read_set(root: Path) -> None:
    """Find, convert and check a data set; mmdet reads what the check accepts."""
    layout = find_layout(root, hold_out=True, note=lambda text: None)
    if any(report.fatal for report in check_root(root)):
        raise UserError('the check has a fatal finding.')
    for split in (split for split in (layout.train, layout.val, layout.test) if split):
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            data = DATASETS.build(
                dict(type='mmdet.CocoDataset', **dataset_paths(layout.root, split), metainfo=dict(classes=layout.classes),
                     pipeline=[], serialize_data=False, filter_cfg=dict(filter_empty_gt=True, min_size=1))
            )  # fmt: skip
        boxes = [instance['bbox'] for index in range(len(data)) for instance in data.get_data_info(index)['instances']]
        if not np.isfinite(np.array(boxes, np.float32)).all():
            raise AssertionError('a box that is not finite')


# Images -----------------------------------------------------------------------------------------------------------------------


def make_images(root: Path) -> None:
    """An image in each format that is read."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for suffix in ('jpg', 'png', 'bmp', 'ppm', 'tif', 'webp'):
        images.write_image(root / f'image.{suffix}', pixels)
    images.write_image(root / 'small.jpg', pixels[:2, :2])
    images.write_image(root / 'small.png', pixels[:2, :2])
    cv2.imwrite(str(root / 'deep.png'), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(root / 'grey.pgm'), pixels[..., 0])


def read_images(root: Path) -> None:
    """Read the images; the sizes are those of the pixels. All are read, so that the error of one does not hide the next."""
    errors: list[Exception] = []
    for path in sorted(root.iterdir()):
        try:
            images.check_header(path)
            stated, whole = images.header_size(path), images.image_size(path)
            height, width = images.read_image(path).shape[:2]
        except (UserError, FileNotFoundError) as error:
            errors.append(error)
            continue
        if not stated == whole == (width, height):
            raise AssertionError(f'{path.name}: {stated} in the header, {whole} by image_size, {(width, height)} read')
    if errors:
        raise errors[0]


# Logs, tables and models ------------------------------------------------------------------------------------------------------


def make_log(root: Path) -> None:
    """The log of a training of three epochs, with its config."""
    lines = []
    for epoch in (1, 2, 3):
        lines += [
            dict(lr=0.1, loss=1.0 / step, epoch=epoch, iter=4 * epoch - 4 + step, step=4 * epoch - 4 + step) for step in (2, 4)
        ]
        lines += [{'coco/bbox_mAP': 0.1 * epoch, 'data_time': 0.1, 'step': epoch}]
    folder = root / 'run' / '20260101_000000' / 'vis_data'
    write_text(folder / 'scalars.json', ''.join(json.dumps(line) + '\n' for line in lines))
    write_text(folder / 'config.py', "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)\n")
    lines = [dict(loss=0.5, iter=step, step=step) for step in (10, 20, 30, 40)] + [dict(top1=50.0, step=0)]
    folder = root / 'other' / '20260101_000000' / 'vis_data'
    write_text(folder / 'scalars.json', ''.join(json.dumps(line) + '\n' for line in lines))
    write_text(folder / 'config.py', 'train_cfg = dict(by_epoch=False, max_iters=40, val_interval=20)\n')


def read_log(root: Path) -> None:
    """Read the runs, their series, and write them as a table."""
    runs = logs.read([root])
    for run in runs:
        for key in run.keys:
            x, y = run.series(key)
            if len(x) != len(y):
                raise AssertionError(f'{key}: {len(x)} positions and {len(y)} values')
    logs.write_csv(runs, runs[0].keys, root.parent / 'curves.csv')


def make_sweep(root: Path) -> None:
    """A sweep of eight trained networks."""
    rows = []
    base = cost(EFFICIENTNET_B0).macs
    for number in range(8):
        scaling = Scaling(r=0.5 + 0.05 * number, w=0.6 + 0.05 * number, d=0.7 + 0.04 * number)
        arch = scale(EFFICIENTNET_B0, scaling)
        method, target = ('random', '') if number < 6 else ('tiny', 0.5)
        head = dict(name=f'net{number}', method=method, seed=number, target=target, fixed_ends=1)
        found = cost(arch)._asdict()
        rows.append(
            head | dict(r=scaling.r, w=scaling.w, d=scaling.d, resolution=arch.resolution, c=found['macs'] / base) | found
        )
        content = dict(accuracy=50.0 + number, epochs=2, images=32, seconds=1.5, device='cpu')
        write_json(root / 'trials' / f'net{number}' / 'result.json', content)
    write_csv(root / 'samples.csv', rows)


def read_sweep(root: Path) -> None:
    """Collect the results and read the rows as the report does."""
    sweep = Sweep(root)
    results.collect(sweep)
    rows = sweep.rows()
    at_one_budget(rows)
    summary(rows)
    for row in rows:
        scaling_of(row)


def make_rows(root: Path) -> None:
    """The collected rows of a sweep."""
    make_sweep(root)
    results.collect(Sweep(root))


def make_base(root: Path) -> None:
    """A small base table of each family."""
    stage = dict(channels=16, repeats=2, kernel=3, stride=2)
    tables = dict(
        efficientnet=dict(stem=8, head=32, stages=[dict(stage, block='inverted', expansion=2.0, se=0.25)]),
        resnet=dict(stem=8, stem_pool=True, stages=[dict(stage, block='basic')]),
        ghostnet=dict(stem=8, head=32, hidden=24, divisor=4, stages=[dict(stage, block='ghost', expansion=3, se=0.25)]),
    )
    for family, table in tables.items():
        write_json(root / f'{family}.json', dict(table, name='mine', family=family, resolution=32))


def read_bases(root: Path) -> None:
    """Load, count and scale the tables; a small network that is built has this cost."""
    for path in sorted(root.glob('*.json')):
        arch = load_base(str(path))
        cost(scale(arch, Scaling(0.5, 0.5, 0.5)), classes=0)
        compare_cost(arch)


@lru_cache(maxsize=16)  # most cases change one of the tables
def compare_cost(arch: Arch) -> None:
    """Build a small network and compare its cost with the closed form."""
    found = cost(arch, classes=0)
    if found.params < 1e6 and found.macs < 1e8 and sum(stage.repeats for stage in arch.stages) < 10:
        with torch.device('meta'):
            model = MODELS.build(dict(type=FAMILIES[arch.family].backbone, arch=arch, out_indices=(-1,)))
        if (counted := count_images(model, arch.resolution)) != found:
            raise AssertionError(f'{arch}: {found} by the formula, {counted} in the network')


def read_formula(root: Path) -> None:
    """Load a formula, predict, and solve a budget."""
    formula = TinyFormula.load(root / 'formula.json')
    predicted = formula.predict([0.1, 0.5])
    formula.solve(150e6)
    if not all(np.isfinite(values).all() for values in predicted.values()):
        raise AssertionError(f'{predicted}')


def make_spec(root: Path) -> None:
    """The description of an exported detector."""
    write_json(root / 'model.json', asdict(Spec('detection', 'decoded', NAMES, 64, 64, levels=(16, 4), macs=10, params=20)))


def read_spec(root: Path) -> None:
    """Read the description."""
    path = root / 'model.json'
    Spec.from_json(path.read_text(errors='replace'), path)


def make_checkpoint(root: Path) -> None:
    """The checkpoint of a small classifier."""
    state = {
        'backbone.conv_stem.weight': torch.zeros(4, 3, 3, 3),
        'head.fc.weight': torch.zeros(2, 4),
        'head.fc.bias': torch.ones(2),
    }
    meta = dict(epoch=1, iter=2, cfg='model = dict()', dataset_meta=dict(classes=['a', 'b']))
    torch.save(dict(meta=meta, state_dict=state, ema_state_dict=dict(state), message_hub=dict(log={})), root / 'a.pth')


def read_checkpoint(root: Path) -> None:
    """Read the weights."""
    check_finite(unpack(read(root / 'a.pth'), source=root / 'a.pth').tensors, root / 'a.pth')


READERS = {
    'coco': Reader(make_coco, read_set, ('annotations/*.json',)),
    'single': Reader(make_single, read_set, ('annotations/*.json',)),
    'voc': Reader(make_voc, read_set, ('Annotations/*.xml', 'ImageSets/Main/*.txt')),
    'yolo': Reader(make_yolo, read_set, ('data.yaml', 'labels/train/*.txt')),
    'names': Reader(lambda root: make_yolo(root, named=False), read_set, ('classes.txt',)),
    'labelme': Reader(make_labelme, read_set, ('*.json',)),
    'cvat': Reader(make_cvat, read_set, ('annotations.xml',)),
    'marker': Reader(make_converted, read_set, (f'{FOLDER}/source.json', f'{FOLDER}/annotations/train.json')),
    'image': Reader(make_images, read_images, ('*',), text=False),
    'log': Reader(make_log, read_log, ('*/*/vis_data/*',)),
    'sweep': Reader(make_sweep, read_sweep, ('samples.csv', 'trials/*/result.json')),
    'rows': Reader(make_rows, lambda root: results.fit(Sweep(root), share=1.0), ('rows.csv',)),
    'table': Reader(make_rows, lambda root: read_csv(root / 'rows.csv', ('macs',)), ('rows.csv',)),
    'base': Reader(make_base, read_bases, ('*.json',)),
    'formula': Reader(lambda root: TinyFormula.published().save(root / 'formula.json'), read_formula, ('formula.json',)),
    'spec': Reader(make_spec, read_spec, ('model.json',)),
    'checkpoint': Reader(make_checkpoint, read_checkpoint, ('a.pth',), text=False),
}
