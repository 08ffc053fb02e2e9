"""The report at the end of a training; a report that fails does not fail the training."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ..data.coco import splits_of
from ..errors import one_line
from ..mmlab.configs import is_classifier
from ..mmlab.resuming import latest_checkpoint
from .write import write


def after_training(cfg: Config, runner: Runner, progress: Callable[[Iterable], Iterable] = iter) -> str | None:
    """Write the report of a trained detector into ``WORK_DIR/report``, with its best checkpoint, or else the last one.

    Args:
        cfg: the config of the training.
        runner: the Runner after its training.
        progress: shows the progress of an iterable.

    Returns:
        A sentence that names the page, or the reason why there is none; None for a classifier, a training without validation
        data, and the other processes of a distributed training.
    """
    if is_classifier(cfg) or 'val' not in splits_of(cfg) or not is_main_process():
        return None
    checkpoint = chosen_checkpoint(runner)
    if checkpoint is None:
        return 'warning: no report, because the training has saved no checkpoint.'
    try:
        device = str(next(runner.model.parameters()).device)
        return f'report: {write(cfg, checkpoint, Path(cfg.work_dir) / "report", device=device, progress=progress)}'
    except Exception as error:  # of any kind: the checkpoint is worth more than the report
        words = 'the training is complete; `tinynet report` writes the report later'
        return f'warning: no report ({type(error).__name__}: {one_line(error)}); {words}.'


def chosen_checkpoint(runner: Runner) -> str | None:
    """Return the best checkpoint of a training, or else the last one, or None."""
    paths = [runner.message_hub.runtime_info.get('best_ckpt'), latest_checkpoint(runner.work_dir)]
    return next((str(path) for path in paths if path and Path(path).is_file()), None)
