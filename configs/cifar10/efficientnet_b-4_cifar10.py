"""EfficientNet-B-4 on CIFAR-10, the second network of the paper's figure 4; r = 0.48, so 48 pixels as TinyNet-E.

python tools/train.py configs/cifar10/efficientnet_b-4_cifar10.py --data-root DIR

4.8 M multiply-adds, 0.58 M parameters. Top-1 73.1 ± 1.3 % on the test images (results/cifar10.csv; three seeds).
"""

_base_ = './_base_/rmsprop_cifar10.py'
model = dict(
    data_preprocessor=dict(resolution=48),
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b-4_printed'),
    head=dict(in_channels=768),
)
