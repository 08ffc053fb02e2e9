"""Trials on Ray with two nodes, one of which is killed during a training. Each trial completes once."""

import csv
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tinynet_mm.sweep import engines
from tinynet_mm.sweep.folder import is_done

pytest.importorskip('ray', reason="the Ray engine's test needs ray: pip install 'ray==2.58.0'")

EPOCHS, EPOCH_S = 4, 0.4


def train(folder: Path) -> dict:
    """Simulate a training: epochs that take time, and a checkpoint after each."""
    state = folder / 'epoch'
    for epoch in range(int(state.read_text()) if state.exists() else 0, EPOCHS):
        time.sleep(EPOCH_S)
        state.write_text(str(epoch + 1))
    return dict(accuracy=50.0, node=os.environ.get('RAY_NODE_ID', ''))


def log(folder: Path) -> list[tuple[str, int]]:
    if not (folder / 'events.csv').exists():
        return []
    with (folder / 'events.csv').open() as file:
        return [(row['event'], int(row['pid'])) for row in csv.DictReader(file)]


def raylet_of(pid: int) -> int:
    """The parent of a Ray worker: the raylet of its node."""
    return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])


def test_trials_of_a_dead_node_are_finished_by_the_other_node(tmp_path):
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import a test
    # Ray's workers have niceness 15: on a busy machine their imports took three minutes each
    health = dict(health_check_initial_delay_ms=0, health_check_period_ms=500, health_check_failure_threshold=2)
    settings = dict(worker_niceness=0, **health)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False, _system_config=settings))
    other = cluster.add_node(num_cpus=1)
    folders = [tmp_path / f'net{i}' for i in range(3)]
    for folder in folders:
        folder.mkdir()
    outcomes = []
    run = partial(engines.on_ray, folders, address=cluster.address, train=train)
    driver = threading.Thread(target=lambda: outcomes.extend(run()), daemon=True)
    try:
        driver.start()
        raylet = other.all_processes['raylet'][0].process.pid
        killed = wait_for_trial_on(raylet, folders)
        cluster.remove_node(other, allow_graceful=False)
        driver.join(timeout=240)
        assert not driver.is_alive()
    finally:
        cluster.shutdown()
    assert sorted(o.status for o in outcomes) == ['done'] * 3, outcomes
    assert all(is_done(folder) for folder in folders)
    for folder in folders:
        story = [event for event, _ in log(folder)]
        assert story == (['start', 'start', 'finish'] if folder == killed else ['start', 'finish']), (folder.name, log(folder))


def wait_for_trial_on(raylet: int, folders: list[Path]) -> Path:
    """A trial on the node of this raylet that has trained an epoch and has epochs left."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for folder in folders:
            story = log(folder)
            if [event for event, _ in story] == ['start'] and (folder / 'epoch').exists() and raylet_of(story[0][1]) == raylet:
                return folder
        time.sleep(0.02)
    raise AssertionError(f'no trial started on the second node: {[log(folder) for folder in folders]}')
