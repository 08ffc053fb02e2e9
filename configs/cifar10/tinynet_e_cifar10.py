"""TinyNet-E on CIFAR-10, the first network of the paper's figure 4; int(102 * 0.475) = 48 pixels.

python tools/train.py configs/cifar10/tinynet_e_cifar10.py --data-root DIR    # DIR/train/<class>/ and DIR/val/<class>/

5.0 M multiply-adds, 0.77 M parameters. Top-1 71.3 ± 1.5 % on the test images (results/cifar10.csv; three seeds).
"""

_base_ = './_base_/rmsprop_cifar10.py'
model = dict(
    data_preprocessor=dict(resolution=48),
    backbone=dict(type='TinyNet', arch='e'),
    head=dict(in_channels=1280),
)
