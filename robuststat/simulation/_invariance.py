"""Designs of the invariance family: linear structural models and populations of environments."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import Bunch

from robuststat._core.rng import check_rng
from robuststat._core.types import Array
from robuststat.simulation._labels import Seed, check_fraction, check_integer, check_option

__all__ = ["draw_cloud", "make_environments", "make_invariant_sem"]

Outcome: TypeAlias = Literal["continuous", "binary"]
Cloud: TypeAlias = Literal["normal", "t4", "t5", "two_points", "skewed"]


def make_invariant_sem(
    n_env: int = 3,
    n_rows: int = 200,
    p: int = 6,
    *,
    outcome: Outcome = "continuous",
    hidden: float = 0.0,
    drift: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Draw a linear structural model in which y's own equation is the same everywhere.

    x1..x_{p//2} come before y, the first max(1, min(3, p // 3)) of them cause it with
    coefficients of size U(.5, 1); the other covariates are effects of y with weights U(.4, 1). In
    every environment but the first a random half of the covariates, x1 always, is intervened on:
    mean shift N(0, 1), noise scale U(.7, 2), incoming weights times U(0, 1.5). So the regression on
    the causes is invariant, one that uses an effect is not.

    Parameters
    ----------
    n_env : int
        Environments K, at least 2.
    n_rows : int
        Rows in each.
    p : int
        Covariates, at least 2.
    outcome : {"continuous", "binary"}
        Gaussian errors of variance 1, or a logit model of the causes.
    hidden : float
        Strength of an unobserved common cause of y and the covariates before it. The incoming
        weights are then left alone, as methods for hidden variables need.
    drift : float
        Standard deviation over environments of the effect of x1 on y: a violation of invariance.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``frame`` with the columns x1..xp, y, env; ``X``, ``y``, ``env``; ``parents``, names of the
        causes; ``truth``, Series of the effects of all covariates on y (zero for those that are
        no causes); ``B``, ``Omega``, ``mu``: lists over environments as
        :func:`robuststat.population_gap` takes them (nodes x1..xp, y; for a continuous outcome
        without a hidden cause).

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_invariant_sem
    >>> draw = make_invariant_sem(n_env=2, n_rows=50, random_state=0)
    >>> draw.parents, draw.frame.shape
    (['x1', 'x2'], (100, 8))
    """
    check_integer("n_env", n_env, 2)
    check_integer("n_rows", n_rows, 2)
    check_integer("p", p, 2)
    check_option("outcome", outcome, Outcome)
    check_fraction("hidden", hidden, 0, np.inf)
    check_fraction("drift", drift, 0, np.inf)
    rng = check_rng(random_state)
    before, n_parents = p // 2, max(1, min(3, p // 3))
    B = np.zeros((p + 1, p + 1))
    B[p, :n_parents] = rng.uniform(0.5, 1, n_parents) * rng.choice([-1, 1], n_parents)
    for j in range(1, before):
        B[j, j - 1] = rng.uniform(0.2, 0.6)
    B[before:p, p] = rng.uniform(0.4, 1, p - before) * rng.choice([-1, 1], p - before)
    effects, noise, shifts = [], [], []
    for e in range(n_env):
        own, scale, shift = B.copy(), np.ones(p + 1), np.zeros(p + 1)
        own[p, 0] += drift * rng.standard_normal()
        if e > 0:
            others = rng.choice(np.arange(1, p), size=(p - 1) // 2, replace=False)
            for j in (0, *others):
                shift[j], scale[j] = rng.standard_normal(), rng.uniform(0.7, 2)
                own[j] *= 1.0 if hidden else rng.uniform(0, 1.5)
        effects.append(own)
        noise.append(scale**2)
        shifts.append(shift)
    parts = [
        _rows(rng, n_rows, before, outcome, hidden, model)
        for model in zip(effects, noise, shifts, strict=True)
    ]
    names = [f"x{j + 1}" for j in range(p)]
    frame = pd.DataFrame(np.vstack(parts), columns=[*names, "y"])
    frame["env"] = np.repeat(np.arange(n_env), n_rows)
    return Bunch(
        frame=frame,
        X=frame[names],
        y=frame["y"].to_numpy(),
        env=frame["env"].to_numpy(),
        parents=names[:n_parents],
        truth=pd.Series(B[p, :p], index=names),
        B=effects,
        Omega=noise,
        mu=shifts,
    )


def _rows(
    rng: np.random.Generator,
    n: int,
    before: int,
    outcome: Outcome,
    hidden: float,
    model: tuple[Array, Array, Array],
) -> Array:
    """Rows of one environment, node by node in causal order."""
    B, omega, mu = model
    p = len(mu) - 1
    Z = mu + rng.standard_normal((n, p + 1)) * np.sqrt(omega)
    cause = hidden * rng.standard_normal(n)
    for j in [*range(before), p, *range(before, p)]:
        known = [i for i in range(p + 1) if B[j, i] != 0]
        Z[:, j] += Z[:, known] @ B[j, known]
        if j < before or j == p:
            Z[:, j] += cause
        if j == p and outcome == "binary":
            mean = Z[:, known] @ B[j, known] + mu[j] + cause
            Z[:, j] = rng.uniform(size=n) < expit(mean)
    return Z


def draw_cloud(n: int, k: int, shape: Cloud = "normal", random_state: Seed = None) -> Array:
    """Draw coefficient vectors of mean zero and unit variance, of a shape to try methods on.

    Parameters
    ----------
    n, k : int
        Number of vectors and of coordinates.
    shape : {"normal", "t4", "t5", "two_points", "skewed"}
        Independent normal, Student t (scaled) or centred exponential coordinates; or two groups
        of environments at +-sqrt(.9) in every coordinate, with normal scatter of variance .1.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    ndarray of shape (n, k)

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import draw_cloud
    >>> draw_cloud(1000, 2, "two_points", random_state=0).std().round(1).item()
    1.0
    """
    check_integer("n", n, 1)
    check_integer("k", k, 1)
    check_option("shape", shape, Cloud)
    rng = check_rng(random_state)
    if shape == "normal":
        return rng.standard_normal((n, k))
    if shape == "skewed":
        return rng.exponential(size=(n, k)) - 1.0
    if shape == "two_points":
        side = rng.choice([-1.0, 1.0], size=(n, 1))
        return np.asarray(np.sqrt(0.9) * side + np.sqrt(0.1) * rng.standard_normal((n, k)))
    df = int(shape[1:])
    return np.asarray(rng.standard_t(df, size=(n, k)) * np.sqrt((df - 2) / df))


def make_environments(
    n_env: int = 40,
    n_rows: int | tuple[int, int] = 60,
    k: int = 2,
    *,
    spread: float = 0.15,
    shape: Cloud = "t5",
    sigma: float = 1.0,
    random_state: Seed = None,
) -> Bunch:
    """Draw environments from a population of them: coefficients vary around a common vector.

    w_e = w + spread times a draw of :func:`draw_cloud`; y = w_e' (1, x) + sigma N(0, 1), with
    independent standard normal covariates. What a certificate says about new environments can be
    checked against the same population.

    Parameters
    ----------
    n_env : int
        Environments m, at least 2.
    n_rows : int or pair of int
        Rows in each, or bounds of a number drawn with the environment.
    k : int
        Coefficients, the intercept included, at least 1.
    spread : float
        Standard deviation of each coefficient over environments.
    shape : {"normal", "t4", "t5", "two_points", "skewed"}
        Shape of the population.
    sigma : float
        Standard deviation of the errors.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``frame`` with x1..x_{k-1}, y, env; ``X``, ``y``, ``env``; ``env_coef`` (n_env, k), the
        true coefficients; ``truth``, Series of the common ones.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_environments
    >>> draw = make_environments(n_env=5, n_rows=20, random_state=0)
    >>> draw.X.shape, draw.env_coef.shape
    ((100, 1), (5, 2))
    """
    check_integer("n_env", n_env, 2)
    check_integer("k", k, 1)
    bounds = n_rows if isinstance(n_rows, tuple) else (n_rows, n_rows)
    low, high = (check_integer("n_rows", bound, 2) for bound in bounds)
    check_fraction("spread", spread, 0, np.inf)
    check_fraction("sigma", sigma, 0, np.inf)
    rng = check_rng(random_state)
    common = np.concatenate([[1.0], 0.5 * np.ones(k - 1)])
    coef = common + spread * draw_cloud(n_env, k, shape, rng)
    sizes = rng.integers(low, high + 1, size=n_env)
    env = np.repeat(np.arange(n_env), sizes)
    Z = np.column_stack([np.ones(len(env)), rng.standard_normal((len(env), k - 1))])
    y = np.einsum("ij,ij->i", Z, coef[env]) + sigma * rng.standard_normal(len(env))
    names = [f"x{j}" for j in range(1, k)]
    frame = pd.DataFrame(Z[:, 1:], columns=names).assign(y=y, env=env)
    return Bunch(
        frame=frame,
        X=frame[names],
        y=y,
        env=env,
        env_coef=coef,
        truth=pd.Series(common, index=["(Intercept)", *names]),
    )
