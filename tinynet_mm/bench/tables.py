"""Markdown tables of the measured latencies and of int8, from results/latency*.csv and results/int8.csv.

The times are medians. A speed-up is a ratio of medians of one run, in which all contenders took turns.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..files import read_csv

RUNTIMES = {
    'eager': 'PyTorch eager',
    'compile': 'torch.compile',
    'onnxruntime': 'ONNX Runtime',
    'openvino': 'OpenVINO',
    'ncnn': 'ncnn',
    'onnxruntime int8': 'ONNX Runtime int8',
    'openvino int8': 'OpenVINO int8',
}
PAPER = {('tinynet_a', 'efficientnet_b0'): 0.81, ('tinynet_e', 'efficientnet_b-4'): 0.80}  # table 4, on a phone
PAGE = """# Latency

Written by `python tools/make_tables.py` from the files in `results/`; each row there has its protocol. A speed-up is a ratio of
medians of one run. The roof of a network is the time of its multiply-adds at the rate of a float32 matrix product (1024 x 1024)
in the same run. Weights are random where nothing else is said; the time of a network does not depend on them.

The machine is shared with other programs: SSDLite-MobileNetV2 in eager PyTorch had 151, 241 and 238 ms in three runs, and within
a run the median is up to {noise} times the minimum. Contenders take turns, so that ratios vary less. The ratios of minima
(`min_ms` in `results/`) are others: over eager PyTorch lower for large networks and detectors, higher for small ones; over mmdet
lower.

## Classifiers

{about_classifiers}
`results/latency.csv`

{classifiers}

{ratios}

Below 1 the TinyNet is the faster one. Where a column is above 1, the order that the paper found on its phone is reversed here.

## Targets

What this project aimed at with ONNX Runtime, one thread and batch 1, and what was measured: the networks of the table above that
timm has and that were timed there too.

{targets}

Why targets are missed: the roof counts multiply-adds alone, not activations, squeeze-excite and the data that depthwise
convolutions read and write for few multiply-adds. MobileNetV2, with ReLU6 and without squeeze-excite, is nearest to its roof, and
small networks are farther from it than large ones. From file to boxes, the network takes most of the time.

What was tried, in single trials that are not in `results/`: SiLU as one operator (QuickGelu) saved 6 to 11 % of a network's time
and is not in ONNX's standard; squeeze-excite pooled by other operators changed nothing, nor did threads that do not spin; a saved
optimised graph loads in half the time and runs as fast; JPEG decoding at a reduced scale took 0.85 instead of 1.18 ms but changes
the pixels, and so the boxes; each image is decoded once, and not again for its size, which is in use.

## Detectors, network with decoded boxes

torchvision's network is timed without decoding. int8 is calibrated on random images: its times count, its outputs do not.
{about_detectors}
`results/latency_detectors.csv`

{detectors}

## Detector, from an image file to boxes

SSDLite with TinyNet-D trained on BCCD at 320 pixels (three classes), image {image}; one run for each input size.
Before the network: reading, decoding, resizing, normalising; after it: selection and non-maximum suppression. These parts are
means. {about_files}
`results/latency_file.csv`

{files}

## int8, time alone

Networks as they are (most with SiLU and squeeze-excite), quantised with random images: the times are those of int8, but the
outputs are of no use. ONNX Runtime is slower in int8 than in float for all of them but MobileNetV2, which has ReLU6 and no
squeeze-excite. {about_quantised}
`results/latency_int8.csv`

{quantised}

## int8, accuracy and time

Networks with ReLU6 and without squeeze-excite, one training each: the detector on BCCD (its best epoch on the same 87 validation
images), the classifier on the 10,000 images of CIFAR-10. The range is from the 10th to the 90th percentile of the ratios of
single runs. {about_int8} `results/int8.csv`

{int8}
"""
EAGER, ROOF, FILE = 2.5, {'tinynet_a': 1.2, 'tinynet_e': 1.7}, 4.0  # targets: speed-ups at least, times the roof at most
README = (
    *('tinynet_a', 'tinynet_b', 'tinynet_c', 'tinynet_d', 'tinynet_e', 'efficientnet_b0', 'efficientnet_b-4'),
    *('timm:mobilenetv3_small_100', 'timm:ghostnet_100', 'timm:lcnet_050'),
)


def runtime_of(row: Mapping) -> str:
    """The key of :data:`RUNTIMES` of a row."""
    words = str(row['runtime']).split()
    if words[0] == 'torch':
        return words[-1]
    return f'{words[0]} int8' if row.get('precision') == 'int8' else words[0]


def by_model(rows: Iterable[Mapping]) -> dict[str, dict[str, Mapping]]:
    """The rows of each model by runtime; a file has one model for each suffix."""
    found: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        found.setdefault(str(row['model']), {})[runtime_of(row)] = row
    return found


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are numbers; an empty cell is a dash."""
    from tabulate import tabulate

    align = ('left', *['right'] * (len(head) - 1))
    return tabulate(list(lines), head, 'pipe', missingval='–', colalign=align, disable_numparse=True)


