"""The trial of kills on a short script instead of a training: what is killed, what is counted, and that a difference is found."""

import pytest
import torch

from tinynet_mm.bench import survival

# Three epochs of two steps. A weight is the sum of the steps, so that a lost or repeated step changes it.
SCRIPT = """
import json, os, pathlib, sys, time
import torch

folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
(folder / str(os.getpid()) / 'vis_data').mkdir(parents=True)
saved = max((int(path.stem[6:]) for path in folder.glob('epoch_*.pth')), default=0)
content = torch.load(folder / f'epoch_{saved}.pth') if saved else dict(state_dict=dict(a=torch.zeros(2)), ema_state_dict={})
for epoch in range(saved + 1, 4):
    for step in (1, 2):
        content['state_dict']['a'] += epoch * step + SLIP * saved
        (folder / str(os.getpid()) / 'vis_data' / 'scalars.json').open('a').write(json.dumps(dict(loss=1)) + chr(10))
        time.sleep(0.2)
    content['meta'] = dict(iter=epoch * 2)
    part = folder / f'.epoch_{epoch}.{os.getpid()}.part.pth'
    torch.save(content, part)
    time.sleep(0.1)
    part.rename(folder / f'epoch_{epoch}.pth')
"""


@pytest.mark.parametrize('slip', [0, 1])
def test_kills_are_counted_and_a_difference_is_found(tmp_path, slip):
    (tmp_path / 'train.py').write_text(SCRIPT.replace('SLIP', str(slip)))
    command, notes = [str(tmp_path / 'train.py'), 'config.py'], []
    row = survival.compare(command, tmp_path / 'runs', 'epoch_3.pth', kills=2, terms=0, seed=1, longest=0.6, note=notes.append)
    assert (row['tried'], row['survived'], row['kills'], row['kills_while_saving']) == (2, 2, 2, 1), notes
    saved = [int(note.split(' to ')[0].split()[-1]) for note in notes]
    assert (row['largest_difference'] > 0) == bool(slip and any(saved)) and row['broken_files'] >= 1, notes
    assert len(notes) == 3 and 'SIGKILL while saving' in ' '.join(notes) and notes[-1].startswith('none')


def test_largest_difference_and_broken_files(tmp_path):
    for name, value in dict(a=1.0, b=1.5).items():
        torch.save(
            dict(state_dict=dict(w=torch.full((3,), value)), ema_state_dict=dict(n=torch.tensor(2))), tmp_path / f'{name}.pth'
        )
    assert survival.largest_difference(tmp_path / 'a.pth', tmp_path / 'b.pth') == 0.5
    assert survival.largest_difference(tmp_path / 'a.pth', tmp_path / 'a.pth') == 0
    (tmp_path / 'c.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:100])
    (tmp_path / '.d.1.part.pth').touch()
    assert sorted(survival.broken(tmp_path)) == ['.d.1.part.pth', 'c.pth']
