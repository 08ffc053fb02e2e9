"""Run exported detectors and classifiers without torch: ONNX Runtime, OpenVINO or ncnn, NumPy, OpenCV and Pillow alone.

    from tinynet_mm.deploy.runtime import Detector

    found = Detector('model.onnx')('photo.jpg')
    print(found.boxes, found.scores, found.names)

The description inside the file (:class:`~tinynet_mm.deploy.spec.Spec`) says how images are resized and normalised and which
boxes are kept, so the result equals that of mmdet's ``inference_detector`` or mmpretrain's ``inference_model``. Arrays are BGR,
as OpenCV reads them; files are read by :func:`tinynet_mm.data.images.read_image`, which applies the EXIF orientation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.images import read_image
from ..errors import UserError
from .backends import open_network
from .boxes import candidates, suppress
from .resize import InputWriter, Placed
from .spec import Spec

BATCH = 8  # images in a run of a file with a dynamic batch

Picture = np.ndarray | str | Path
Pictures = Picture | Sequence[Picture]


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects in one image, by descending score.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the image.
        scores: (N,) float32.
        labels: (N,) int64, indices of ``classes``.
        classes: the class names of the model.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The class name of each object, ``class 7`` for a class without a name."""
        return [self.classes[label] if label < len(self.classes) else f'class {label}' for label in self.labels]


class Exported:
    """What detectors and classifiers share: an opened file, and the batches of its input.

    Args:
        path: an ``.onnx``, ``.xml`` or ``.param`` file from tools/export.py.
        task: the task that the file must have.
        threads: threads of the runtime.
        device: ``cpu``, ``cuda:0`` (ONNX Runtime with CUDA), or a device of OpenVINO.

    Raises:
        FileNotFoundError, UserError, MissingPackageError: as :func:`~tinynet_mm.deploy.backends.open_network`; a file of
            another task.
    """

    def __init__(self, path: str | Path, task: str, threads: int = 1, device: str = 'cpu'):
        self.network = open_network(path, threads, device)
        self.spec: Spec = self.network.spec
        if self.spec.task != task:
            other = {'detection': 'Detector', 'classification': 'Classifier'}[self.spec.task]
            raise UserError(f'{path} is a network for {self.spec.task}, not for {task}; in Python open it with {other}.')
        self.classes = self.spec.classes
        try:
            self.writer = InputWriter(self.spec)
        except UserError as error:
            raise UserError(f'{path}: {error}') from error

    def batches(self, images: Sequence[Picture]) -> Iterator[tuple[Mapping[str, np.ndarray], list[Placed]]]:
        """Run the network on the images; a fixed batch is filled up with zeros.

        Yields:
            The outputs of a batch, and where each of its images is in the input.
        """
        size = self.spec.batch or BATCH
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = self.writer.batch(self.spec.batch or len(part))
            places = [self.writer.write(as_pixels(image), target) for image, target in zip(part, batch)]
            batch[len(part) :] = 0
            yield self.network.run(batch), places


