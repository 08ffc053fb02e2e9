"""How fast networks are costed: the closed form, over arrays and one by one, against torch's and mmengine's counters.

    python tools/benchmark_cost.py

All of them take turns on the same random networks in this run; the counters' times include building the network, since they
cannot do without (torch's on the meta device, mmengine's as its documentation has it). Takes about two minutes.
"""

import argparse
from pathlib import Path

from tinynet_mm.errors import run
from tinynet_mm.files import write_csv


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--candidates', type=int, default=1_000_000, help='networks in the array form, each round')
    parser.add_argument('--out', type=Path, default=Path('results/cost_rate.csv'))
    args = parser.parse_args(argv)
    import torch

    from tinynet_mm.bench.cost import compare

    torch.set_num_threads(1)
    rows = compare(args.rounds, args.candidates)
    for row in rows:
        print(f'{row["method"]:18} {row["networks_per_second"]:>10} networks/s   {row["times_mmengine_median"]} x mmengine')
    print(f'rows: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    run(main)
