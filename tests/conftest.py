"""What tests share: one thread each (pytest runs two processes), no display, no network for model hubs, repeatable properties."""

import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import pytest
import torch  # after the number of threads is set
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
sys.modules['openvino_telemetry'] = None  # type: ignore[assignment]  # it forks the process to send usage data

# the same cases in each run; no database, since nothing is drawn at random
settings.register_profile(
    'repeatable', derandomize=True, deadline=None, database=None, max_examples=25, suppress_health_check=list(HealthCheck)
)
settings.load_profile('repeatable')

SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@pytest.fixture(autouse=True)
def torch_switch_stays():
    """``errors.run`` sets torch's switch for its process; here a process is a whole run of tests, so it ends with each test."""
    before = os.environ.get(SWITCH)
    yield
    os.environ.pop(SWITCH, None)
    if before is not None:
        os.environ[SWITCH] = before


@pytest.fixture
def only_counted_layers(monkeypatch):
    """Norms, activations and initialisation do nothing, since they do not count: four times as many networks per second."""
    from torch import nn

    from tinynet_mm.models import efficientnet, ghostnet, resnet

    for kind in (nn.BatchNorm2d, nn.SiLU, nn.ReLU):
        monkeypatch.setattr(kind, 'forward', lambda self, x: x)
    for kind in (nn.BatchNorm2d, nn.Conv2d, nn.Linear):
        monkeypatch.setattr(kind, 'reset_parameters', lambda self: None)
    for module in (efficientnet, ghostnet, resnet):
        monkeypatch.setattr(module, 'init_convolutions', lambda m: None)