def number(value: object, digits: int = 3) -> str | None:
    """A number with some significant digits; None for an empty cell."""
    return None if value in ('', None) else f'{float(f"{float(str(value)):.{digits}g}"):g}'


def latency_table(rows: Sequence[Mapping], only: Sequence[str] = ()) -> str:
    """Medians in milliseconds of each network in each runtime, with the speed-up over eager PyTorch and the ratio to the roof.

    Args:
        rows: of results/latency.csv or results/latency_detectors.csv.
        only: these models; all by default.
    """
    models = {name: found for name, found in by_model(rows).items() if not only or name in only}
    runtimes = [key for key in RUNTIMES if any(key in found for found in models.values())]
    head = ['network', 'input', 'MACs (M)', *(f'{RUNTIMES[key]} (ms)' for key in runtimes)]
    head += ['ONNX Runtime: times faster than eager', 'ONNX Runtime: times the roof']
    lines = []
    for name, found in models.items():
        first = next(iter(found.values()))
        medians = [number(found[key]['median_ms']) if key in found else None for key in runtimes]
        onnx, eager = found.get('onnxruntime'), found.get('eager')
        faster = number(float(eager['median_ms']) / float(onnx['median_ms'])) if onnx and eager else None
        size = str(first['height']) if first['height'] == first['width'] else f'{first["height"]} x {first["width"]}'
        macs = number(float(first['macs']) / 1e6, 4) if first['macs'] else None
        lines.append([label(name), size, macs, *medians, faster, number(onnx['times_roof']) if onnx else None])
    return markdown(head, lines)


def label(name: str) -> str:
    """The name of a model in a table: a config without folder and suffix."""
    return f'`{Path(name).stem}`' if name.startswith('configs/') else f'`{name}`'


def ratios_table(rows: Sequence[Mapping]) -> str:
    """The ratios of latency that table 4 of the paper states, there and here."""
    models = by_model(rows)
    runtimes = [key for key in RUNTIMES if all(key in models.get(name, {}) for pair in PAPER for name in pair)]
    lines = [
        [f'`{first}` / `{second}`', f'{printed:.2f}', *(_ratio(models[first][key], models[second][key]) for key in runtimes)]
        for (first, second), printed in PAPER.items()
    ]
    return markdown(['ratio of latency', 'paper, on a phone', *(RUNTIMES[key] for key in runtimes)], lines)


def _ratio(first: Mapping, second: Mapping) -> str:
    return f'{float(first["median_ms"]) / float(second["median_ms"]):.2f}'


def targets_table(classifiers: Sequence[Mapping], files: Sequence[Mapping]) -> str:
    """The targets of latency, what was measured, and whether it is enough."""
    models, lines = by_model(classifiers), []
    ours = {name: found for name, found in models.items() if name.removeprefix('timm:') not in models.keys() - {name}}
    for name, found in ours.items():
        eager = models.get(f'timm:{name}', found if name.startswith('timm:') else {}).get('eager')
        if eager and 'onnxruntime' in found:
            lines.append(_target(name, 'times faster than timm in eager PyTorch', _speedup(eager, found['onnxruntime']), EAGER))
    lines += [
        _target(name, 'times the roof', -float(models[name]['onnxruntime']['times_roof']), -most) for name, most in ROOF.items()
    ]
    for row in files:
        if str(row['runtime']).startswith('onnxruntime'):
            api = next(r for r in files if 'inference_detector' in str(r['runtime']) and r['height'] == row['height'])
            lines.append(_target(f'SSDLite-{row["height"]}', 'file to boxes, times faster than mmdet', _speedup(api, row), FILE))
    return markdown(['network', 'quantity', 'target', 'measured', 'reached'], lines)


def _speedup(slow: Mapping, fast: Mapping) -> float:
    return float(slow['median_ms']) / float(fast['median_ms'])


def _target(name: str, quantity: str, value: float, least: float) -> list[object]:
    """A line of the table; an upper limit is given as negative numbers."""
    word = 'at least' if least > 0 else 'at most'
    return [f'`{name}`', quantity, f'{word} {abs(least):g}', number(abs(value)), 'yes' if value >= least else 'no']


