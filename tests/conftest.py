"""What all tests share: one thread each (pytest runs two processes), no display, and no way to the network for model hubs."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import torch  # after the number of threads is set

torch.set_num_threads(1)