class Detector(Exported):
    """An exported detector; ``detector(images)`` finds the objects.

    Args:
        path: an ``.onnx``, ``.xml`` or ``.param`` file, exported with ``--post decoded`` or ``--post nms``.
        threads: threads of the runtime.
        device: ``cpu``, ``cuda:0`` (ONNX Runtime with CUDA), or a device of OpenVINO.
        score_thr: boxes with higher scores are kept; by default the threshold of the file.

    Raises:
        FileNotFoundError, UserError, MissingPackageError: as :class:`Exported`; a file with raw outputs, or a threshold below
            that of a file that suppresses boxes itself.
    """

    def __init__(self, path: str | Path, threads: int = 1, device: str = 'cpu', score_thr: float | None = None):
        super().__init__(path, 'detection', threads, device)
        if self.spec.post not in ('decoded', 'nms'):
            raise UserError(f'{path} has the raw outputs of the head, which are not decoded here; export with --post decoded.')
        self.score_thr = self.spec.score_thr if score_thr is None else score_thr
        if self.spec.post == 'nms' and self.score_thr < self.spec.score_thr:
            raise UserError(
                f'{path} itself removes boxes below {self.spec.score_thr:g}, so score_thr={self.score_thr:g} cannot return them; '
                'export with --post decoded, or choose a higher threshold.'
            )

    def __call__(self, images: Pictures) -> 'Detections | list[Detections]':
        """Detect the objects in one image, or in each image of a list.

        Args:
            images: an (H, W, 3) uint8 BGR array or the path of a file, or a list of them.

        Returns:
            The objects of the image, or a list with those of each image.

        Raises:
            FileNotFoundError, UserError: an image that cannot be read, or an array of another form.
        """
        if isinstance(images, Picture):
            return self.detect([images])[0]
        return self.detect(images)

    def detect(self, images: Sequence[Picture]) -> list[Detections]:
        """Detect the objects in each image of a list, as :meth:`__call__`."""
        found = []
        for outputs, places in self.batches(images):
            for number, placed in enumerate(places):
                boxes, scores, labels = self.select(outputs, placed, number)
                found.append(Detections(boxes, scores, labels, self.classes))
        return found

    def select(
        self, outputs: Mapping[str, np.ndarray], placed: Placed, place: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The final boxes (N, 4) in pixels of the image, scores (N,) and labels (N,) of one image of a batch.

        Boxes without an area are removed, as by mmdet's ``min_bbox_size=0``.
        """
        spec = self.spec
        if spec.post == 'nms':
            mine = np.flatnonzero((outputs['image_ids'] == place) & (outputs['scores'] > self.score_thr))
            boxes, scores, labels = (outputs[name][mine] for name in ('boxes', 'scores', 'labels'))
            boxes = np.clip(boxes, 0, placed.limits) if spec.clip else boxes
            kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))[: spec.max_per_image or None]
        else:
            scores = outputs['scores'][place]
            rows, labels, scores = candidates(scores, self.score_thr, spec.nms_pre, spec.levels, spec.multi_label)
            boxes = outputs['boxes'][place][rows]
            boxes = np.clip(boxes, 0, placed.limits) if spec.clip else boxes
            solid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
            kept = solid[suppress(boxes[solid], labels[solid], spec.iou_thr, spec.max_per_image)]
        return boxes[kept] / placed.factors, scores[kept], labels[kept].astype(np.int64)


class Classifier(Exported):
    """An exported classifier; ``classifier(images)`` returns probabilities.

    Args:
        path: an ``.onnx``, ``.xml`` or ``.param`` file.
        threads: threads of the runtime.
        device: ``cpu``, ``cuda:0`` (ONNX Runtime with CUDA), or a device of OpenVINO.

    Raises:
        FileNotFoundError, UserError, MissingPackageError: as :class:`Exported`.
    """

    def __init__(self, path: str | Path, threads: int = 1, device: str = 'cpu'):
        super().__init__(path, 'classification', threads, device)

    def __call__(self, images: Pictures) -> np.ndarray:
        """Class probabilities (B, K) float32 of one image or a list; B is 1 for one image.

        Args:
            images: an (H, W, 3) uint8 BGR array or the path of a file, or a list of them.

        Raises:
            FileNotFoundError, UserError: an image that cannot be read, or an array of another form.
        """
        images = [images] if isinstance(images, Picture) else images
        parts = [softmax(outputs['logits'][: len(places)]) for outputs, places in self.batches(images)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes)), np.float32)

    def top(self, images: Pictures, k: int = 5) -> list[list[tuple[str, float]]]:
        """Name and probability of the ``k`` most probable classes of each image, as :meth:`__call__`."""
        rows = self(images)
        best = np.argsort(-rows, axis=1, kind='stable')[:, :k]
        return [
            [(self.classes[i] if i < len(self.classes) else f'class {i}', float(row[i])) for i in order]
            for row, order in zip(rows, best)
        ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (B, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def as_pixels(image: Picture) -> np.ndarray:
    """An image as (H, W, 3) uint8 BGR; a path is read.

    Raises:
        FileNotFoundError, UserError: a file that cannot be read, or an array of another form.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size):
        form = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f'an image is an (H, W, 3) uint8 array in BGR, not {form}; for a grey one use cv2.cvtColor.')
    return image
