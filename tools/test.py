"""Test a checkpoint: print the metrics, save them as metrics.json, and draw some detections next to the ground truth.

    python tools/test.py configs/ssdlite_tinynet_d_coco.py work_dirs/ssdlite_tinynet_d_coco/best_*.pth --data-root my_data

The split is `test` if the data set has one, otherwise `val`; metrics.json also has the protocol.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.errors import UserError
from tinynet_mm.files import check_writable, write_json

UNUSED = dict.fromkeys(
    ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'), 'a test does not train'
)
UNUSED |= dict(load_from='give the checkpoint after the config', resume='a test does not resume', work_dir='use --out DIR')


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('--split', choices=['test', 'val'], default='test')
    parser.add_argument('--out', type=cli.path, help='folder of metrics.json (default: that of the checkpoint)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    return parser.parse_args(argv)


def configure(args: argparse.Namespace, out: Path):
    """Return the config with every argument applied; its test part reads the split."""
    from tinynet_mm.mmlab import configs, editing

    cfg = editing.prepare(configs.load_config(args.config), args.data_root, args.input_size, (args.split,), cli.note)
    editing.limit_workers(cfg, (args.split,), cli.note)
    other = 'val' if args.split == 'test' else 'test'
    unused = {f'{other}_{part}': f'--split {args.split} reads {args.split}_{part}' for part in ('dataloader', 'evaluator')}
    unused['val_cfg'] = 'a test reads test_cfg'
    configs.merge_options(cfg, configs.parse_options(args.cfg_options), UNUSED | unused)
    if args.split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    editing.without_averages(cfg)
    cfg.work_dir, cfg.load_from, cfg.resume, cfg.launcher = str(out / 'test'), None, False, args.launcher
    editing.check_paths(cfg, ('test',))
    return cfg


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    args = parse_arguments(argv)
    from tinynet_mm.mmlab import processes

    with processes.group(args.launcher):
        test(args)
    return 0


def test(args: argparse.Namespace) -> None:
    """Test as the command line says; of several processes only the first one checks data, prints and writes."""
    from tinynet_mm.mmlab import checkpoints, configs, processes, running

    default = Path('work_dirs') / configs.config_name(args.config) if '://' in args.checkpoint else Path(args.checkpoint).parent
    out = args.out or default
    check_writable(out / 'metrics.json')
    cfg = processes.first_then_others(lambda: configure(args, out))
    if args.data_root and not configs.is_classifier(cfg):
        processes.first(lambda: cli.check_data(cfg, ('test',)))
    content = checkpoints.read_checkpoint(args.checkpoint)
    checkpoints.from_scratch(cfg)
    runner = running.build_runner(cfg)
    checkpoints.load_weights(runner.model, content, args.checkpoint)
    metrics = runner.test()
    if not metrics:
        raise UserError(f'{args.checkpoint}: the evaluation has no metrics, because the model detects nothing; train it longer.')
    processes.first(lambda: write(args, cfg, out, runner, metrics))


def write(args: argparse.Namespace, cfg, out: Path, runner, metrics: dict) -> None:
    """Print and write the metrics, and draw detections."""
    from tinynet_mm.data.coco import splits_of
    from tinynet_mm.mmlab import checkpoints, configs, console, inference
    from tinynet_mm.plots import save

    data = str(cfg.test_dataloader.dataset.get('ann_file'))
    protocol = dict(config=args.config, checkpoint=args.checkpoint, data=data, images=len(runner.test_dataloader.dataset))
    print(console.scores_line(metrics))
    print(f'metrics: {write_json(out / "metrics.json", dict(metrics=metrics, protocol=protocol))}')
    if not configs.is_classifier(cfg):
        model = checkpoints.load_model(cfg, args.checkpoint)
        save(inference.split_sheet(model, splits_of(cfg)['test']), out / 'detections.png')
        print(f'ground truth next to predictions: {out / "detections.png"}')


if __name__ == '__main__':
    cli.run(main)
