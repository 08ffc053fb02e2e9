"""Train a detector or a classifier from a config, with MMEngine's Runner.

    python tools/train.py configs/ssdlite_tinynet_d_coco.py                                            # COCO in data/coco
    python tools/train.py configs/ssdlite_tinynet_d_coco.py --data-root my_data --schedule short      # your own COCO-format set

Ctrl-C stops; the same command with --resume goes on. Checkpoints, logs and the whole config lie in the work directory.
"""

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tinynet_mm import cli
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import checkpoints, configs, editing


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('--schedule', choices=list(editing.SCHEDULES), help='short: small data, minutes, from scratch')
    parser.add_argument('--epochs', type=int, help='length of the training; the learning rate still ends with it')
    parser.add_argument('--work-dir', type=Path, help='where results lie (default work_dirs/CONFIG)')
    parser.add_argument('--resume', nargs='?', const='auto', help='go on from the latest checkpoint, or from a path')
    parser.add_argument('--amp', action='store_true', help='mixed precision (CUDA only)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def configure(args: argparse.Namespace) -> Config:
    """The config with every argument applied."""
    cfg = configs.load_config(args.config)
    if args.schedule:
        editing.apply_schedule(cfg, args.schedule)
    if args.epochs:
        editing.set_epochs(cfg, args.epochs)
    editing.prepare(cfg, args.data_root, args.input_size, note=cli.note)
    configs.merge_options(cfg, args.cfg_options)
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or Path('work_dirs') / Path(args.config).stem)
    cfg.launcher = args.launcher
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a CUDA GPU, and torch sees none; leave it out to train in 32 bits.')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def check_length(runner: Runner) -> None:
    """ValueError where the training set fills no batch and incomplete ones are dropped."""
    loader = runner.train_dataloader
    if not len(loader):
        images, batch = len(loader.dataset), loader.batch_size or runner.cfg.train_dataloader.batch_size
        raise UserError(
            f'{images} training images do not fill one batch of {batch} on each process; add images, or train with '
            f'--cfg-options train_dataloader.batch_size={max(1, images // max(1, runner.world_size))}'
        )


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = configure(args)
    editing.check_paths(cfg, ('train', 'val'))
    if args.data_root and not configs.is_classifier(cfg):
        cli.check_data(cfg, ('train', 'val'))
    for warning in checkpoints.pretrained_or_scratch(cfg):
        print(f'warning: {warning}', flush=True)
    runner = Runner.from_cfg(cfg)
    if cfg.resume and cfg.load_from:
        checkpoints.check_fits(checkpoints.read_checkpoint(cfg.load_from), runner.model, cfg.load_from)
    check_length(runner)
    runner.train()
    print(f'results: {cfg.work_dir} (checkpoints, logs, and {Path(args.config).name} with every setting)')
    return 0


if __name__ == '__main__':
    cli.run(main, 'stopped; the same command with --resume goes on where there is a checkpoint.')
