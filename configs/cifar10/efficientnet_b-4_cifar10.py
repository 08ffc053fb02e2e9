"""EfficientNet-B-4 on CIFAR-10, the second network of the paper's figure 4; int(102 * 0.470) = 47 pixels.

python tools/train.py configs/cifar10/efficientnet_b-4_cifar10.py --data-root DIR

4.8 M multiply-adds, 0.58 M parameters. Top-1 70.7 % (results/cifar10.csv; a CPU, one seed).
"""

_base_ = './_base_/rmsprop_cifar10.py'
model = dict(
    data_preprocessor=dict(resolution=47),
    backbone=dict(type='ScaledEfficientNet', arch='efficientnet_b-4'),
    head=dict(in_channels=768),
)
