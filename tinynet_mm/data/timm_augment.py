"""RandAugment as timm reads it, for the recipes of the paper's section 4.3.

The paper gives "magnitude 9 and standard deviation 0.5", which is ``rand-m9-mstd0.5`` of timm: its plain set of operations, in
which a larger magnitude solarizes and posterizes less. mmpretrain's ``timm_increasing`` is ``rand-m9-mstd0.5-inc1``; it is
stronger.
"""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..errors import UserError
from .images import IMAGENET_MEAN


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """RandAugment of timm on ``img``, (H, W, 3) uint8 in BGR.

    Args:
        policy: timm's text, for instance 'rand-m9-mstd0.5'.

    Raises:
        UserError: the text is none of timm's for RandAugment.
    """

    def __init__(self, policy: str):
        from timm.data.auto_augment import rand_augment_transform  # here, because timm takes seconds to import
        from timm.data.transforms import str_to_pil_interp

        colour = tuple(round(value) for value in IMAGENET_MEAN)  # of the pixels that a shift or a rotation uncovers
        settings = dict(img_mean=colour, interpolation=str_to_pil_interp('bicubic'))
        try:
            self.augment = rand_augment_transform(policy, settings)
        except (AssertionError, ValueError) as error:
            raise UserError(f"policy={policy!r} is not a RandAugment of timm; give one like 'rand-m9-mstd0.5'.") from error

    def transform(self, results: dict) -> dict:
        """Replace the image."""
        picture = self.augment(Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1])))
        return results | dict(img=np.ascontiguousarray(np.asarray(picture)[..., ::-1]))
