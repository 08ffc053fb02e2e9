"""Packaging. No MMLab distribution is required: the forks and the originals share import names, so each is an extra.

``tinynet_mm/.mim`` holds links to configs, tools and model-index.yml; a wheel gets their contents in that place, where
mmengine and mim look, and nothing called ``configs`` or ``tools`` lands beside our package.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXTRAS = {
    'onedl': [
        'onedl-mmengine>=0.10.12,<1',
        'onedl-mmcv>=2.3.6,<3',
        'onedl-mmdetection>=3.5.1,<4',
        'onedl-mmpretrain>=1.3.6,<2',
        'timm>=1.0.9',
    ],
    'openmmlab': ['mmengine>=0.10.7,<1', 'mmcv>=2.1,<2.2', 'mmdet>=3.3,<4', 'mmpretrain>=1.2,<2', 'timm>=1.0.9'],
    'formula': ['scipy', 'scikit-learn', 'pymoo>=0.6'],
    'deploy': ['onnx', 'onnxruntime'],
    'cam': ['grad-cam>=1.5'],
    'ray': ['ray==2.58.0'],
    'dev': [
        'build',
        'pre-commit',
        'pytest',
        'pytest-xdist',
        'ruff',
    ],
}


def version() -> str:
    text = (ROOT / 'tinynet_mm' / '__init__.py').read_text()
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)[1]


setup(
    name='tinynet_mm',
    version=version(),
    description='TinyNet (NeurIPS 2020) for OpenMMLab: backbones, SSDLite detectors, and the tiny formula',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.11',
    packages=find_packages(include=['tinynet_mm', 'tinynet_mm.*']),
    package_data={
        'tinynet_mm': ['schedules/*.py', 'sweep/*.html', '.mim/model-index.yml', '.mim/configs/**/*', '.mim/tools/*.py']
    },
    # configs/ssdlite_*.py lie in .mim/configs/ssdlite as well, and mim wants one file of a name
    exclude_package_data={'tinynet_mm': ['.mim/tools/setup_env.py', '.mim/configs/ssdlite_*.py', '.mim/**/__pycache__/*']},
    install_requires=[
        'matplotlib',
        'numpy',
        'opencv-python',
        'packaging',
        'pillow',
        'pyyaml',
        'safetensors',
        'torch>=2.0',
        'torchvision',
        'tqdm',
        'wrapt',
    ],
    extras_require=EXTRAS,
)
