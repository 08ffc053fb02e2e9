"""What all tests share: one thread each (pytest runs two processes), no display, and no way to the network for model hubs."""

import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import pytest
import torch  # after the number of threads is set

torch.set_num_threads(1)
sys.modules['openvino_telemetry'] = None  # type: ignore[assignment]  # it forks the process to send usage data

SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@pytest.fixture(autouse=True)
def torch_switch_stays():
    """``errors.run`` sets torch's switch for its process; here a process is a whole run of tests, so it ends with each test."""
    before = os.environ.get(SWITCH)
    yield
    os.environ.pop(SWITCH, None)
    if before is not None:
        os.environ[SWITCH] = before
