"""Build MMEngine's Runner from a config: errors of the config become one sentence, and long dumps stay out of the console.

MMEngine prints about 540 lines (environment, config, hooks) before the first iteration. They stay in the log file, and so do the
tables of pycocotools and, in a training, the lines of single iterations.
"""

import builtins
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from wrapt import register_post_import_hook

from ..errors import UserError
from ..files import atomic
from .configs import check_text
from .console import TABLE, OurLines, PlainConsole, WithoutDumps, WithoutNoise

WRONG = (LookupError, TypeError, ValueError, AssertionError, AttributeError, ArithmeticError)  # what wrong values raise
PROGRESS = (  # of pycocotools
    'loading annotations into memory',
    'Loading and preparing results',
    'creating index',
    'index created',
    'Running per image evaluation',
    'Evaluate annotation type',
    'Accumulating evaluation results',
    'Done (t=',
    'DONE (t=',
)


class QuietRunner(Runner):
    """MMEngine's Runner with its dumps in the log file only.

    Attributes:
        console: the filter of the console.
        start: a dict with ``state_dict``, the weights to start a training from; they replace the file ``load_from``, which
            MMEngine reads as a .pth only.
    """

    console: type[logging.Filter] = WithoutDumps
    start: dict[str, Any] | None = None

    def train(self) -> nn.Module:
        """Train; MMEngine builds the loops, the optimizer and the schedules here, so wrong entries of the config are found."""
        with config_errors():
            return super().train()

    def test(self) -> dict:
        """Test; see :meth:`train`."""
        with config_errors():
            return super().test()

    def load_or_resume(self) -> None:
        """Load ``start`` if it is set, or else as MMEngine does.

        Raises:
            UserError: a training cannot continue from the checkpoint, for instance because it has another optimizer.
        """
        if self.start is None:
            try:
                super().load_or_resume()
            except UserError:
                raise
            except (*WRONG, RuntimeError) as error:
                reason = f'cannot continue from {self._load_from} ({type(error).__name__}: {error})'
                raise UserError(f'{reason}; give a checkpoint of a training with this config, or leave out --resume.') from error
            return
        self.call_hook('after_load_checkpoint', checkpoint=self.start)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_state_dict(model, self.start['state_dict'], strict=False)
        self.start, self._has_loaded = None, True
        self.logger.info(f'Load checkpoint from {self._load_from}')

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint as MMEngine does; it appears under its name when it is complete and on the disk.

        Raises:
            UserError: it cannot be written, for instance because the disk is full; earlier checkpoints stay.
        """
        if '://' in str(out_dir):  # not a folder
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with atomic(Path(out_dir) / filename, durable=True) as temporary:
            super().save_checkpoint(str(out_dir), temporary.name, *args, **kwargs)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap a model for several processes; on the CPU without the device that MMEngine gives to the wrapper."""
        if not self.distributed or model_wrapper_cfg or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        unused = self.cfg.get('find_unused_parameters', False)
        return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """Build a visualizer of this run: by the name in its config, MMEngine returns that of an earlier run of the process."""
        if isinstance(visualizer, dict):
            visualizer = {key: value for key, value in visualizer.items() if key != 'name'}
        return super().build_visualizer(visualizer)

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Build MMEngine's logger with a filter on its console handlers."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self.console())
        return logger


class VerboseRunner(QuietRunner):
    """MMEngine's Runner with its dumps and its lines of single iterations on the console."""

    console = WithoutNoise


