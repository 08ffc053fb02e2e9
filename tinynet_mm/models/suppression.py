"""Non-maximum suppression of detection heads where mmcv's operators were built without CUDA."""

from typing import Any

from mmcv.ops import get_compiling_cuda_version
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.dense_heads.rtmdet_head import RTMDetSepBNHead
from mmdet.models.dense_heads.yolox_head import YOLOXHead
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


class SuppressOnCPU(BaseDenseHead):
    """A head that moves its boxes to the CPU before suppression if mmcv has no operators for the GPU.

    mmcv builds without CUDA on machines without its compiler; a GPU then trains, and mmdet fails at the first validation.
    """

    def _bbox_post_process(self, results: InstanceData, *args: Any, **kwargs: Any) -> InstanceData:
        if results.scores.is_cuda and get_compiling_cuda_version() == 'not available':
            results = results.cpu()
        return super()._bbox_post_process(results, *args, **kwargs)


@MODELS.register_module()
class AnyDeviceYOLOXHead(SuppressOnCPU, YOLOXHead):
    """mmdet's ``YOLOXHead``, also on a GPU for which mmcv's operators were not built."""


@MODELS.register_module()
class AnyDeviceRTMDetHead(SuppressOnCPU, RTMDetSepBNHead):
    """mmdet's ``RTMDetSepBNHead``, also on a GPU for which mmcv's operators were not built."""
