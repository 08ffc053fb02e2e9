"""What a training shows: images of rare classes more often, and images without boxes.

Repetition follows LVIS (Gupta et al., 2019, section 4.1): an image is shown ``ceil(sqrt(t / f))`` times, where f is the fraction
of the images with its rarest class. LVIS sets t to 0.001 for its 1203 classes. Here t is half of the median of all f, so a class
in at least half as many images as the median class is not repeated, for any number of classes.
"""

import math
from collections import Counter
from statistics import median

from mmengine.config import Config, ConfigDict

from ..errors import UserError, listed
from ..mmlab.configs import walk
from .check import usable_boxes
from .coco import read_coco, splits_of


def balance(cfg: Config) -> str:
    """Wrap the training set of a detector's config in ``BalancedDataset``; returns a sentence on what is repeated.

    Raises:
        UserError: the training reads no file in COCO format, or several.
    """
    found = [part for part in walk(cfg.train_dataloader) if 'ann_file' in part]
    if len(found) != 1 or 'train' not in splits_of(cfg):
        raise UserError(f'--balance works with one training set in COCO format; this config has {len(found)}. Leave it out.')
    content = read_coco(splits_of(cfg)['train'].ann_file)
    names = {category['id']: category['name'] for category in content['categories']}
    pairs = {(annotation['image_id'], annotation['category_id']) for annotation, _ in usable_boxes(content)}
    counts = Counter(names[category] for _, category in pairs)
    if not counts:
        raise UserError(f'{splits_of(cfg)["train"].ann_file} has no boxes: --balance has no classes to compare.')
    keeps = not found[0].get('filter_cfg', {}).get('filter_empty_gt')
    total = len(content['images']) if keeps else len({image for image, _ in pairs})
    threshold = median(counts.values()) / total / 2
    inner = ConfigDict(found[0])
    found[0].clear()
    found[0].update(type='BalancedDataset', oversample_thr=threshold, dataset=inner)
    rare = {name: math.ceil(math.sqrt(threshold * total / n)) for name, n in counts.items() if n < threshold * total}
    if not rare:
        return '--balance repeats nothing: each class is in at least half as many images as the median class.'
    said = [f'{name} (in {counts[name]}) {times} times' for name, times in sorted(rare.items(), key=lambda item: -item[1])]
    return f'--balance shows the images of rare classes several times an epoch: {listed(said, 10)}.'


def keep_empty(cfg: Config) -> None:
    """Train on images without boxes too: the data set keeps them, and so do random crops.

    mmdet's ``RandomCrop`` drops them otherwise, also in a pipeline that a hook sets later.

    Raises:
        UserError: the training reads no annotation file.
    """
    if not any('ann_file' in part for part in walk(cfg.get('train_dataloader'))):
        raise UserError('--keep-empty works with detectors that train on an annotation file; this config has none. Leave it out.')
    for part in walk([cfg.get('train_dataloader'), cfg.get('custom_hooks')]):
        if 'ann_file' in part:
            part['filter_cfg'] = dict(part.get('filter_cfg') or {}, filter_empty_gt=False)
        elif str(part.get('type')).split('.')[-1] == 'RandomCrop' and 'crop_size' in part:
            part['allow_negative_crop'] = True
