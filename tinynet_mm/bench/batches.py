"""Random batches for timing and for tests of detectors."""

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


def random_batch(size: int, images: int, boxes: int = 14, classes: int = 3, seed: int = 0) -> dict:
    """A batch as from mmdet's data loader: ``images`` random uint8 images (3, size, size) with ``boxes`` random boxes each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=generator) for _ in range(images)]
    return dict(inputs=inputs, data_samples=[_sample(size, boxes, classes, generator) for _ in inputs])


def _sample(size: int, boxes: int, classes: int, generator: torch.Generator) -> DetDataSample:
    meta = dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size), batch_input_shape=(size, size))
    corners = torch.rand(boxes, 2, generator=generator) * size * 0.7
    sides = (0.1 + 0.2 * torch.rand(boxes, 2, generator=generator)) * size
    labels = torch.randint(0, classes, (boxes,), generator=generator)
    sample = DetDataSample(metainfo=dict(meta, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(bboxes=torch.cat([corners, corners + sides], 1), labels=labels)
    return sample
