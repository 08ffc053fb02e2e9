"""The directory of a sweep: its files, and the commands that write them."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from mmengine.config import Config

from ..archs import BASES, Arch, Scaling, resolve
from ..errors import UserError
from ..files import LONGEST, read_csv, read_json, to_number
from ..formula.configs import CROP
from ..mmlab.configs import read_config

COMMAND = 'tinynet sweep'
MADE_BY = {
    'recipe.py': 'sample',
    'samples.csv': 'sample',
    'rows.csv': 'collect',
    'front.csv': 'fit',
    'formula.json': 'fit',
}
NUMBERS = ('r', 'w', 'd', 'resolution', 'c', 'macs', 'params', 'seed')
TEXTS = ('name', 'method', 'target', 'fixed_ends')
RANDOM = 'random'  # the method of sampled networks; other networks have the name of their rule
RULES = ('tiny', 'giant', 'r', 'd', 'w')  # networks computed from a budget
PICKS = ('best_random', 'front_member')  # networks of the search, trained again
METHODS = RULES + PICKS


@dataclass(frozen=True)
class Settings:
    """The sweep settings of a recipe.

    ``base`` is the base network at its resolution, ``named`` whether the recipe gives its name and not a table, ``classes`` the
    number of classes, ``resolution_keys`` the config keys that hold a resolution in pixels, ``edge_keys`` those that hold the
    shorter edge of an image from which a centre of this resolution is cut (resolution / 0.875).
    """

    base: Arch
    named: bool
    classes: int
    resolution_keys: tuple[str, ...]
    edge_keys: tuple[str, ...]

    @classmethod
    def of(cls, cfg: Config, source: str = 'the config') -> 'Settings':
        """Read ``sweep = dict(base=, resolution=, resolution_keys=, edge_keys=())`` of a config.

        ``source`` is its name in messages.

        Raises:
            UserError: a setting is missing, or the base is unknown.
        """
        table = cfg.get('sweep', {})
        if missing := [key for key in ('base', 'resolution', 'resolution_keys') if key not in table]:
            raise UserError(
                f"{source} has no sweep.{missing[0]}, so there is nothing to scale; write sweep = dict(base='efficientnet_b0', "
                "resolution=48, resolution_keys=['model.data_preprocessor.resolution'])."
            )
        named = isinstance(table['base'], str)
        if named and table['base'] not in BASES:
            raise UserError(f'{source}: unknown base {table["base"]!r}; known: {", ".join(BASES)}, or a base table as a dict.')
        base = BASES[table['base']] if named else resolve(table['base'].to_dict())
        base = replace(base, resolution=int(table['resolution']))
        keys = tuple(table['resolution_keys']), tuple(table.get('edge_keys', ()))
        return cls(base, named, int(cfg.model.head.num_classes), *keys)

    def sides(self, resolution: int) -> dict[str, int]:
        """The value of each of these keys for an input of ``resolution`` pixels."""
        edge = int(resolution / CROP)
        return dict.fromkeys(self.resolution_keys, resolution) | dict.fromkeys(self.edge_keys, edge)


@dataclass(frozen=True)
class Sweep:
    """The directory of a sweep; its methods read and check the files of the stages."""

    path: Path

    def need(self, name: str) -> Path:
        """Return the path of a file.

        Raises:
            FileNotFoundError: the file is missing; the message names the command that writes it.
        """
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing; write it with: {COMMAND} {MADE_BY[name]} {self.path}')
        return path

    def recipe(self) -> Config:
        """Read recipe.py; raises UserError for one that MMEngine cannot read, or without a model."""
        return read_config(self.need('recipe.py'), import_modules=False)

    def settings(self) -> Settings:
        """Read the sweep settings of recipe.py."""
        return Settings.of(self.recipe(), str(self.path / 'recipe.py'))

    def samples(self) -> list[dict]:
        """Read the networks to train.

        Raises:
            UserError: a value is missing or wrong, or a name occurs twice.
        """
        rows = self._networks('samples.csv', NUMBERS)
        names = [row['name'] for row in rows]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f'{self.path / "samples.csv"} has {twice} twice; every network needs a unique name.')
        return rows

    def rows(self) -> list[dict]:
        """Read the networks with their accuracies in per cent.

        Raises:
            UserError: a value is missing or wrong.
        """
        return self._networks('rows.csv', (*NUMBERS, 'accuracy'))

    def _networks(self, name: str, numbers: tuple[str, ...]) -> list[dict]:
        path = self.need(name)
        rows = read_csv(path, numbers)
        if missing := [column for column in TEXTS if column not in rows[0]]:
            raise UserError(f'{path} has no column {missing[0]!r}; write it with: {COMMAND} {MADE_BY[name]} {self.path}')
        for row in rows:
            own, target = str(row['name']), row['target']
            if own in ('', '.', '..') or '/' in own or len(own) > LONGEST:  # it is the name of a folder
                raise UserError(f'{path}: the name {own[:60]!r} is not that of a network, like net000; correct it.')
            if row['method'] not in (RANDOM, *METHODS):
                raise UserError(f'{path}: {own} has the method {row["method"]!r}; known: {", ".join((RANDOM, *METHODS))}.')
            if (target != '' or row['method'] != RANDOM) and (isinstance(target, str) or not target > 0):  # not: also for NaN
                raise UserError(f'{path}: {own} has the target {target!r}, which is not a share of the MACs; correct it.')
        return rows

    def trial(self, name: str) -> Path:
        """Return the directory of the trial of the network ``name``."""
        return self.path / 'trials' / str(name)


def scaling_of(row: dict) -> Scaling:
    """Return the scaling (r, w, d) of a row of samples.csv."""
    return Scaling(r=row['r'], w=row['w'], d=row['d'], fixed_ends=bool(row['fixed_ends']))


def read_result(trial: Path) -> dict | None:
    """Read result.json of the directory ``trial``; None if it is missing.

    Raises:
        UserError: the file is incomplete, or the accuracy is not a finite number.
    """
    path = trial / 'result.json'
    if not path.is_file():
        return None
    try:
        result = cast(dict, read_json(path))
        accuracy = to_number(result['accuracy'])
    except (KeyError, TypeError, ValueError) as error:  # read_json raises a UserError, which is a ValueError
        raise UserError(
            f'{path} is incomplete or not a result ({type(error).__name__}); it counts as not done, and `run` trains it again.'
        ) from None
    if not math.isfinite(accuracy):
        raise UserError(f'{path} has the accuracy {accuracy}; it counts as not done, and `run` trains it again.')
    return dict(result, accuracy=accuracy)


def first_line(path: Path) -> str:
    """The first line of a text that can be empty or broken."""
    return next(iter(path.read_text(errors='replace').splitlines()), '')


def is_done(trial: Path) -> bool:
    """Return whether a trial has a complete result."""
    try:
        return read_result(trial) is not None
    except UserError:
        return False
