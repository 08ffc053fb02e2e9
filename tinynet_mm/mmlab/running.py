"""Build MMEngine's Runner from a config: errors of the config become one sentence, and long dumps stay out of the console.

MMEngine prints about 540 lines (environment, config, hooks) before the first iteration. They stay in the log file.
"""

import builtins
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from torch.nn.modules.batchnorm import _BatchNorm
from wrapt import register_post_import_hook

from ..errors import UserError

DUMPS = ('\n' + '-' * 60 + '\nSystem environment', 'Config:\n', 'Hooks will be executed in the following order')
NOISE = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')  # MMEngine and mmdet on their own code

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


class WithoutDumps(logging.Filter):
    """Drop the dumps of the environment, the config and the order of the hooks, and deprecations inside MMLab."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the console shows a record."""
        return not str(record.msg).startswith(DUMPS + NOISE)


class QuietRunner(Runner):
    """MMEngine's Runner with its dumps in the log file only.

    Attributes:
        start: a dict with ``state_dict``, the weights to start a training from; they replace the file ``load_from``, which
            MMEngine reads as a .pth only.
    """

    start: dict[str, Any] | None = None

    def load_or_resume(self) -> None:
        """Load ``start`` if it is set, or else as MMEngine does."""
        if self.start is None:
            super().load_or_resume()
            return
        self.call_hook('after_load_checkpoint', checkpoint=self.start)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_state_dict(model, self.start['state_dict'], strict=False)
        self.start, self._has_loaded = None, True
        self.logger.info(f'Load checkpoint from {self._load_from}')

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Build MMEngine's logger with a filter on its console handlers."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(WithoutDumps())
        return logger


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn MMEngine's errors for a wrong name or argument in a config into a UserError; other errors are bugs and pass.

    Raises:
        UserError: an unregistered type, or an argument that a class does not take.
    """
    try:
        yield
    except KeyError as error:
        if 'is not in the' not in str(error):
            raise
        raise UserError(f'the config names an unknown type: {error.args[0].split(". ")[0]}; correct it, or import its module.')  # noqa: B904
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise UserError(f'the config gives an argument that does not exist: {error}; correct it.') from error


def hide_progress(module: ModuleType) -> None:
    """Replace ``print`` in a module of pycocotools: lines of ``PROGRESS`` are hidden, all others are printed."""

    def print_others(*values: object, **options: Any) -> None:
        if not (values and str(values[0]).startswith(PROGRESS)):
            builtins.print(*values, **options)

    module.print = print_others  # type: ignore[attr-defined]


def build_runner(cfg: Config) -> QuietRunner:
    """Build the Runner of a config.

    Raises:
        UserError: an entry of the config that MMEngine cannot build.
    """
    for module in ('pycocotools.coco', 'pycocotools.cocoeval'):
        register_post_import_hook(hide_progress, module)
    with config_errors():
        return QuietRunner.from_cfg(cfg)


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
        raise UserError(f'{images} training images in batches of {batch}: batch norms need two images or more; give {option}=2.')
    batches = loader.batch_sampler  # of torch or mmdet: both read drop_last when an epoch starts
    if each % batch != 1 or isinstance(loader.sampler, InfiniteSampler) or getattr(batches, 'drop_last', True):
        return None
    batches.drop_last = True
    if hasattr(runner.train_loop, '_max_epochs'):  # the loop has computed its length already
        runner.train_loop._max_iters = runner.train_loop._max_epochs * len(loader)
    return f'{images} training images leave a last batch of one, on which batch norms cannot train: each epoch leaves one out.'