def file_table(rows: Sequence[Mapping]) -> str:
    """The time from an image file to boxes, with its parts; the speed-up is over mmdet's inference in the same run."""
    api = {row['height']: float(row['median_ms']) for row in rows if 'inference_detector' in str(row['runtime'])}
    lines = []
    for row in rows:
        parts = [number(row[key]) for key in ('pre_ms', 'network_ms', 'post_ms')]
        faster = number(api[row['height']] / float(row['median_ms'])) if row['height'] in api else None
        lines.append([str(row['runtime']), str(row['height']), number(row['median_ms']), *parts, faster])
    return markdown(['runtime', 'input', 'file to boxes (ms)', 'before', 'network', 'after', 'times faster than mmdet'], lines)


def quantised_table(rows: Sequence[Mapping]) -> str:
    """Medians of each network in float32 and in int8, with the speed-up of int8."""
    models, kinds = by_model(rows), ('onnxruntime', 'openvino')
    head = ['network']
    for kind in kinds:
        head += [f'{RUNTIMES[kind]} (ms)', 'int8 (ms)', 'times faster']
    lines = []
    for name, found in models.items():
        line: list[object] = [label(name)]
        for kind in kinds:
            single, int8 = found[kind], found[f'{kind} int8']
            line += [number(single['median_ms']), number(int8['median_ms']), number(_speedup(single, int8))]
        lines.append(line)
    return markdown(head, lines)


def int8_table(rows: Sequence[Mapping]) -> str:
    """Accuracy and latency in float and in int8, with the speed-up and its 10th and 90th percentile."""
    lines = []
    for row in rows:
        low, high = (number(row[key], 2) for key in ('speedup_p10', 'speedup_p90'))
        faster = f'{number(row["speedup"])} ({low} to {high})' if row['speedup'] != '' else None
        accuracy = f'{row["metric"]} {float(row["value_percent"]):.2f}'
        what = f'{row["runtime"]}, {row["variant"]}'
        lines.append([label(str(row['model'])), what, accuracy, number(row['median_ms']), faster])
    return markdown(['network', 'runtime, variant', 'accuracy (%)', 'median (ms)', 'times faster than float'], lines)


def protocol(rows: Sequence[Mapping]) -> str:
    """The protocol of a table in a sentence."""
    first = rows[0]
    rate = f'; float32 matrix product {number(first["gemm_gmacs_per_s"])} GMACs/s' if 'gemm_gmacs_per_s' in first else ''
    return (
        f'Median of {first["runs"]} runs after {first["warmup"]}, in turns of ten; {first["threads"]} thread(s), '
        f'batch {first["batch"]}{rate}; load {first["load"]}; {first["machine"]}.'
    )


def noise(rows: Iterable[Mapping]) -> float:
    """The largest ratio of the median to the minimum of a row."""
    return max(float(row['median_ms']) / float(row['min_ms']) for row in rows)


def by_height(rows: Sequence[Mapping]) -> list[list[Mapping]]:
    """Rows grouped by input size, which are separate runs of results/latency_file.csv."""
    return [[row for row in rows if row['height'] == height] for height in dict.fromkeys(row['height'] for row in rows)]


def make_page(results: Path) -> str:
    """The page docs/latency.md from the CSV files of a folder.

    Raises:
        FileNotFoundError, UserError: a file is missing or has other columns.
    """
    names = ('latency', 'latency_detectors', 'latency_file', 'latency_int8', 'int8')
    classifiers, detectors, files, quantised, int8 = (read_csv(results / f'{name}.csv') for name in names)
    return PAGE.format(
        classifiers=latency_table(classifiers),
        about_classifiers=protocol(classifiers),
        ratios=ratios_table(classifiers),
        targets=targets_table(classifiers, files),
        detectors=latency_table(detectors),
        about_detectors=protocol(detectors),
        files=file_table(files),
        about_files=' '.join(protocol(list(rows)) for rows in by_height(files)),
        image=files[0]['input'],
        noise=number(noise((*classifiers, *detectors, *files, *quantised)), 2),
        quantised=quantised_table(quantised),
        about_quantised=protocol(quantised),
        int8=int8_table(int8),
        about_int8=protocol(int8),
    )


def readme_table(results: Path) -> str:
    """The table of latency in the README with its protocol, from results/latency.csv."""
    rows = read_csv(results / 'latency.csv')
    return f'{protocol(rows)}\n\n{latency_table(rows, README)}'