class TrainingRunner(QuietRunner):
    """MMEngine's Runner with all of its lines in the log file only; the console shows warnings and our lines."""

    console = OurLines

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Build MMEngine's logger with our console in place of its own."""
        logger = super().build_logger(*args, **kwargs)
        for index, handler in enumerate(logger.handlers):
            if not isinstance(handler, logging.FileHandler):
                plain = PlainConsole(getattr(handler, 'stream', None))
                plain.setLevel(handler.level)
                plain.filters = handler.filters
                logger.handlers[index] = plain
        return logger


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn MMEngine's errors for a wrong entry of a config into a UserError; other errors are bugs and pass.

    Raises:
        UserError: an unregistered type, no type, a value that a class does not take, or another number of classes.
    """
    try:
        yield
    except UserError:
        raise
    except WRONG as error:
        text, kind = str(error.args[0] if error.args else ''), _built(error)
        if _inside(error, '_save_best_checkpoint'):
            words = f'has a save_best that validations do not give ({text}); give auto, or the name of one of their scores'
        elif 'is not in the' in text and 'registry' in text:
            words = f'names an unknown type: {text.split(". ")[0]}; correct it, or import its module'
        elif 'unexpected keyword argument' in text:
            words = f'gives an argument that does not exist: {text}; correct it'
        elif 'must contain the key "type"' in text or 'cfg should be a dict' in text:
            words = f'has a part without type ({text}); correct it'
        elif '`num_classes`' in text:  # of the hook of mmdet
            words = f'and the data do not fit: {text}; give --data-root, which sets num_classes, or set it in the config'
        elif kind:
            words = f'has values with which {kind} cannot be built ({type(error).__name__}: {text}); correct them'
        else:
            raise
        raise UserError(f'the config {words}.') from error


def _built(error: Exception) -> str:
    """The class that MMEngine was building from an entry of a config when it failed; empty outside of that."""
    frames = _inside(error, 'build_from_cfg')
    return getattr(frames[-1].f_locals.get('obj_cls'), '__name__', 'a part') if frames else ''


def _inside(error: Exception, function: str) -> list[FrameType]:
    """The calls of a function, by its name, from which an error came."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == function]


def hide_progress(module: ModuleType) -> None:
    """Replace ``print`` in a module of pycocotools: ``PROGRESS`` is hidden, ``TABLE`` is logged, other lines are printed."""

    def print_others(*values: object, **options: Any) -> None:
        text = str(values[0]) if values else ''
        if text.startswith(TABLE) and MMLogger._instance_dict:  # of a Runner; its log file keeps the table
            MMLogger.get_current_instance().info(text)
        elif not text.startswith(PROGRESS):
            builtins.print(*values, **options)

    module.print = print_others  # type: ignore[attr-defined]


def build_runner(cfg: Config, kind: type[QuietRunner] = QuietRunner) -> QuietRunner:
    """Build the Runner of a config; ``kind`` sets what the console shows.

    Raises:
        UserError: an entry of the config that MMEngine cannot build, or one that it evaluates when it reads the config again.
    """
    check_text(cfg, 'config')
    for module in ('pycocotools.coco', 'pycocotools.cocoeval'):
        register_post_import_hook(hide_progress, module)
    with config_errors():
        return kind.from_cfg(cfg)


def check_batches(runner: Runner) -> str | None:
    """Check that batch norms can train on the batches of the training data; a last batch of one image is dropped.

    Batch norm cannot train on one value per channel: a feature map of 1x1 pixels and a batch of one image.

    Returns:
        A note if the last image of each epoch is left out, otherwise None.

    Raises:
        UserError: no full batch, or a batch size of one for a network with batch norms.
    """
    with config_errors():
        loader = runner.train_dataloader
    batch = runner.cfg.train_dataloader.get('batch_size', 1)
    images = len(loader.dataset)
    each = -(-images // runner.world_size)
    option = '--cfg-options train_dataloader.batch_size'
    if not len(loader):
        fitting = max(2, each)
        raise UserError(f'{images} training images do not fill one batch of {batch} on each process; give {option}={fitting}.')
    if not any(isinstance(module, _BatchNorm) and module.training for module in runner.model.train().modules()):
        return None  # frozen norms, or norms kept in evaluation mode by norm_eval, train on any batch
    if batch == 1 or each == 1:
        fix = f'give {option}=2' if each > 1 else 'add images, or train with fewer processes'
        raise UserError(f'{images} training images in batches of {batch}: batch norms need two images or more; {fix}.')
    batches = loader.batch_sampler  # of torch or mmdet: both read drop_last when an epoch starts
    if each % batch != 1 or isinstance(loader.sampler, InfiniteSampler) or getattr(batches, 'drop_last', True):
        return None
    batches.drop_last = True
    if hasattr(runner.train_loop, '_max_epochs'):  # the loop has computed its length already
        runner.train_loop._max_iters = runner.train_loop._max_epochs * len(loader)
    return f'{images} training images leave a last batch of one, on which batch norms cannot train: each epoch leaves one out.'
