"""Gaussian process regression of one dimension on the logarithm of the cost ratio.

TinyNet (NeurIPS 2020), equations 2 to 4: y_i = g(x_i) + noise, with a zero-mean Gaussian process g and an RBF kernel. The
paper uses x = c. This module uses x = log c: cost ratios cover a factor of thirty, and over log c one length scale fits all of
them (on the five published networks, x = c gives an r that oscillates between them, or misses TinyNet-E by 6 to 23 %).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

AMPLITUDE = (0.1, 10.0)  # standard deviation of g: multipliers are around 1
LENGTH = (0.5, 20.0)  # in log c, where the paper's range is 3.5 long; below 0.5 the fit follows single networks
NOISE = (1e-3, 1.0)  # standard deviation of a network's distance from g
SMALLEST, LARGEST = 1e-6, 1e6  # of the values in a file


@dataclass(frozen=True)
class Process:
    """A fitted process: its points, and the hyperparameters of k(x, x') = amplitude^2 exp(-(x - x')^2 / (2 length^2)).

    ``noise`` is the standard deviation of a network's distance from g.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    amplitude: float
    length: float
    noise: float

    @classmethod
    def fit(cls, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, noise: float | None = None) -> 'Process':
        """Fit to points ``x`` and ``y`` (n,) by maximum likelihood, with the noise's standard deviation fixed if it is given."""
        square = [tuple(np.square(bounds)) for bounds in (AMPLITUDE, NOISE)]
        white = WhiteKernel(1e-3, square[1]) if noise is None else WhiteKernel(noise**2, 'fixed')
        kernel = ConstantKernel(1.0, square[0]) * RBF(1.5, LENGTH) + white
        regressor = GaussianProcessRegressor(kernel, n_restarts_optimizer=8, random_state=0)
        with warnings.catch_warnings():  # a hyperparameter at its bound is not a failure: the bounds are the prior
            warnings.simplefilter('ignore', ConvergenceWarning)
            fitted = regressor.fit(_column(x), np.asarray(y)).kernel_
        amplitude, length, sigma = fitted.k1.k1.constant_value**0.5, fitted.k1.k2.length_scale, fitted.k2.noise_level**0.5
        return cls(tuple(map(float, x)), tuple(map(float, y)), float(amplitude), float(length), float(sigma))

    @classmethod
    def from_dict(cls, table: dict) -> 'Process':
        """Build a process from a dict, the inverse of ``dataclasses.asdict``.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or unknown, or a value is not one that :meth:`fit` returns.
        """
        process = cls(**{**table, 'x': tuple(table['x']), 'y': tuple(table['y'])})
        settings = (process.amplitude, process.length, process.noise)
        numbers = (*process.x, *process.y, *settings)
        if not all(isinstance(value, int | float) and abs(value) < LARGEST for value in numbers) or min(settings) < SMALLEST:
            raise ValueError('x, y, amplitude, length and noise must be finite numbers, the last three above 0')
        if not len(process.x) == len(process.y) > 0:
            raise ValueError(f'{len(process.x)} values of x and {len(process.y)} of y')
        return process

    @cached_property
    def _regressor(self) -> GaussianProcessRegressor:
        kernel = ConstantKernel(self.amplitude**2) * RBF(self.length) + WhiteKernel(self.noise**2)
        return GaussianProcessRegressor(kernel, optimizer=None).fit(_column(self.x), np.asarray(self.y))

    def predict(self, x: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of a network at ``x`` (n,), with the noise (equation 4); two arrays (n,)."""
        return self._regressor.predict(_column(x), return_std=True)


def _column(x: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=float).reshape(-1, 1)
