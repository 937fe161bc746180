"""Designs with many candidate instruments: some valid, or none of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.simulation._labels import Seed, check_integer, check_option

__all__ = ["make_genius", "make_many_iv"]

GeniusModel: TypeAlias = Literal["additive", "binary", "mult_outcome", "mult_exposure"]


def make_many_iv(
    n: int = 1000,
    n_instruments: int = 10,
    n_invalid: int = 3,
    *,
    effect: float = 1.0,
    direct: float = 0.4,
    strength: float = 0.3,
    heteroscedastic: bool = False,
    random_state: Seed = None,
) -> Bunch:
    """Draw a linear model with several instruments, the first of which act on the outcome directly.

    With independent standard normal instruments z_j and covariates x1, x2, and standard normal
    errors u, v with correlation 0.6,
    a = strength * sum_j z_j + 0.3 x1 + v and
    y = effect * a + direct * sum_invalid z_j + 0.5 x2 + u.

    Parameters
    ----------
    n : int, default=1000
        Number of rows.
    n_instruments : int, default=10
        Number of instruments.
    n_invalid : int, default=3
        How many of them, the first ones, have a direct effect.
    effect : float, default=1.0
        Effect of the treatment.
    direct : float, default=0.4
        Direct effect of an invalid instrument, unit of y.
    strength : float, default=0.3
        First-stage coefficient of every instrument.
    heteroscedastic : bool, default=False
        Multiply u by sqrt((1 + z_J^2) / 2), z_J the last instrument.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (DataFrame x1, x2), ``y``, ``treatment`` (n,), ``instruments`` (DataFrame z1, z2,
        ...), ``valid`` (positions of the valid instruments, from 0), ``truth`` (Series, "ATE").

    Raises
    ------
    ParameterError
        If a number is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=500, random_state=0)
    >>> data.instruments.shape, data.valid
    ((500, 10), [3, 4, 5, 6, 7, 8, 9])
    """
    n = check_integer("n", n, 10)
    J = check_integer("n_instruments", n_instruments, 1)
    bad = check_integer("n_invalid", n_invalid, 0, J)
    rng = np.random.default_rng(random_state)
    Z, X = rng.normal(size=(n, J)), rng.normal(size=(n, 2))
    v = rng.normal(size=n)
    u = 0.6 * v + 0.8 * rng.normal(size=n)
    if heteroscedastic:
        u = u * np.sqrt((1.0 + Z[:, -1] ** 2) / 2.0)
    a = strength * Z.sum(axis=1) + 0.3 * X[:, 0] + v
    y = effect * a + direct * Z[:, :bad].sum(axis=1) + 0.5 * X[:, 1] + u
    return Bunch(
        X=pd.DataFrame(X, columns=["x1", "x2"]),
        y=y,
        treatment=a,
        instruments=pd.DataFrame(Z, columns=[f"z{j + 1}" for j in range(J)]),
        valid=list(range(bad, J)),
        truth=pd.Series({"ATE": float(effect)}),
    )


def make_genius(
    n: int = 2000,
    n_instruments: int = 5,
    *,
    model: GeniusModel = "additive",
    effect: float = 1.0,
    random_state: Seed = None,
) -> Bunch:
    """Draw a design in which every instrument acts on the outcome directly.

    Instruments g_j are independent Bernoulli(0.4) with sum s and share m = s / J, u is uniform on
    (-1, 1), unmeasured, independent of them, and acts on treatment and outcome; e and w are
    standard normal.

    - "additive": a = 0.5 s + u + (0.5 + 1.5 m) w, y = effect * a + 0.6 s + 2 u + e.
    - "binary": P(a = 1) = expit(-2 + 2.5 m) + 0.08 u, y as above.
    - "mult_outcome": a as in "binary", y = exp(effect * a) (3 + 0.6 m + 1.5 u + 0.3 e): the effect
      is on the log scale.
    - "mult_exposure": a = exp(1.5 m) (1 + 0.5 u) q with q gamma of shape 4 and mean 1,
      y = effect * a + 0.6 s + 2 u + e.

    Parameters
    ----------
    n : int, default=2000
        Number of rows.
    n_instruments : int, default=5
        Number of instruments, all of them invalid.
    model : {"additive", "binary", "mult_outcome", "mult_exposure"}, default="additive"
        Design.
    effect : float, default=1.0
        Effect of the treatment.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``y``, ``treatment`` (n,), ``instruments`` (DataFrame g1, g2, ...), ``truth`` (Series,
        "ATE", or "log ratio" for "mult_outcome").

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_genius
    >>> data = make_genius(n=100, random_state=0)
    >>> list(data.instruments), data.truth.to_dict()
    (['g1', 'g2', 'g3', 'g4', 'g5'], {'ATE': 1.0})
    """
    n = check_integer("n", n, 10)
    J = check_integer("n_instruments", n_instruments, 1)
    check_option("model", model, GeniusModel)
    if not np.isfinite(effect):
        raise ParameterError(f"effect must be a finite number, got {effect!r}.")
    rng = np.random.default_rng(random_state)
    G = (rng.random((n, J)) < 0.4).astype(np.float64)
    u, e = rng.uniform(-1, 1, n), rng.normal(size=n)
    a = _treatment(model, G, u, rng)
    if model == "mult_outcome":
        y = np.exp(effect * a) * (3.0 + 0.6 * G.mean(axis=1) + 1.5 * u + 0.3 * e)
    else:
        y = effect * a + 0.6 * G.sum(axis=1) + 2.0 * u + e
    return Bunch(
        y=y,
        treatment=a,
        instruments=pd.DataFrame(G, columns=[f"g{j + 1}" for j in range(J)]),
        truth=pd.Series({"log ratio" if model == "mult_outcome" else "ATE": float(effect)}),
    )


def _treatment(model: GeniusModel, G: Array, u: Array, rng: np.random.Generator) -> Array:
    n, m = len(G), G.mean(axis=1)
    if model == "additive":
        return np.asarray(0.5 * G.sum(axis=1) + u + (0.5 + 1.5 * m) * rng.normal(size=n))
    if model == "mult_exposure":
        return np.asarray(np.exp(1.5 * m) * (1.0 + 0.5 * u) * rng.gamma(4.0, 0.25, size=n))
    return np.asarray(rng.random(n) < expit(-2.0 + 2.5 * m) + 0.08 * u, dtype=np.float64)
