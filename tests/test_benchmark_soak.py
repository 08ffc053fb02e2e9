"""The soak on a short script instead of a training: growth of memory and open files is found, and no growth is none."""

import pytest

from tinynet_mm.bench import soak
from tinynet_mm.errors import UserError

SCRIPT = """
import json, pathlib, sys, time

folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1]) / 'a' / 'vis_data'
folder.mkdir(parents=True)
kept = []
for step in range(60):
    (folder / 'scalars.json').open('a').write(json.dumps(dict(loss=1)) + chr(10))
    kept += [(bytearray(2**20), open(sys.argv[0]))] if GROWS else []
    time.sleep(0.02)
"""


@pytest.mark.parametrize('grows', [False, True])
def test_growth_is_found(tmp_path, grows):
    (tmp_path / 'train.py').write_text(SCRIPT.replace('GROWS', str(grows)))
    row = soak.summary(soak.watch([str(tmp_path / 'train.py')], tmp_path / 'run', every=0.03))
    assert row['steps'] > 50 and row['threads_first'] == row['threads_last'] == 1
    assert (row['files_last'] > row['files_first'] + 10) == (row['mib_last'] > row['mib_first'] + 10) == grows
    assert (row['mib_per_1000_steps'] > 500) == grows and (abs(row['mib_per_1000_steps']) < 50) != grows


def test_few_looks_and_a_training_that_fails(tmp_path):
    with pytest.raises(UserError, match='0 looks are too few'):
        soak.summary([soak.Seen(1, 2.0, 3, 1)])
    (tmp_path / 'train.py').write_text('raise SystemExit(2)')
    with pytest.raises(UserError, match='the training fails: see .*run.log'):
        soak.watch([str(tmp_path / 'train.py')], tmp_path / 'run', every=0.01)
