"""Count the cost of networks: parameters, multiply-adds (the paper's FLOPs) and activations.

    python tools/cost.py tinynet_d efficientnet_b0:r=0.8,w=0.7,d=0.9 resnet50:w=0.5
    python tools/cost.py configs/ssdlite_tinynet_d_coco.py mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py

A NAME is a preset, or a base with multipliers; its cost is computed in closed form, with a classifier. A CONFIG is a file or the
``package::name`` of a zoo; its model is built and counted by torch on one image with the size of its test pipeline.
"""

import argparse

from tinynet_mm import cli
from tinynet_mm.archs import PRESETS, resolve
from tinynet_mm.cost import NOTHING, Cost, check_input, parts
from tinynet_mm.errors import UserError, did_you_mean, run
from tinynet_mm.mmlab.registration import names_config, shipped_configs


def number(key: str, text: str) -> float | bool:
    """The value of a multiplier or flag; UserError if it is neither a number nor a boolean."""
    if text in ('True', 'False'):
        return text == 'True'
    try:
        return float(text.encode('ascii'))  # float() also reads digits of other scripts
    except ValueError:
        raise UserError(f'{key}={text} is not a number; write multipliers like efficientnet_b0:r=0.8,w=0.7,d=0.9.') from None


def count_network(name: str, side: int | None, classes: int) -> tuple[tuple[int, int], dict[str, Cost]]:
    """Input size (height, width) in pixels and cost by part of a preset, or of a base with multipliers."""
    base, _, multipliers = name.partition(':')
    if base not in PRESETS:
        near = did_you_mean(base, (*PRESETS, *shipped_configs()), cutoff=0.3)
        raise UserError(f'no network or config {base!r}.{near} Networks: {", ".join(PRESETS)}.')
    pairs = [pair.partition('=')[::2] for pair in multipliers.split(',')] if multipliers else []
    keys = [key for key, _ in pairs]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise UserError(f'{name}: {repeated[0]} is given twice; give each multiplier once.')
    arch = resolve(dict(base=base, **{key: number(key, text) for key, text in pairs}) if pairs else base)
    side = arch.resolution if side is None else side
    return (side, side), dict(parts(arch, side, classes))


def count_config_file(name: str, side: int | None, classes: int | None) -> tuple[tuple[int, int], dict[str, Cost]]:
    """Input size (height, width) in pixels and cost by part of a config's model; None for its own side or classes."""
    from tinynet_mm.mmlab.configs import load_config, set_classes
    from tinynet_mm.mmlab.counting import count_config
    from tinynet_mm.mmlab.editing import has_points, set_input_size

    cfg = load_config(name)
    head = cfg.model.get('bbox_head', {})
    if side and ('input_size' in head or has_points(head)):
        set_input_size(cfg, side)
    if classes == 0:
        raise UserError(f'{name}: --classes 0 is for a NAME; give a config 1 or more classes.')
    if classes:
        set_classes(cfg.model, classes)
    return count_config(cfg, side)


def line(name: str, cost: Cost, size: str = '', width: int = 40) -> str:
    """One line of the table, with the name in ``width`` characters."""
    return f'{name:{width}} {size:>9} {cost.params / 1e6:10.3f} {cost.macs / 1e6:11.2f} {cost.activations / 1e6:14.3f}'


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(parser.add_argument('networks', nargs='+', metavar='NAME|CONFIG'), PRESETS)
    parser.add_argument('--resolution', '--input-size', type=int, metavar='N', help="N x N pixels (default: the network's own)")
    parser.add_argument('--classes', type=int, help='default 1000, or those of the CONFIG; 0 for the backbone of a NAME alone')
    parser.add_argument('--stages', action='store_true', help='print a line for each part too')
    args = parser.parse_args(argv)
    classes = 1000 if args.classes is None else args.classes
    check_input(args.resolution, classes)
    width = max(map(len, args.networks))
    header = f'{"network":{width}} {"input":>9} {"params (M)":>10} {"MACs (M)":>11} {"activations (M)":>15}'
    for index, name in enumerate(args.networks):
        size, rows = (
            count_config_file(name, args.resolution, args.classes)
            if names_config(name)
            else count_network(name, args.resolution, classes)
        )
        print(*[header] * (index == 0), line(name, sum(rows.values(), NOTHING), f'{size[1]}x{size[0]}', width), sep='\n')
        for part, cost in rows.items() if args.stages else ():
            print(line(f'  {part}', cost, width=width))
    return 0


if __name__ == '__main__':
    run(main)
