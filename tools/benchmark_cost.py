"""Compare the rates at which networks are counted: the closed form, over arrays and one by one, torch's and mmengine's counters.

    python tools/benchmark_cost.py

All methods take turns on the same random networks. The times of the counters include building the network, which they need
(torch's on the meta device, mmengine's as in its documentation). Takes about two minutes.
"""

import argparse
from functools import partial
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=cli.positive, default=20, help='rounds after one for warm-up (default %(default)s)')
    parser.add_argument('--candidates', type=cli.positive, default=1_000_000, help='networks of the array form in each round')
    parser.add_argument('--out', type=cli.path, default=Path('results/cost_rate.csv'), help='(default %(default)s)')
    args = parser.parse_args(argv)
    import torch

    from tinynet_mm.bench.cost import compare

    check_writable(args.out)
    torch.set_num_threads(1)
    rows = compare(args.rounds, args.candidates, partial(cli.progress, title='rounds'))
    for row in rows:
        print(f'{row["method"]:18} {row["networks_per_second"]:>10} networks/s   {row["times_mmengine_median"]} x mmengine')
    print(f'written: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    cli.run(main)
