"""Write the report of a trained detector: one HTML page with curves, scores of each class, detections and settings.

    python tools/report.py configs/ssdlite_tinynet_d_coco.py work_dirs/ssdlite_tinynet_d_coco/best_*.pth --data-root my_data

tools/train.py writes the same page at the end of a training. The page is one file and loads nothing from the network.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, or a URL')
    parser.add_argument('--split', choices=['val', 'test'], default='val', help='images to detect in (default %(default)s)')
    parser.add_argument('--out', type=cli.path, help='folder of report.html (default: report, next to the checkpoint)')
    parser.add_argument('--device', default='cpu', help='cpu or cuda:0 (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    args = parse_arguments(argv)
    from tinynet_mm import report
    from tinynet_mm.errors import UserError
    from tinynet_mm.files import check_writable
    from tinynet_mm.mmlab import configs, editing

    out = args.out or (Path('work_dirs') if '://' in args.checkpoint else Path(args.checkpoint).parent) / 'report'
    check_writable(out / 'report.html')
    cfg = editing.prepare(configs.load_config(args.config), args.data_root, args.input_size, (args.split,), cli.note)
    configs.merge_options(cfg, configs.parse_options(args.cfg_options))
    if configs.is_classifier(cfg):
        raise UserError('tools/report.py takes detectors; tools/test.py prints the accuracy of a classifier.')
    editing.check_paths(cfg, (args.split,))
    print(f'report: {report.write(cfg, args.checkpoint, out, args.split, args.device, cli.progress)}')
    return 0


if __name__ == '__main__':
    cli.run(main)
