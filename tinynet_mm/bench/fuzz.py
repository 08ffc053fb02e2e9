"""Read mutated files with a reader again and again; what is not a user error is a finding.

A case is a copy of the valid files of :mod:`.fuzz_readers` with one to four mutations in one or two of its files. The seed and
the number of the case determine it. A finding is an exception other than those that end a tool with one sentence (see
:mod:`tinynet_mm.errors`), a case of more than 5 seconds of CPU time or 60 seconds, a case of more than 500 MB, or a crash. The
cases run in a process of their own, which is started again after a crash.
"""

import gc
import itertools
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import numpy as np

from ..errors import UserError, printable
from ..files import machine_name, write_text
from .fuzz_readers import READERS, Reader
from .mutations import mutated, pick

CPU_SECONDS, SECONDS = 5.0, 60.0
MEGABYTES, HARD_MEGABYTES = 500, 4000  # a finding; the limit of the process, so that a case does not stop the machine
MEMORY = '/dev/shm'  # a file system in memory: a case is six files, written and removed
OURS = ('fuzz', 'fuzz_readers')
NUMBER, ACCEPTED, STARTED = range(3)  # places in what the process shares


def make_case(name: str, seed: int, number: int, valid: Path, case: Path) -> None:
    """Write a case into the folder ``case``, which is replaced; ``valid`` has the valid files."""
    reader, rng = READERS[name], np.random.default_rng([seed, number])
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(valid, case)
    files = sorted(path for pattern in reader.files for path in case.glob(pattern))
    for _ in range(1 + (rng.random() < 0.2)):
        path = pick(rng, files)
        path.write_bytes(mutated(path.read_bytes(), path.suffix, rng, reader.text))


def failure(reader: Reader, case: Path) -> tuple[str, str] | None:
    """Read a case. Returns a name for the finding and its traceback, or None.

    Raises:
        UserError, FileNotFoundError: the reader refuses the case, as it should.
    """
    try:
        reader.read(case)
        return None
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:
        return f'{type(error).__name__}, {place(error)}', traceback.format_exc()


def place(error: BaseException) -> str:
    """The last line of a reader in a traceback, or else the last line, as ``module, line 1``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if 'tinynet_mm' in frame.filename and Path(frame.filename).stem not in OURS]
    last = (own or frames)[-1]
    return f'{Path(last.filename).stem}, line {last.lineno}'


def peak() -> float:
    """The largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def limit_memory() -> None:
    """Let this process have a limited amount of memory more than it has now."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    most = pages * resource.getpagesize() + HARD_MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def save(out: Path, finding: str, text: str, case: Path) -> None:
    """Write the files and the traceback of a finding; the first case of each finding is kept."""
    folder = out / finding
    if not folder.exists():
        shutil.copytree(case, folder / 'case')
        write_text(folder / 'report.txt', printable(text))


def work(name: str, seed: int, first: int, folder: Path, out: Path, state: SynchronizedArray) -> None:
    """Run cases from the number ``first`` on, until the process is ended."""
    limit_memory()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # image libraries print a line for each broken file
    for number in itertools.count(first):
        make_case(name, seed, number, folder / 'valid', folder / 'case')
        state[NUMBER], state[STARTED] = number, time.time()
        cpu, memory = time.process_time(), peak()
        try:
            found = failure(READERS[name], folder / 'case')
            state[ACCEPTED] += found is None
        except (UserError, FileNotFoundError):
            found = None
        cpu, memory = time.process_time() - cpu, peak() - memory
        if found is None and cpu > CPU_SECONDS:
            found = 'slow', f'{cpu:.1f} s of CPU time'
        if found is None and memory > MEGABYTES:
            found = 'large', f'{memory:.0f} MB'
        if found:
            save(out, found[0], f'{name}, seed {seed}, case {number}\n{found[1]}', folder / 'case')


def watch(process: multiprocessing.process.BaseProcess, state: SynchronizedArray, end: float) -> str | None:
    """Wait for the end of the time, a crash or a case that takes too long; the last two are returned as a finding."""
    while time.monotonic() < end:
        process.join(timeout=0.2)
        if process.exitcode is not None:
            return f'crash with status {process.exitcode}'
        if time.time() - state[STARTED] > SECONDS:
            return 'no end'
    return None


def fuzz(name: str, minutes: float, seed: int, out: Path) -> dict[str, object]:
    """Run cases of a reader for some minutes; returns a row of counts. Findings are written into ``out``.

    Raises:
        UserError: the valid files are refused, so the cases would say nothing.
    """
    context, first, begin = multiprocessing.get_context('fork'), 0, time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as temporary:
        folder = Path(temporary)
        (folder / 'valid').mkdir()
        READERS[name].make(folder / 'valid')
        shutil.copytree(folder / 'valid', folder / 'case')
        READERS[name].read(folder / 'case')
        gc.freeze()  # the collections of the cases do not search the modules
        state = context.Array('d', [0, 0, 0])
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        while time.monotonic() - begin < 60 * minutes:
            state[STARTED] = time.time()
            process = context.Process(target=work, args=(name, seed, first, folder, out, state))
            process.start()
            found = watch(process, state, begin + 60 * minutes)
            process.kill()
            process.join()
            if found:
                save(out, found, f'{name}, seed {seed}, case {state[NUMBER]:.0f}', folder / 'case')
            first = int(state[NUMBER]) + 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
    findings = len(list(out.glob('*/report.txt')))
    counts = dict(reader=name, cases=first, accepted=int(state[ACCEPTED]), findings=findings)
    return counts | dict(minutes=round(minutes, 2), cpu_minutes=round(seconds / 60, 2), seed=seed, machine=machine_name())
