"""MMEngine's Runner, built from a user's config: errors of the config are one sentence, the console shows what matters.

MMEngine prints about 540 lines (environment, config, hooks) before the first iteration. They stay in the log file.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError

DUMPS = ('\n' + '-' * 60 + '\nSystem environment', 'Config:\n', 'Hooks will be executed in the following order')


NOISE = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')  # of MMEngine and mmdet about themselves


class WithoutDumps(logging.Filter):
    """Drop the records that dump the environment, the config and the order of the hooks, and deprecations inside MMLab."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        return not str(record.msg).startswith(DUMPS + NOISE)


class QuietRunner(Runner):
    """MMEngine's Runner with its dumps in the log file only."""

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        """Build MMEngine's logger; its console handlers get a filter."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(WithoutDumps())
        return logger


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn what MMEngine raises for a wrong name or argument in a config into a UserError; all else is a bug and passes.

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


def build_runner(cfg: Config) -> Runner:
    """The Runner of a config.

    Raises:
        UserError: an entry of the config that MMEngine cannot build.
    """
    warnings.filterwarnings('ignore', 'faster_coco_eval is not installed', UserWarning, r'mmdet\.')
    with config_errors():
        return QuietRunner.from_cfg(cfg)


def check_batches(runner: Runner) -> str | None:
    """Check that batches of the training data can be trained on; returns a note if the last image of each epoch is left out.

    Batch norm cannot train on one value per channel, which a map of 1x1 pixels and a batch of one image give. A last batch of
    one image is dropped.

    Raises:
        UserError: no full batch, or a batch size of one for a network with batch norms.
    """
    with config_errors():
        loader = runner.train_dataloader
    settings = runner.cfg.train_dataloader
    batch, images = settings.get('batch_size', 1), len(loader.dataset)
    each = -(-images // runner.world_size)
    option = '--cfg-options train_dataloader.batch_size'
    if not len(loader):
        fitting = max(2, each)
        raise UserError(f'{images} training images do not fill one batch of {batch} on each process; give {option}={fitting}')
    if not any(isinstance(module, _BatchNorm) for module in runner.model.modules()):
        return None
    if batch == 1 or each == 1:
        raise UserError(f'{images} training images in batches of {batch}: batch norms need two images or more; give {option}=2')
    if each % batch != 1 or settings.get('drop_last', False):
        return None
    settings.drop_last = True
    runner._train_dataloader, runner._train_loop = settings, runner.cfg.train_cfg  # the loop is built again from these
    return f'{images} training images leave a last batch of one, on which batch norms cannot train: each epoch leaves one out.'
