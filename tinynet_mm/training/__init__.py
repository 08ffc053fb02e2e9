"""Parts of the recipes of section 4.1 that MMEngine and mmpretrain lack, registered in MMEngine's root registry."""

from .cpu import FastCPUHook
from .datasets import ClassFolders
from .evaluation import CrossEntropy, RawAndAverageValLoop
from .hooks import ReportBrokenImages, StopOnNonFiniteLoss
from .necks import PoolDropout
from .optim import RMSpropTF, StaircaseLR, TwoGroups
from .stopping import StopWithoutImprovement

__all__ = [
    'FastCPUHook',
    'ClassFolders',
    'CrossEntropy',
    'PoolDropout',
    'RMSpropTF',
    'RawAndAverageValLoop',
    'ReportBrokenImages',
    'StaircaseLR',
    'StopOnNonFiniteLoss',
    'StopWithoutImprovement',
    'TwoGroups',
]
