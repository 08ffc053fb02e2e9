"""Gaussian process regression of one dimension on the logarithm of the cost ratio.

TinyNet (NeurIPS 2020), equations 2 to 4: y_i = g(x_i) + noise, with a Gaussian process g and an RBF kernel. Two things differ
from the paper. It uses x = c; this module uses x = log c: cost ratios cover a factor of thirty, and over log c one length scale
fits all of them (on the five published networks, x = c gives an r that oscillates between them, or misses E by 6 to 23 %). Its
process has mean zero, to which predictions return outside the data; here g has a mean that is linear in x, whose intercept and
slope have a normal prior (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, section 2.7).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, WhiteKernel

TREND = 1.0  # standard deviation of the prior of intercept and slope: multipliers are around 1, and change by less per log c
AMPLITUDE = (0.01, 10.0)  # standard deviation of g around its mean
LENGTH = (1.0, 20.0)  # in log c, where the range of the paper is 3.5 long; below 1 the fit follows single networks
NOISE = (1e-3, 1.0)  # standard deviation of a network's distance from g
SMALLEST, LARGEST = 1e-6, 1e6  # of the values in a file
FOLDS = 12  # at most, of the fits for the held-out error


@dataclass(frozen=True)
class Process:
    """A fitted process: its points, and the hyperparameters of its kernel.

    k(x, x') = TREND^2 (1 + x x') + amplitude^2 exp(-(x - x')^2 / (2 length^2)); ``noise`` is the standard deviation of a
    network's distance from g. ``held_out`` has the error at each point of a fit without this point (prediction minus value).
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    amplitude: float
    length: float
    noise: float
    held_out: tuple[float, ...]

    @classmethod
    def fit(cls, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, noise: float | None = None) -> 'Process':
        """Fit to points ``x`` and ``y`` (n,) by maximum likelihood, with the noise's standard deviation fixed if it is given.

        Of more than 12 points, several are left out at once (12 fits).
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        errors, order, folds = np.empty(len(x)), np.argsort(x, kind='stable'), min(len(x), FOLDS)
        for fold in range(folds):
            out = order[fold::folds]
            kept = np.setdiff1d(order, out)
            errors[out] = _fit(x[kept], y[kept], noise).predict(_column(x[out])) - y[out]
        kernel = _fit(x, y, noise).kernel_
        smooth, white = kernel.k1.k2, kernel.k2
        amplitude, length, sigma = smooth.k1.constant_value**0.5, smooth.k2.length_scale, white.noise_level**0.5
        points = tuple(x.tolist()), tuple(y.tolist())
        return cls(*points, float(amplitude), float(length), float(sigma), tuple(errors.tolist()))

    @classmethod
    def from_dict(cls, table: dict) -> 'Process':
        """Build a process from a dict, the inverse of ``dataclasses.asdict``.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or unknown, or a value is not one that :meth:`fit` returns.
        """
        process = cls(**{**table, **{name: tuple(table[name]) for name in ('x', 'y', 'held_out')}})
        settings = (process.amplitude, process.length, process.noise)
        numbers = (*process.x, *process.y, *process.held_out, *settings)
        if not all(isinstance(value, int | float) and abs(value) < LARGEST for value in numbers) or min(settings) < SMALLEST:
            raise ValueError('x, y, held_out, amplitude, length and noise must be finite numbers, the last three above 0')
        if not len(process.x) == len(process.y) == len(process.held_out) > 0:
            raise ValueError(f'{len(process.x)} values of x, {len(process.y)} of y and {len(process.held_out)} of held_out')
        return process

    @property
    def error(self) -> float:
        """Root mean square of the held-out errors."""
        return float(np.sqrt(np.mean(np.square(self.held_out))))

    @cached_property
    def _regressor(self) -> GaussianProcessRegressor:
        kernel = _kernel(ConstantKernel(self.amplitude**2), RBF(self.length), WhiteKernel(self.noise**2))
        return GaussianProcessRegressor(kernel, optimizer=None).fit(_column(self.x), np.asarray(self.y))

    def predict(self, x: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of a network at ``x`` (n,), with the noise (equation 4); two arrays (n,).

        The deviation is that of the model. :attr:`error` is measured.
        """
        return self._regressor.predict(_column(x), return_std=True)

    def distance(self, x: float) -> float:
        """The distance of ``x`` from the range of the points, in length scales; 0 inside it."""
        return max(min(self.x) - x, x - max(self.x), 0.0) / self.length


def _kernel(amplitude: ConstantKernel, smooth: RBF, white: WhiteKernel) -> Kernel:
    trend = ConstantKernel(TREND**2, 'fixed') * DotProduct(1.0, 'fixed')
    return trend + amplitude * smooth + white


def _fit(x: np.ndarray, y: np.ndarray, noise: float | None) -> GaussianProcessRegressor:
    """The regressor with the most likely hyperparameters."""
    square = [tuple(np.square(bounds)) for bounds in (AMPLITUDE, NOISE)]
    white = WhiteKernel(1e-3, square[1]) if noise is None else WhiteKernel(noise**2, 'fixed')
    kernel = _kernel(ConstantKernel(1.0, square[0]), RBF(1.5, LENGTH), white)
    regressor = GaussianProcessRegressor(kernel, n_restarts_optimizer=8, random_state=0)
    with warnings.catch_warnings():  # a hyperparameter at its bound is not a failure: the bounds are the prior
        warnings.simplefilter('ignore', ConvergenceWarning)
        return regressor.fit(_column(x), y)


def _column(x: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=float).reshape(-1, 1)
