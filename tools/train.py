"""Train a detector or a classifier from a config, with MMEngine's Runner.

    python tools/train.py configs/ssdlite_tinynet_d_coco.py                                            # COCO in data/coco
    python tools/train.py configs/ssdlite_tinynet_d_coco.py --data-root my_data --schedule short      # your own data

Ctrl-C stops; the same command with --resume continues. Checkpoints, logs, the complete config and the report of a detector,
report/report.html, are in the work directory.
"""

import argparse
import os
from contextlib import nullcontext
from pathlib import Path

from tinynet_mm import cli

UNUSED = dict(
    launcher='use --launcher', resume='use --resume', custom_imports='modules are imported before; set it in the config file'
)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    cli.add_val_share(parser)
    parser.add_argument('--balance', action='store_true', help='show images of rare classes more often')
    parser.add_argument('--keep-empty', action='store_true', help='train on images without boxes too')
    parser.add_argument('--schedule', choices=['short'], help='short: 40 epochs of AdamW for hundreds of images')
    parser.add_argument('--epochs', type=cli.positive, help='length of the training; schedules that count in epochs follow it')
    parser.add_argument('--from-scratch', action='store_true', help='random weights; otherwise published ones are downloaded')
    parser.add_argument('--work-dir', type=cli.path, help='folder of the results (default work_dirs/CONFIG)')
    parser.add_argument('--resume', nargs='?', const='auto', help='continue from the latest checkpoint, or from a path')
    parser.add_argument('--amp', action='store_true', help='mixed precision (CUDA only)')
    parser.add_argument('--patience', type=cli.positive, metavar='N', help='stop after N validations without a better score')
    parser.add_argument('--batch-size', type=cli.positive, metavar='N', help='images of a step; the learning rate follows')
    parser.add_argument('--workers', type=cli.count, metavar='N', help='processes that load images, 0 for none')
    parser.add_argument('--threads', type=cli.positive, metavar='N', help='CPU threads (default: the cores that are free)')
    parser.add_argument('--device', help='cpu, cuda, or cuda:1 for the second GPU (default: a GPU if there is one)')
    parser.add_argument('--tensorboard', dest='trackers', action='append_const', const='tensorboard', help='log to TensorBoard')
    parser.add_argument('--wandb', dest='trackers', action='append_const', const='wandb', help='log to Weights & Biases')
    parser.add_argument('--verbose', action='store_true', help="print all of MMEngine's lines, which are in the log file")
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    return parser.parse_args(argv)


def configure(args: argparse.Namespace):
    """Return the config with every argument applied."""
    from tinynet_mm.data import balance
    from tinynet_mm.mmlab import configs, editing, resuming
    from tinynet_mm.training import options

    cfg = configs.load_config(args.config)
    if args.schedule:
        editing.apply_schedule(cfg, args.schedule)
    if args.epochs:
        editing.set_epochs(cfg, args.epochs)
    editing.prepare(cfg, args.data_root, args.input_size, note=cli.note, val_share=args.val_share)
    if args.workers is None:
        editing.limit_workers(cfg, ('train', 'val'), cli.note)
    configs.merge_options(cfg, configs.parse_options(args.cfg_options), UNUSED)
    if args.keep_empty:
        balance.keep_empty(cfg)
    if args.balance:
        cli.note(balance.balance(cfg))
    editing.check_training(cfg)
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or Path('work_dirs') / configs.config_name(args.config))
    cfg.launcher = args.launcher
    editing.guard(cfg)
    options.apply(cfg, args.patience, args.batch_size, args.workers)
    if args.amp:
        editing.set_amp(cfg)
    if args.resume:
        resuming.set_resume(cfg, args.resume, cli.note)
    return cfg


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    args = parse_arguments(argv)
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'  # how MMEngine trains on the CPU of a machine with GPUs
    from tinynet_mm.mmlab import processes, resuming
    from tinynet_mm.training import lock

    with processes.group(args.launcher):
        cfg, content = prepare(args)
        alone = lock.removed_if_refused(cfg.work_dir) if args.launcher == 'none' else nullcontext()
        with alone, processes.first(lambda: lock.hold(cfg.work_dir)) or nullcontext():
            if not cfg.get('resume'):
                processes.first(lambda: resuming.mark_start(cfg.work_dir))
            train(args, cfg, content)
    return 0


def prepare(args: argparse.Namespace) -> tuple:
    """Return the config and the content of the checkpoint to start from; of several processes the first one checks the data."""
    from tinynet_mm.mmlab import checkpoints, configs, editing, processes
    from tinynet_mm.training import options

    options.set_device(args.device, args.launcher)
    options.check_trackers(args.trackers or ())
    if note := options.set_threads(args.threads):
        cli.note(note)
    cfg = processes.first_then_others(lambda: configure(args))
    content = checkpoints.read_start(cfg)
    editing.check_paths(cfg, ('train', 'val'))
    if args.data_root and not configs.is_classifier(cfg):
        processes.first(lambda: cli.check_data(cfg, ('train', 'val')))
    if args.from_scratch or content or cfg.get('resume'):
        checkpoints.from_scratch(cfg)
    for warning in checkpoints.pretrained_or_scratch(cfg):
        print(f'warning: {warning}', flush=True)
    if note := checkpoints.slow_backbone(cfg):
        cli.note(note)
    return cfg, content


def train(args: argparse.Namespace, cfg, content) -> None:
    """Train, and write the report."""
    from tinynet_mm import report
    from tinynet_mm.mmlab import checkpoints, running
    from tinynet_mm.training import hooks, options, progress, repeatable

    runner = running.build_runner(cfg, running.VerboseRunner if args.verbose else running.TrainingRunner)
    repeatable.install(runner)
    runner.register_hook(hooks.ShortHistory())
    lines = progress.EpochLines()
    if not args.verbose:
        runner.register_hook(lines)
    if content and (note := checkpoints.start_from(runner, content)):
        cli.note(note)
    if args.batch_size:
        cli.note(options.check_batch_size(runner, args.batch_size))
    if note := running.check_batches(runner):
        cli.note(note)
    options.add_trackers(runner, args.trackers or ())
    try:
        runner.train()
    finally:
        lines.close()
    print(f'results: {cfg.work_dir} (checkpoints, logs, and {Path(cfg.filename).name} with every setting)')
    if line := report.after_training(cfg, runner, cli.progress):
        print(line)


if __name__ == '__main__':
    cli.run(main, 'stopped; the same command with --resume continues from the latest checkpoint.')
