"""Class activation maps: the evidence in an image for a class or for a box.

    python tools/cam.py CONFIG CHECKPOINT photo.jpg folder/ --out cams                    the best box, or the best class
    python tools/cam.py CONFIG CHECKPOINT folder/ --target class=cat --per-box            a map for each cat
    python tools/cam.py folder/ --compare A.py=a.pth B.py=b.pth --out figure5             models side by side, PNG and PDF;
                                                                     --method a,b         methods too
    python tools/cam.py CONFIG CHECKPOINT --evaluate --data-root DIR --method hirescam,gradcam --limit 50   faithfulness

Works with classifiers of mmpretrain and detectors of mmdet 3 (dense heads, Faster R-CNN). OUT contains a picture and the map as
an array (.npy, on the original image, 0 to 1) for each target, and maps.csv. The map of several boxes is the maximum of their
maps, each scaled to 0..1 by itself. Targets of detectors are logits before non-maximum suppression; the layer `auto` is the
level that the box is computed from, named level0, level1, ...
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet_mm import cli
from tinynet_mm.errors import printable

if TYPE_CHECKING:
    from tinynet_mm.cam.tasks import Method


def parser() -> argparse.ArgumentParser:
    """The arguments of the tool."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(
        p.add_argument('paths', nargs='*', metavar='CONFIG [CHECKPOINT] IMAGE_OR_FOLDER', help='a config, its .pth, images')
    )
    p.add_argument('--method', default='auto', help='auto: hirescam for boxes, gradcam for classes; an unknown name lists all')
    p.add_argument('--target', default='top1', help='top1, class=NAME, box=K (from 1, the best) or all (default %(default)s)')
    p.add_argument('--layer', nargs='+', default=['auto'], help='auto, or names as in model.named_modules(), level0...')
    p.add_argument('--per-box', action='store_true', help='a map for each box instead of one for all of the target')
    p.add_argument('--topk', type=int, default=5, help='most boxes or classes (default %(default)s)')
    p.add_argument('--score-thr', type=cli.probability, default=0.3, help='lowest score of a box (default %(default)s)')
    p.add_argument('--eigen-smooth', action='store_true', help='first principal component of the weighted maps')
    p.add_argument('--aug-smooth', action='store_true', help='mean over mirrored, brighter and darker input; six times the work')
    p.add_argument('--out', type=cli.path, default=Path('cams'), help='folder of the results (default %(default)s)')
    p.add_argument('--batch', type=int, default=4, help='images that share a pass (default %(default)s)')
    p.add_argument('--device', default='cpu', help='cpu or cuda:0 (default %(default)s)')
    p.add_argument('--data-root', type=cli.path, help='data set with the class names, and of --evaluate')
    p.add_argument('--input-size', type=int, help='side of the input of a detector in pixels (default: of the config)')
    p.add_argument('--random-weights', action='store_true', help='use no checkpoint, to try a config')
    p.add_argument('--compare', nargs='+', metavar='CONFIG=CHECKPOINT', help='models of a figure, instead of CONFIG CHECKPOINT')
    p.add_argument('--evaluate', action='store_true', help='pointing game, energy in the box, deletion and insertion, as CSV')
    p.add_argument('--split', default='val', choices=('train', 'val', 'test'), help='split of --evaluate (default %(default)s)')
    p.add_argument('--limit', type=int, default=0, help='images of --evaluate, spread over the split; 0 for all')
    return p


def method_of(args: argparse.Namespace) -> 'Method':
    """The method and the layers of the arguments."""
    from tinynet_mm.cam.tasks import Method

    return Method(args.method, () if args.layer == ['auto'] else tuple(args.layer), args.eigen_smooth, args.aug_smooth)


def lines(args: argparse.Namespace) -> Iterator[str]:
    """Run the chosen task; yields its output line by line."""
    from tinynet_mm.cam import tasks
    from tinynet_mm.mmlab.configs import config_name

    common = (args.data_root, args.input_size, args.device, args.random_weights, note)
    if args.compare:
        pairs, images = tasks.split_compared([*args.paths, *args.compare])
        files = tasks.image_files(images)
        models = [(config_name(config), tasks.load(config, checkpoint, *common)) for config, checkpoint in pairs]
        options = dict(target=args.target, threshold=args.score_thr, topk=args.topk)
        return tasks.compare_models(models, files, args.out, method_of(args), **options)
    config, checkpoint, images = tasks.split_paths(args.paths)
    if args.evaluate:
        about = dict(config=config_name(config), weights=tasks.fingerprint(checkpoint))
        options = dict(score_threshold=args.score_thr, boxes_per_image=args.topk)
        data = (args.data_root, args.split, args.limit)
        return tasks.measure_faithfulness(
            tasks.load(config, checkpoint, *common), method_of(args), args.out, about, *data, **options
        )
    files = tasks.image_files(images)
    options = dict(threshold=args.score_thr, topk=args.topk, per_box=args.per_box)
    loaded = tasks.load(config, checkpoint, *common)
    return tasks.draw_maps(loaded, files, args.out, method_of(args), args.target, args.batch, **options)


def note(text: str) -> None:
    """Print a note for the user."""
    cli.note(printable(text))


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parser().parse_intermixed_args(argv)
    for line in lines(args):
        print(printable(line), flush=True)
    return 0


if __name__ == '__main__':
    cli.run(main)
