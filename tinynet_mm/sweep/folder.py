"""The directory of a sweep: what lies where, and who makes what is missing."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from ..archs import BASES, Arch, Scaling, resolve
from ..errors import UserError
from ..files import read_csv, read_json

COMMAND = 'tools/sweep.py'
MADE_BY = {
    'recipe.py': 'sample',
    'samples.csv': 'sample',
    'rows.csv': 'collect',
    'front.csv': 'fit',
    'formula.json': 'fit',
}
NUMBERS = ('r', 'w', 'd', 'resolution', 'c', 'macs', 'params', 'seed')
RANDOM = 'random'  # the method of sampled networks; those of a rule have its name


@dataclass(frozen=True)
class Settings:
    """What a recipe says about its sweep: the base at its resolution, the classes, the config's keys that hold a resolution."""

    base: Arch
    named: bool
    classes: int
    resolution_keys: tuple[str, ...]

    @classmethod
    def of(cls, cfg: Config, source: str = 'the config') -> 'Settings':
        """Read ``sweep = dict(base=, resolution=, resolution_keys=)``; ValueError says what is missing there."""
        table = cfg.get('sweep', {})
        if missing := [key for key in ('base', 'resolution', 'resolution_keys') if key not in table]:
            raise UserError(
                f"{source} does not say what to scale: sweep.{missing[0]} is missing; write sweep = dict(base='efficientnet_b0', "
                "resolution=48, resolution_keys=['model.data_preprocessor.resolution'])."
            )
        named = isinstance(table['base'], str)
        if named and table['base'] not in BASES:
            raise UserError(
                f'{source}: unknown base {table["base"]!r}; known: {", ".join(BASES)}, or a table of your own as a dict.'
            )
        base = BASES[table['base']] if named else resolve(table['base'].to_dict())
        base = replace(base, resolution=int(table['resolution']))
        return cls(base, named, int(cfg.model.head.num_classes), tuple(table['resolution_keys']))


@dataclass(frozen=True)
class Sweep:
    """A sweep's directory; its methods read what the stages wrote."""

    path: Path

    def need(self, name: str) -> Path:
        """Path of a stage's file, or a FileNotFoundError with the command which makes it."""
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing; make it with: {COMMAND} {MADE_BY[name]} {self.path}')
        return path

    def recipe(self) -> Config:
        return Config.fromfile(self.need('recipe.py'), import_custom_modules=False)

    def settings(self) -> Settings:
        return Settings.of(self.recipe(), str(self.path / 'recipe.py'))

    def samples(self) -> list[dict]:
        """Networks to train, checked."""
        rows = read_csv(self.need('samples.csv'), NUMBERS)
        names = [row['name'] for row in rows]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f'{self.path / "samples.csv"} has {twice} twice; every network needs a name of its own.')
        return rows

    def rows(self) -> list[dict]:
        """Networks with their accuracies, checked."""
        return read_csv(self.need('rows.csv'), (*NUMBERS, 'accuracy'))

    def trial(self, name: str) -> Path:
        return self.path / 'trials' / str(name)


def scaling_of(row: dict) -> Scaling:
    """The (r, w, d) of a row."""
    return Scaling(r=row['r'], w=row['w'], d=row['d'], fixed_ends=bool(row['fixed_ends']))


def read_result(trial: Path) -> dict | None:
    """Result of a trial, None where it has none yet; ValueError for a file that is not a whole result."""
    path = trial / 'result.json'
    if not path.is_file():
        return None
    try:
        result = read_json(path)
        accuracy = float(result['accuracy'])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'{path} is cut off or not a result ({type(error).__name__}); it counts as not done, and `run` trains it again.'
        ) from None
    if not math.isfinite(accuracy):
        raise UserError(f'{path} has the accuracy {accuracy}; it counts as not done, and `run` trains it again.')
    return result


def is_done(trial: Path) -> bool:
    """Whether a trial has a whole result."""
    try:
        return read_result(trial) is not None
    except ValueError:
        return False
