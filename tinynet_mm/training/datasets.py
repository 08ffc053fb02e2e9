"""ImageNet-like folders as a data set of MMEngine: layout checked before the first step, broken images at the user's choice."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dataset import BaseDataset, default_collate
from mmengine.registry import DATASETS, FUNCTIONS

from ..data.folders import check_classes, class_folders
from ..data.images import decodes
from ..errors import UserError


class BrokenImage(UserError):
    """An image that does not decode. Its text stays one sentence when a loader's worker process passes it on."""

    def __str__(self) -> str:
        return super().__str__().strip().rpartition('BrokenImage: ')[2]


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """``data_root/split/<class>/*.jpg``, labels by the sorted class names.

    Args:
        data_root, split: for instance 'data/imagenet' and 'train'.
        pipeline: transforms of mmcv and mmpretrain, beginning with LoadImageFromFile.
        num_classes: expected number of classes; None takes what is there.
        broken: what becomes of an image that does not decode: 'fatal' stops, 'skip' takes another one in training and leaves it
            out in validation (with ``collate_fn=dict(type='collate_readable')``); see :class:`ReportBrokenImages`.
        test_mode: True for validation: every image once, in order.

    Raises:
        FileNotFoundError, UserError: the folder is not there, classes are missing, validation images lie loose.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: Sequence[dict] = (),
        num_classes: int | None = None,
        broken: str = 'fatal',
        test_mode: bool = False,
        **kwargs,
    ):
        if broken not in ('fatal', 'skip'):
            raise UserError(f"broken={broken!r}: 'fatal' stops at an image that does not decode, 'skip' goes on without it.")
        self.folder, self.expected, self.broken = Path(data_root) / split, num_classes, broken
        super().__init__(data_root=data_root, pipeline=list(pipeline), test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        names = check_classes(self.folder, self.expected)
        self._metainfo['classes'] = _readable_names(names)
        files = class_folders(self.folder)
        data = [dict(img_path=path, gt_label=label) for label, name in enumerate(names) for path in files[name]]
        self._broken = torch.zeros(len(data), dtype=torch.bool).share_memory_()  # one flag an image, written by the workers
        return data

    def prepare_data(self, idx: int) -> dict | None:
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)['img_path']
            if decodes(path):
                raise
            if self.broken == 'fatal':
                raise BrokenImage(f"{path}: does not decode as an image; replace it, or train with broken='skip'.") from error
            self._broken[idx] = True
            return None

    def __getitem__(self, idx: int) -> dict | None:
        if self.test_mode and self.broken == 'skip':
            return self.prepare_data(idx)
        return super().__getitem__(idx)

    def broken_images(self) -> list[str]:
        """Paths of the images met so far that did not decode, in all worker processes."""
        return [self.get_data_info(i)['img_path'] for i in self._broken.nonzero().flatten().tolist()]


@FUNCTIONS.register_module()
def collate_readable(batch: Sequence[dict | None]) -> dict:
    """MMEngine's ``default_collate`` of what could be read."""
    readable = [sample for sample in batch if sample is not None]
    if not readable:
        raise BrokenImage('every image of a batch does not decode; look at broken_images of the data set, or use larger batches.')
    return default_collate(readable)


def _readable_names(names: list[str]) -> tuple[str, ...]:
    """Words for the 1000 folders of ImageNet, which are called n01440764 and so on; other names as they are."""
    if len(names) == 1000 and all(re.fullmatch(r'n\d{8}', name) for name in names):
        from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

        return tuple(IMAGENET_CATEGORIES)
    return tuple(names)
