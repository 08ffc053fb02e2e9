"""Test a checkpoint: print the metrics, save them as metrics.json, and draw some detections beside the ground truth.

    python tools/test.py configs/ssdlite_tinynet_d_coco.py work_dirs/ssdlite_tinynet_d_coco/best_*.pth --data-root my_data

The split is `test` where the data set has one (else val); the protocol stands beside the figures in the file.
"""

import argparse
import json
import os
from pathlib import Path

from mmengine.runner import Runner

from tinynet_mm import cli
from tinynet_mm.data.coco import splits_of
from tinynet_mm.mmlab import checkpoints, configs, editing
from tinynet_mm.mmlab.inference import split_sheet
from tinynet_mm.plots import save


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth file or a URL')
    parser.add_argument('--split', choices=['test', 'val'], default='test')
    parser.add_argument('--out', type=Path, help='folder of metrics.json (default: beside the checkpoint)')
    return parser.parse_args(argv)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix('.tmp')
    unfinished.write_text(json.dumps(content, indent=2) + '\n')
    os.replace(unfinished, path)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    cfg = editing.prepare(configs.load_config(args.config), args.data_root, args.input_size, splits=(args.split,), note=cli.note)
    configs.merge_options(cfg, args.cfg_options)
    if args.split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    editing.check_paths(cfg, ('test',))
    if args.data_root and not configs.is_classifier(cfg):
        cli.check_data(cfg, ('test',))
    beside = Path('work_dirs') / Path(args.config).stem if '://' in args.checkpoint else Path(args.checkpoint).parent
    out = args.out or beside
    cfg.work_dir = str(out / 'test')
    content = checkpoints.read_checkpoint(args.checkpoint)
    runner = Runner.from_cfg(cfg)
    checkpoints.check_fits(content, runner.model, args.checkpoint)
    runner.load_checkpoint(args.checkpoint)
    metrics = runner.test()
    protocol = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        data=str(cfg.test_dataloader.dataset.get('ann_file')),
        images=len(runner.test_dataloader.dataset),
    )
    write_json(out / 'metrics.json', dict(metrics=metrics, protocol=protocol))
    for name, value in metrics.items():
        print(f'{name:24} {value:.4f}')
    print(f'metrics: {out / "metrics.json"}')
    if not configs.is_classifier(cfg):
        save(split_sheet(checkpoints.load_model(cfg, args.checkpoint), splits_of(cfg)['test']), out / 'detections.png')
        print(f'ground truth beside prediction: {out / "detections.png"}')
    return 0


if __name__ == '__main__':
    cli.run(main)
