"""Data sets that MMEngine lacks: ImageNet-like folders, checked and with broken images, and a balanced set for any pipeline."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, default_collate
from mmengine.registry import DATASETS, FUNCTIONS

from ..data.folders import check_classes, class_folders
from ..data.images import decodes, is_cut
from ..errors import UserError


class BrokenImage(UserError):
    """An image that does not decode. The message stays one sentence when it comes from a worker process of a loader."""

    def __str__(self) -> str:
        return super().__str__().strip().rpartition('BrokenImage: ')[2]


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """Images in ``data_root/split/<class>/*.jpg``; labels follow the sorted names of the classes.

    Args:
        data_root: for instance 'data/imagenet'.
        split: for instance 'train'.
        pipeline: transforms of mmcv and mmpretrain, starting with LoadImageFromFile.
        num_classes: expected number of classes; None accepts any number.
        broken: for an image that does not decode, 'fatal' stops; 'skip' takes another image in training and leaves it out in
            validation (with ``collate_fn=dict(type='collate_readable')``); see :class:`~.hooks.ReportBrokenImages`.
        test_mode: True for validation: every image once, in order.
        kwargs: see MMEngine's BaseDataset.

    Raises:
        FileNotFoundError: no such folder.
        UserError: missing classes, or images that are not in class folders.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: Sequence[dict] = (),
        num_classes: int | None = None,
        broken: str = 'fatal',
        test_mode: bool = False,
        **kwargs: Any,
    ):
        if broken not in ('fatal', 'skip'):
            raise UserError(f"broken={broken!r}: 'fatal' stops at an image that does not decode, 'skip' leaves it out.")
        self.folder, self.expected, self.broken = Path(data_root) / split, num_classes, broken
        super().__init__(data_root=data_root, pipeline=list(pipeline), test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the path and the label of each image."""
        names = check_classes(self.folder, self.expected)
        self._metainfo['classes'] = _readable_names(names)
        files = class_folders(self.folder)
        data = [dict(img_path=path, gt_label=label) for label, name in enumerate(names) for path in files[name]]
        self._broken = torch.zeros(len(data), dtype=torch.bool).share_memory_()  # a flag for each image, set by the workers
        return data

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on an image; None for a broken one that is skipped.

        Raises:
            BrokenImage: an image that does not decode, with ``broken='fatal'``.
        """
        path = self.get_data_info(idx)['img_path']
        try:
            if is_cut(path):
                raise UserError('the file is truncated')
            return super().prepare_data(idx)
        except Exception as error:
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
        """Return the paths of the images that did not decode so far, in all worker processes."""
        return [self.get_data_info(i)['img_path'] for i in self._broken.nonzero().flatten().tolist()]


@DATASETS.register_module()
class BalancedDataset(ClassBalancedDataset):
    """MMEngine's ``ClassBalancedDataset`` with the pipeline of the data set inside it.

    mmdet's ``PipelineSwitchHook`` sets ``pipeline`` of the data set of a loader; without this property, the switch has no effect.
    """

    @property
    def pipeline(self) -> Any:
        """The transforms of the data set inside."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline


@FUNCTIONS.register_module()
def collate_readable(batch: Sequence[dict | None]) -> dict:
    """Apply MMEngine's ``default_collate`` to the readable samples.

    Raises:
        BrokenImage: no sample of the batch is readable.
    """
    readable = [sample for sample in batch if sample is not None]
    if not readable:
        raise BrokenImage('no image of a batch decodes; check broken_images of the data set, or use larger batches.')
    return default_collate(readable)


def _readable_names(names: list[str]) -> tuple[str, ...]:
    """Return the English names for the 1000 folders of ImageNet (n01440764, ...); other names are not changed."""
    if len(names) == 1000 and all(re.fullmatch(r'n\d{8}', name) for name in names):
        from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

        return tuple(IMAGENET_CATEGORIES)
    return tuple(names)
