"""The command ``tinynet VERB``: the tools of the folder ``tools``, from any folder and also from a wheel.

    tinynet train rtmdet_tinynet_e_coco --data-root my_data --schedule short
    python -m tinynet_mm train ...                                               # the same, for instance after torchrun

A verb runs the file of its tool, so ``tinynet train`` and ``python tools/train.py`` are the same program. This module imports
neither torch nor MMLab: the help of each verb is printed within half a second.
"""

import argparse
import ast
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import __version__, errors
from .mmlab.registration import NOT_SHIPPED, config_root

# tools whose file has another name than their verb; the verb of benchmark_cam.py is benchmark-cam
FILES = dict(
    check='check_dataset',
    compare='compare_runs',
    convert='convert_dataset',
    golden='make_golden',
    plot='plot_curves',
    results='plot_results',
    shapes='make_shapes',
    subset='make_subset',
    weights='convert_weights',
)
GROUPS = {
    'Data': ('check', 'convert', 'shapes', 'subset'),
    'Training': ('train', 'test', 'plot', 'report', 'compare', 'demo'),
    'Models': ('predict', 'cam', 'export', 'golden', 'publish', 'weights'),
    'Cost and scaling': ('cost', 'formula', 'sweep', 'latency', 'results'),
    'Environment': ('doctor',),
}
USAGE = 'usage: tinynet VERB [arguments]     tinynet VERB --help     tinynet --version'
COMPLETING = '_ARGCOMPLETE'  # argcomplete's variable: one more than the number of words before the program


def tools() -> dict[str, Path]:
    """The file of each verb."""
    verbs = {file: verb for verb, file in FILES.items()}
    files = sorted(path for path in (config_root() / 'tools').glob('*.py') if path.name not in NOT_SHIPPED)
    return {verbs.get(path.stem, path.stem.replace('_', '-')): path for path in files}


def overview() -> str:
    """All verbs with the first line of the documentation of their tools."""
    known = tools()
    grouped = {verb for verbs in GROUPS.values() for verb in verbs}
    groups = GROUPS | {'Benchmarks and maintenance': tuple(verb for verb in known if verb not in grouped)}
    lines = [USAGE]
    for title, verbs in groups.items():
        lines += ['', f'{title}:', *(f'  {verb:<21} {_summary(known[verb])}' for verb in verbs if verb in known)]
    return '\n'.join([*lines, '', 'Completion in bash and zsh: eval "$(register-python-argcomplete tinynet)"'])


def _summary(path: Path) -> str:
    """The first sentence of a tool's documentation, to its first colon."""
    return re.split(r'[:;] |\.$', (ast.get_docstring(ast.parse(path.read_text())) or '').partition('\n')[0])[0]


def run(verb: str, arguments: Sequence[str]) -> None:
    """Run the tool of a verb as a program; its help and its messages name the verb.

    Raises:
        SystemExit: with the exit status of the tool, as all tools end.
    """
    files = tools()
    verbs = {path.name: verb for verb, path in files.items()}
    text = re.sub(
        r'(?:python )?tools/(\w+\.py)', lambda found: f'tinynet {verbs.get(found[1], found[1])}', files[verb].read_text()
    )
    sys.argv = [f'tinynet {verb}', *arguments]
    exec(compile(text, str(files[verb]), 'exec'), dict(__name__='__main__', __file__=str(files[verb])))


def script() -> None:
    """The entry point of the command; see :func:`.errors.run`."""
    errors.run(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb, or print all of them; returns the exit status.

    Raises:
        UserError: an unknown verb.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if COMPLETING in os.environ:
        _complete()
    if words[:1] == ['help'] and len(words) == 2:
        words = [words[1], '--help']
    if not words or words[0] in ('-h', '--help', 'help'):
        print(overview())
        return 0
    if words[0] == '--version':
        print(f'tinynet_mm {__version__}')
        return 0
    if words[0] not in (known := tools()):
        near = errors.did_you_mean(words[0], known)
        raise errors.UserError(f'no verb {words[0][:40]!r}.{near} `tinynet --help` has all.')
    run(words[0], words[1:])
    return 0


def _complete() -> NoReturn:
    """Print the completions of the command line that the shell is editing, and exit; see argcomplete's documentation."""
    import argcomplete

    typed = os.environ['COMP_LINE'][: int(os.environ['COMP_POINT'])]
    words = typed.split()
    if len(words) + typed.endswith(' ') > 2 and words[1] in tools():
        os.environ[COMPLETING] = '2'  # the verb takes the place of the program
        for method in ('parse_args', 'parse_intermixed_args'):
            setattr(argparse.ArgumentParser, method, lambda self, *_: argcomplete.autocomplete(self))
        run(words[1], [])
    parser = argparse.ArgumentParser()
    parser.add_argument('verb', choices=sorted(tools()))
    argcomplete.autocomplete(parser)
    sys.exit(1)  # argcomplete has not ended the process: the shell is not completing
