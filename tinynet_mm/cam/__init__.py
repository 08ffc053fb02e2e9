"""Class activation maps of mmpretrain classifiers and mmdet detectors, by the methods of pytorch-grad-cam.

    explainer = Explainer(model, method='gradcam')
    for several in explain_images(explainer, cfg, [Path('photo.jpg')], Wanted('top1'), classes):
        several[0].values  # (H, W) in 0 to 1, on the original picture

Nothing outside this package imports pytorch_grad_cam.
"""

from .compare import Compared, compare
from .evaluate import Evaluator, Protocol, Truth, evaluate, read_truth
from .explain import Explainer
from .explanation import Explanation
from .folder import Seen, explain_images, write_all
from .images import check_images
from .methods import METHODS
from .probes import Candidate
from .targets import Question, Wanted, choose, parse_target

__all__ = [
    'METHODS',
    'Candidate',
    'Compared',
    'Evaluator',
    'Explainer',
    'Explanation',
    'Protocol',
    'Question',
    'Seen',
    'Truth',
    'Wanted',
    'check_images',
    'choose',
    'compare',
    'evaluate',
    'explain_images',
    'parse_target',
    'read_truth',
    'write_all',
]
