"""Small detection sets in every format that is read, with the boxes that were written."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ('bolt', 'nut')  # sorted, as VOC and LabelMe do not list them
WIDTH, HEIGHT = 40, 30
TRUTH = {  # split -> image -> (class, x1, y1, x2, y2)
    'train': {
        'a': [('nut', 0, 3, 12, 15), ('bolt', 20, 10, 40, 30)],
        'b': [('bolt', 4, 4, 8, 9)],
        'empty': [],
    },
    'val': {'c': [('nut', 1, 2, 30, 28)]},
    'test': {'d': [('bolt', 5, 6, 7, 8), ('nut', 10, 10, 20, 20), ('nut', 30, 0, 40, 30)]},
}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def xml_of(name: str, boxes: list, first: int = 1, size: bool = True) -> str:
    """A VOC file; ``first`` is the number of the first pixel."""
    objects = ''.join(
        f'<object><name>{label}</name><bndbox><xmin>{x1 + first}</xmin><ymin>{y1 + first}</ymin><xmax>{x2}</xmax>'
        f'<ymax>{y2}</ymax></bndbox></object>'
        for label, x1, y1, x2, y2 in boxes
    )
    sides = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>' if size else ''
    return f'<annotation><filename>{name}.png</filename>{sides}{objects}</annotation>'


def rows_of(boxes: list, classes=CLASSES) -> str:
    centres = [
        (classes.index(n), (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        for n, x1, y1, x2, y2 in boxes
    ]
    return ''.join('{} {:.6f} {:.6f} {:.6f} {:.6f}\n'.format(*row) for row in centres)


def voc(root: Path, splits=TRUTH, images: str = 'JPEGImages', lists: bool = True, **options) -> Path:
    for split, entries in splits.items():
        for name, boxes in entries.items():
            image(root / images / f'{name}.png')
            text(root / 'Annotations' / f'{name}.xml', xml_of(name, boxes, **options))
        if lists:
            text(root / 'ImageSets' / 'Main' / f'{split}.txt', '\n'.join(f'{name} 1' for name in entries) + '\n')
    return root


def voc_beside(root: Path) -> Path:
    for split, entries in TRUTH.items():
        folder = root / {'val': 'valid'}.get(split, split)
        for name, boxes in entries.items():
            image(folder / f'{name}.png')
            text(folder / f'{name}.xml', xml_of(name, boxes, size=False))
    return root


def yolo(root: Path, splits=TRUTH, roboflow: bool = False, yaml: str | None = None) -> Path:
    for split, entries in splits.items():
        spelled = {'val': 'valid'}.get(split, split)
        images = root / spelled / 'images' if roboflow else root / 'images' / split
        labels = root / spelled / 'labels' if roboflow else root / 'labels' / split
        for name, boxes in entries.items():
            image(images / f'{name}.png')
            if boxes:  # an image without boxes often has no label file
                text(labels / f'{name}.txt', rows_of(boxes))
    paths = '../train/images', '../valid/images', '../test/images'
    named = f'train: {paths[0]}\nval: {paths[1]}\ntest: {paths[2]}\nnc: 2\nnames: [bolt, nut]\n'
    text(root / 'data.yaml', yaml or (named if roboflow else 'path: /nowhere/set\ntrain: wrong\nnames:\n  1: nut\n  0: bolt\n'))
    return root


def yolo_beside(root: Path, splits=TRUTH, folder: str = '{}', names: str = 'classes.txt') -> Path:
    """Images with their labels beside, in a folder of each split, or in one with ``folder='.'`` (labelImg)."""
    for split, entries in splits.items():
        for name, boxes in entries.items():
            image(root / folder.format({'val': 'valid'}.get(split, split)) / f'{name}.png')
            text(root / folder.format({'val': 'valid'}.get(split, split)) / f'{name}.txt', rows_of(boxes))
    text(root / names, '\n'.join(CLASSES))
    return root


def yolo_flat(root: Path, splits=TRUTH) -> Path:
    return yolo_beside(root, splits, '.')


def labelme(root: Path, folders: bool = True) -> Path:
    for split, entries in TRUTH.items():
        folder = root / split if folders else root
        for name, boxes in entries.items():
            image(folder / f'{name}.png')
            shapes = [
                dict(label=label, shape_type='rectangle', points=[[x2, y2], [x1, y1]])
                if index % 2
                else dict(label=label, shape_type='polygon', points=[[x1, (y1 + y2) / 2], [x2, y1], [(x1 + x2) / 2, y2]])
                for index, (label, x1, y1, x2, y2) in enumerate(boxes)
            ]
            content = dict(version='5', shapes=shapes, imagePath=f'{name}.png', imageWidth=WIDTH, imageHeight=HEIGHT)
            text(folder / f'{name}.json', json.dumps(content))
    return root


def cvat(root: Path, extra: str = '', labels=CLASSES) -> Path:
    found = ''
    for split, entries in TRUTH.items():
        for name, boxes in entries.items():
            image(root / 'images' / f'{name}.png')
            shapes = ''.join(
                f'<box label="{label}" xtl="{x1}.00" ytl="{y1}.00" xbr="{x2}.00" ybr="{y2}.00"/>'
                for label, x1, y1, x2, y2 in boxes
            )
            subset = {'val': 'Validation'}.get(split, split)
            found += f'<image name="{name}.png" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">{shapes}{extra}</image>'
    declared = ''.join(f'<label><name>{label}</name></label>' for label in labels)
    text(root / 'annotations.xml', f'<annotations><meta><task><labels>{declared}</labels></task></meta>{found}</annotations>')
    return root


LAYOUTS = {
    'voc': voc,
    'voc, images/': lambda root: voc(root, images='images'),
    'voc, from 0': lambda root: voc(root, first=0),
    'voc, next to the images': voc_beside,
    'yolo': yolo,
    'yolo, roboflow': lambda root: yolo(root, roboflow=True),
    'yolo, next to the images': yolo_beside,
    'yolo, darknet of roboflow': lambda root: yolo_beside(root, names='train/_darknet.labels'),
    'yolo, cvat': lambda root: yolo_beside(root, folder='obj_{}_data', names='obj.names'),
    'labelme': labelme,
    'cvat': cvat,
}


def boxes_of(content: dict) -> dict[str, list]:
    names = {category['id']: category['name'] for category in content['categories']}
    found: dict[str, list] = {Path(entry['file_name']).stem: [] for entry in content['images']}
    stems = {entry['id']: Path(entry['file_name']).stem for entry in content['images']}
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        found[stems[annotation['image_id']]].append((names[annotation['category_id']], x, y, x + w, y + h))
    return found


def read(folder: Path, split: str) -> dict:
    return json.loads((folder / 'annotations' / f'{split}.json').read_text())


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', Path('tools') / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
