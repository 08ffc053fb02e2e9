"""TinyNet-E for int8 on CIFAR-10: ReLU6 and no squeeze-excite, otherwise as tinynet_e_cifar10.py.

66.9 % top-1, in int8 66.6 to 66.8 (results/int8.csv; one seed, trained before the recipe had a validation part and this rate).

python tools/train.py configs/cifar10/tinynet_e_lite_cifar10.py --data-root DIR    # DIR/train/<class>/ and DIR/val/<class>/
"""

_base_ = './_base_/rmsprop_cifar10.py'
model = dict(
    data_preprocessor=dict(resolution=48),
    backbone=dict(type='TinyNet', arch=dict(r=0.475, w=0.51, d=0.60, se=0), act_cfg=dict(type='ReLU6')),
    head=dict(in_channels=1280),
)
