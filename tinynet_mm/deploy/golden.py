"""Golden files: the input and every intermediate result of one image, so that a port to another language can be checked."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import atomic, write_text
from .backends import open_network
from .runtime import Classifier, Detector, as_pixels

README = """Golden input and outputs of {name}, for checking a port of its runtime.

golden.npz (read it with numpy.load) contains, in the order of the computation:
{arrays}

The description of the file:
{fields}

resize=stretch scales the image to height x width; letterbox scales both sides by edge/max(H, W), rounds to the nearest
pixel, and fills the right and the bottom with pad; crop scales the shorter side to edge and cuts out the centre.
{post}
The numbers were computed in float32; another runtime differs by about 1e-5 of the largest value.
"""
DECODED = """
After the network, for post=decoded: keep the scores above score_thr (without multi_label only the best class of each box), of
each level (levels has their numbers of boxes) the nms_pre best, 0 for all; remove boxes without an area; go through the rest by
descending score and keep a box unless its IoU with a kept box of its class is above iou_thr; stop at max_per_image, 0 for all.
With clip, boxes are clipped to the resized image before all this. Divide x1, y1, x2, y2 by factors for pixels of the image. For
post=nms only the clipping and the division are left; there the limit nms_pre does not exist.
"""
MEANING = {
    'description': 'the fields below as JSON',
    'image': 'the image, (H, W, 3), blue, green, red',
    'images': 'the input of the network: resized, in the order of channels, normalised unless preprocess is true',
    'factors': 'from the image to the input, in x, y, x, y',
    'final_boxes': 'x1, y1, x2, y2 in pixels of the image, by descending score',
    'final_scores': 'of the final boxes',
    'final_labels': 'of the final boxes, index of classes',
    'probabilities': 'softmax of the logits',
}


def write_golden(path: str | Path, image: str | Path, folder: str | Path) -> Path:
    """Run an exported file on one image and write ``golden.npz`` and ``README.txt`` into a folder.

    The arrays are: ``description``, ``image``, ``images`` (the input of the network), ``factors``, each output of the network as
    ``output_NAME``, and ``final_boxes``, ``final_scores`` and ``final_labels``, or ``probabilities``.

    Args:
        path: an ``.onnx``, ``.xml`` or ``.param`` file.
        image: the file of an image.
        folder: the folder of the results.

    Returns:
        The path of ``golden.npz``.

    Raises:
        FileNotFoundError, UserError, MissingPackageError: as :class:`~tinynet_mm.deploy.runtime.Detector`; an image that cannot
            be read.
    """
    task = open_network(path).spec.task
    if task not in ('detection', 'classification'):
        raise UserError(f'{path}: the task {task} is unknown; export the model again.')
    model = Detector(path) if task == 'detection' else Classifier(path)
    pixels = as_pixels(image)
    batch = model.writer.batch(max(1, model.spec.batch))
    factors = model.writer.write(pixels, batch[0]).factors
    batch[1:] = 0
    outputs = model.network.run(batch)
    arrays: dict[str, Any] = dict(description=np.array(model.spec.to_json()), image=pixels, images=batch, factors=factors)
    arrays |= {f'output_{name}': value for name, value in outputs.items()}
    if isinstance(model, Detector):
        (found,) = model.detect([pixels])
        arrays |= dict(final_boxes=found.boxes, final_scores=found.scores, final_labels=found.labels)
    else:
        arrays |= dict(probabilities=model(pixels))
    with atomic(Path(folder) / 'golden.npz') as temporary:
        np.savez_compressed(temporary, **arrays)
    lines = [f'  {name}: {value.dtype} {value.shape}; {MEANING.get(name, "of the network")}' for name, value in arrays.items()]
    fields = [f'  {name} = {value!r}' for name, value in asdict(model.spec).items()]
    post = DECODED if isinstance(model, Detector) else ''
    text = README.format(name=Path(path).name, arrays='\n'.join(lines), fields='\n'.join(fields), post=post)
    write_text(Path(folder) / 'README.txt', text)
    return Path(folder) / 'golden.npz'
