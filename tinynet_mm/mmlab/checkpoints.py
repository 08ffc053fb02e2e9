"""Models from configs and checkpoints, and what to say when the two do not fit.

MMEngine loads what fits and logs the rest; a user who gave the checkpoint of another model then gets noise for detections.
"""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict

from ..errors import UserError
from .configs import walk
from .weights import read


def pretrained_or_scratch(cfg: Config) -> list[str]:
    """Fetch the published weights a model starts from; what cannot be had is dropped, so that training starts from scratch.

    Returns one sentence for each that was dropped. A local path that does not exist is an error: somebody meant that file.
    """
    warnings = []
    for part in walk(cfg.model):
        init = part.get('init_cfg')
        if not isinstance(init, dict) or init.get('type') != 'Pretrained':
            continue
        checkpoint = str(init['checkpoint'])
        if '://' not in checkpoint:
            if not Path(checkpoint).is_file():
                raise FileNotFoundError(f'there is no checkpoint {checkpoint}; mend init_cfg or train without it: init_cfg=None.')
            continue
        if reason := unreachable(checkpoint):
            part['init_cfg'] = None
            warnings.append(f'{checkpoint} cannot be had ({reason}): {part.get("type")} starts from scratch.')
    return warnings


def unreachable(url: str) -> str | None:
    """None if the checkpoint could be fetched (it then lies in torch's cache), otherwise why not."""

    try:
        CheckpointLoader.load_checkpoint(url, map_location='cpu')
    except Exception as error:  # any failure of network, server, file or format has the same consequence, which is reported
        return f'{type(error).__name__}: {" ".join(str(error).split())[:120]}'
    return None


def read_checkpoint(path: str, model: str = 'this config') -> dict:
    """A checkpoint's content as a dict with ``state_dict``; a missing or broken file is one sentence."""

    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}; train {model} first, or give the path of its .pth file.')
    if '://' not in path:
        content = read(path)
        return content if 'state_dict' in content else dict(state_dict=content)
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except Exception as error:  # torch raises half a dozen types for files that are not checkpoints
        raise UserError(f'{path} is not a checkpoint that can be read ({type(error).__name__}).') from error
    return content if 'state_dict' in content else dict(state_dict=content)


def check_fits(content: dict, model, path: str) -> None:
    """ValueError if a checkpoint is of another model: keys or shapes that do not agree, with an example of each."""
    own, given = model.state_dict(), content['state_dict']
    missing = [k for k in own if k not in given and not k.endswith('num_batches_tracked') and 'data_preprocessor' not in k]
    other = [k for k in own if k in given and own[k].shape != given[k].shape]
    if missing or other:
        example = other[0] if other else missing[0]
        found = f'is {tuple(given[example].shape)} there, {tuple(own[example].shape)} here' if other else 'is not in it'
        raise UserError(
            f'{path} is the checkpoint of another model: {len(missing)} of {len(own)} weights are missing and {len(other)} have '
            f'another shape; {example} {found}. Give the config it was trained with (a copy lies in its work directory).'
        )


def adopt_checkpoint_classes(cfg: Config, content: dict) -> None:
    """Set the number of classes of a detector to those a checkpoint of it was trained on."""
    classes = content.get('meta', {}).get('dataset_meta', {}).get('classes')
    if classes:
        for part in walk(cfg.model):
            if 'num_classes' in part:
                part['num_classes'] = len(classes)


def load_model(cfg: Config, checkpoint: str, device: str = 'cpu'):
    """A built model in evaluation mode with a checkpoint's weights; ``model.dataset_meta`` names its classes.

    Raises:
        FileNotFoundError, UserError: no such file, or the checkpoint of another model.
    """

    content = read_checkpoint(checkpoint)
    adopt_checkpoint_classes(cfg, content)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for part in walk(cfg.model):
        part.pop('init_cfg', None)
    model = MODELS.build(cfg.model)
    check_fits(content, model, checkpoint)
    load_state_dict(model, content['state_dict'], strict=False)
    model.cfg, model.dataset_meta = cfg, content.get('meta', {}).get('dataset_meta', {})
    return model.to(device).eval()
