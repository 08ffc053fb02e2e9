"""The description inside an exported file: what its inputs, outputs and classes mean. It needs neither torch nor a runtime.

ONNX files hold it as JSON under the metadata key ``tinynet_mm``, OpenVINO files in their runtime information, and ncnn files in
a ``.json`` file with the same name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_origin

from ..errors import UserError
from ..files import check_names

KEY = 'tinynet_mm'
FORMAT = 1  # raised when a field changes its meaning
INPUT = 'images'
LARGEST = 10**15  # of the numbers in a description
PIXELS = 2**27  # of a batch: 1.6 GB in float32
# the outputs that the runtime reads, with their dimensions
OUTPUTS = dict(logits=dict(logits=2), decoded=dict(boxes=3, scores=3), nms=dict(boxes=2, scores=1, labels=1, image_ids=1))
TASKS = {'classification': ('logits', 'raw'), 'detection': ('raw', 'decoded', 'nms', 'boxes')}  # and their outputs


@dataclass(frozen=True)
class Spec:
    """Inputs, outputs and thresholds of an exported network.

    The input ``images`` is float32 (B, 3, height, width), normalised, with the channels in the order ``channels``; with
    ``preprocess`` it is uint8 (B, height, width, 3) in RGB, and normalisation is in the graph.

    The outputs by ``post``: ``logits`` (B, K); ``decoded`` is ``boxes`` (B, P, 4), x1, y1, x2, y2 in pixels of the input, and
    ``scores`` (B, P, K); ``nms`` is ``boxes`` (M, 4), ``scores`` (M,), ``labels`` (M,) and ``image_ids`` (M,), the index in
    the batch, by descending score; ``raw`` is the outputs of the head, ``scores_L``, ``boxes_L`` and, if the head has them,
    ``factors_L`` for each level L, (B, C, H_L, W_L).

    Attributes:
        task: ``classification`` or ``detection``.
        post: ``logits``, ``raw``, ``decoded`` or ``nms``, see above.
        classes: class names.
        height: of the input in pixels.
        width: of the input in pixels.
        batch: images in a batch, 0 for any number.
        channels: ``RGB`` or ``BGR``, the order that the network receives.
        mean: of each channel in that order, 0 to 255.
        std: of each channel in that order.
        preprocess: whether normalisation is in the graph.
        resize: ``stretch`` to the input; ``letterbox``, the longer side scaled to ``edge`` and the rest filled with ``pad`` on
            the right and below; ``crop``, the shorter side scaled to ``edge`` and the centre cut out.
        pad: RGB value of the filling.
        edge: of ``letterbox`` and ``crop`` in pixels.
        clip: whether boxes are clipped to the resized image before suppression, as without a ``Pad`` step in mmdet.
        interpolation: a name of OpenCV or Pillow, for instance ``bilinear``.
        backend: the library that resizes, ``cv2`` or ``pillow``.
        score_thr: boxes below are removed.
        iou_thr: of non-maximum suppression in each class.
        nms_pre: boxes of a level before suppression, 0 for all.
        max_per_image: boxes after suppression, 0 for all.
        multi_label: whether a box can have several classes.
        levels: boxes (anchors or points) of each level; their sum is P.
        macs: multiply-adds of one image.
        params: parameters.
        precision: ``fp32`` or ``int8``.
        config: name of the config.
        checkpoint: SHA-256 of the checkpoint file.
        version: of this package.
        format: of this description.
    """

    task: str
    post: str
    classes: tuple[str, ...]
    height: int
    width: int
    batch: int = 1
    channels: str = 'RGB'
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    preprocess: bool = False
    resize: str = 'stretch'
    pad: tuple[float, ...] = (0.0, 0.0, 0.0)
    edge: int = 0
    clip: bool = False
    interpolation: str = 'bilinear'
    backend: str = 'cv2'
    score_thr: float = 0.0
    iou_thr: float = 1.0
    nms_pre: int = 0
    max_per_image: int = 0
    multi_label: bool = True
    levels: tuple[int, ...] = ()
    macs: int = 0
    params: int = 0
    precision: str = 'fp32'
    config: str = ''
    checkpoint: str = ''
    version: str = ''
    format: int = FORMAT

    def to_json(self) -> str:
        """The description as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, path: object) -> 'Spec':
        """Read a description; ``path`` is the file, for messages.

        Raises:
            UserError: no description, or one of a newer version of this package.
        """
        try:
            content = json.loads(text or '')
            known = {field.name for field in fields(cls)}
            version = content.get('version') or 'of unknown version'
            if content['format'] != FORMAT:
                raise UserError(
                    f'{path} was exported by tinynet_mm {version} in format {content["format"]}; this version reads format '
                    f'{FORMAT}: export the model again.'
                )
            if unknown := sorted(content.keys() - known):
                raise UserError(
                    f'{path} was exported by tinynet_mm {version} and has the unknown field {unknown[0]!r}: update tinynet_mm, '
                    'or export the model again.'
                )
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            spec = cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f'{path} has no description of tinynet_mm: export the model with `tinynet export`.') from error
        spec._check_values(path)
        return spec

    def _check_values(self, path: object) -> None:
        """Raise UserError for values that no export writes."""
        wrong = [field.name for field in fields(self) if not _fits(getattr(self, field.name), field.type)]
        if not wrong:
            wrong += [name for name in ('mean', 'std', 'pad') if len(getattr(self, name)) != 3]
            wrong += ['std'] * (0 in self.std) + ['channels'] * (self.channels not in ('RGB', 'BGR'))
            wrong += ['height'] * (not 0 < self.height * self.width <= PIXELS)
            wrong += ['batch'] * (self.batch * self.height * self.width > PIXELS)
            wrong += ['post'] * (self.post not in TASKS.get(self.task, ()))
        if wrong:
            text = repr(getattr(self, wrong[0]))[:60]
            raise UserError(f'{path} has a description with {wrong[0]} = {text}, which no export writes; export the model again.')
        check_names(self.classes, str(path))

    def check_graph(self, path: object, images: Sequence[object], outputs: Mapping[str, int | None]) -> None:
        """Check that a graph is that of this description.

        Args:
            path: the file, for messages.
            images: the shape of the input ``images``; a free dimension is no int, and the shape is empty without the input.
            outputs: the number of dimensions of each output by name; None if it is not known.

        Raises:
            UserError: another input, or an output that is missing or has other dimensions.
        """
        form = (self.height, self.width, 3) if self.preprocess else (3, self.height, self.width)
        if [side if isinstance(side, int) else 0 for side in images] != [self.batch, *form]:
            wanted = f'the input {INPUT} {(self.batch, *form)} of its description'
            raise UserError(f'{path} does not have {wanted}; export the model again.')
        for name, count in OUTPUTS.get(self.post, {}).items():
            if name not in outputs or outputs[name] not in (count, None):
                raise UserError(f'{path} does not have the output {name} of its description; export the model again.')


def _fits(value: object, kind: Any) -> bool:
    """Whether a value of JSON has the type of a field, and numbers are from 0 to ``LARGEST``, or above ``-LARGEST`` as floats."""
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(kind)[0]) for part in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= LARGEST  # type: ignore[arg-type]
    return type(value) is kind and (kind is not int or 0 <= value <= LARGEST)  # type: ignore[operator]
