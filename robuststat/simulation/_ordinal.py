"""Designs with an ordered outcome or a rare event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.utils import Bunch

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.ordinal._links import get_link
from robuststat.simulation._labels import Seed, check_integer, check_option

__all__ = ["make_ordinal", "make_presto", "make_rare_events"]

PrestoDesign: TypeAlias = Literal["sparse", "dense"]
LinkName: TypeAlias = Literal["logit", "probit", "cloglog", "loglog", "cauchit"]

# Redraws of the published study: of everything while a probability is negative, and of the rows
# until every class occurs.
_COEF_DRAWS, _ROW_DRAWS = 100, 10


def make_presto(
    n: int = 2500,
    n_features: int = 10,
    *,
    design: PrestoDesign = "sparse",
    share: float = 1.0 / 3.0,
    thresholds: Sequence[float] = (0.0, 3.0, 5.0),
    random_state: Seed = None,
) -> Bunch:
    """Draw a design of the PRESTO study: coefficients that change a little between boundaries.

    Covariates are uniform on (-1, 1). With b_k the slopes of P(y <= k) = expit(a_k + x'b_k),

    - "sparse": b_1j is 0.5 with probability ``share`` and 0 otherwise; b_kj - b_{k-1,j} is plus or
      minus 0.5 with probability ``share`` and 0 otherwise;
    - "dense": b_1j and all differences are uniform on (-0.5, 0.5).

    Slopes and rows are drawn again while a class probability of a row is negative (up to 100
    times), rows while a class does not occur (up to 10 times).

    Parameters
    ----------
    n : int, default=2500
        Number of rows.
    n_features : int, default=10
        Number of covariates.
    design : {"sparse", "dense"}, default="sparse"
        How the slopes are drawn.
    share : float, default=1/3
        Probability that a slope or difference is not zero, in the sparse design.
    thresholds : sequence of float, default=(0, 3, 5)
        Intercepts a_k, increasing; there is one class more. The study has (0, 2.5, 4.5), (0, 3, 5),
        (0, 3.5, 5.5) and (0, 4, 6), with a last class of 1.6 down to 0.4 % of the rows.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (DataFrame x1, x2, ...), ``y`` (n,) with classes 1, 2, ..., ``probability`` (n, K) the
        true class probabilities, ``truth`` (DataFrame, one row a boundary "1|2", "2|3", ..., column
        "threshold" and one a covariate, in the sign of ``intercept_`` and ``coef_``: -b_k, so that
        positive slopes move towards higher classes), ``n_redrawn`` (draws thrown away).

    Raises
    ------
    ParameterError
        If a number is outside its range.
    DataError
        If no draw had valid probabilities and all classes.

    References
    ----------
    Faletto, G. and Bien, J. (2023). Predicting Rare Events by Shrinking Towards Proportional Odds.
    ICML, PMLR 202, 9547-9602; designs as in the authors' code.

    Examples
    --------
    >>> from robuststat.simulation import make_presto
    >>> data = make_presto(n=500, random_state=0)
    >>> data.X.shape, sorted(set(data.y.tolist()))
    ((500, 10), [1, 2, 3, 4])
    """
    n = check_integer("n", n, 10)
    p = check_integer("n_features", n_features, 1)
    check_option("design", design, PrestoDesign)
    if not 0.0 <= share <= 1.0:
        raise ParameterError(f"share must be a probability; got {share!r}.")
    alpha = _thresholds(thresholds)
    rng = np.random.default_rng(random_state)
    for redrawn in range(_COEF_DRAWS):
        slopes = np.cumsum(_differences(rng, design, share, len(alpha), p), axis=0)
        X = rng.uniform(-1.0, 1.0, size=(n, p))
        probability = _class_probabilities(expit(alpha + X @ slopes.T))
        if (probability < 0.0).any():
            continue
        for again in range(_ROW_DRAWS):
            y = _draw_classes(rng, probability)
            if len(np.unique(y)) == len(alpha) + 1:
                return _ordinal_bunch(X, y, probability, alpha, -slopes, redrawn + again)
            X = rng.uniform(-1.0, 1.0, size=(n, p))
            probability = _class_probabilities(expit(alpha + X @ slopes.T))
            if (probability < 0.0).any():
                break
    raise DataError(
        f"No draw out of {_COEF_DRAWS} had valid class probabilities in all {n} rows and every "
        "class. Use thresholds further apart, fewer features or more rows."
    )


def _differences(rng: np.random.Generator, design: str, share: float, q: int, p: int) -> Array:
    if design == "dense":
        return rng.uniform(-0.5, 0.5, size=(q, p))
    steps = 0.5 * (rng.random((q, p)) < share)
    signs = np.where(rng.random((q, p)) < 0.5, -1.0, 1.0)
    signs[0] = 1.0
    return np.asarray(steps * signs)


def make_ordinal(
    n: int = 1000,
    *,
    coef: Sequence[float] = (1.0, -0.5, 0.0),
    thresholds: Sequence[float] = (-1.0, 0.5, 2.0),
    link: LinkName = "logit",
    departure: float = 0.0,
    random_state: Seed = None,
) -> Bunch:
    """Draw an ordinal regression, with or without proportional odds.

    Covariates are uniform on (-1, 1) and P(y <= k) = F(thresholds[k] - x'b_k) with b_k = ``coef``,
    but for the first covariate coef[0] + departure * k, k = 0, 1, ....

    Parameters
    ----------
    n : int, default=1000
        Number of rows.
    coef : sequence of float, default=(1, -0.5, 0)
        Slopes, positive towards higher classes.
    thresholds : sequence of float, default=(-1, 0.5, 2)
        Increasing; there is one class more.
    link : {"logit", "probit", "cloglog", "loglog", "cauchit"}, default="logit"
        F.
    departure : float, default=0.0
        By how much the first slope grows from boundary to boundary; 0 is proportional odds.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (DataFrame), ``y`` (n,) with classes 1, 2, ..., ``probability`` (n, K), ``truth``
        (DataFrame, one row a boundary, columns "threshold" and the covariates).

    Raises
    ------
    ParameterError
        If an argument is outside its range, or boundaries cross inside the range of x.

    Examples
    --------
    >>> from robuststat.simulation import make_ordinal
    >>> data = make_ordinal(n=500, random_state=0)
    >>> data.truth.loc["1|2"].tolist()
    [-1.0, 1.0, -0.5, 0.0]
    """
    n = check_integer("n", n, 10)
    check_option("link", link, LinkName)
    alpha = _thresholds(thresholds)
    slopes = np.tile(np.asarray(coef, dtype=np.float64), (len(alpha), 1))
    if slopes.ndim != 2 or not slopes.shape[1] or not np.isfinite(slopes).all():
        raise ParameterError(f"coef must be one or more finite numbers; got {coef!r}.")
    slopes[:, 0] += departure * np.arange(len(alpha))
    # The gap between neighbours is smallest in a corner of the square.
    if (np.diff(alpha) <= np.abs(np.diff(slopes, axis=0)).sum(axis=1)).any():
        raise ParameterError(
            f"departure={departure} lets boundaries cross for x in (-1, 1). Use a smaller one, or "
            "thresholds further apart."
        )
    rng = np.random.default_rng(random_state)
    X = rng.uniform(-1.0, 1.0, size=(n, slopes.shape[1]))
    probability = _class_probabilities(np.asarray(get_link(link).cdf(alpha - X @ slopes.T)))
    return _ordinal_bunch(X, _draw_classes(rng, probability), probability, alpha, slopes, None)


def make_rare_events(
    n: int = 1000,
    *,
    share: float = 0.02,
    coef: Sequence[float] = (1.0, 0.5, 1.0),
    dummy_share: float = 0.1,
    controls_per_case: float | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a logistic regression with a rare event, from the population or by case and control.

    x1, x2, ... are independent standard normal, the last covariate d is 1 with probability
    ``dummy_share`` and else 0; P(y = 1) = expit(a + x'coef) with the intercept a at which events
    are a share ``share`` of the population.

    Parameters
    ----------
    n : int, default=1000
        Number of rows.
    share : float, default=0.02
        Share of events in the population.
    coef : sequence of float, default=(1, 0.5, 1)
        Log-odds ratios; the last is that of d.
    dummy_share : float, default=0.1
        P(d = 1).
    controls_per_case : float, optional
        Draw n / (1 + controls_per_case) events and the rest from the non-events, instead of
        drawing rows from the population.
    random_state : int, SeedSequence, Generator or None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (DataFrame x1, ..., d), ``y`` (n,), ``probability`` (n,) of the event in the
        population, ``tau`` (``share``), ``truth`` (Series, "(Intercept)" and the covariates).

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_rare_events
    >>> data = make_rare_events(n=2000, controls_per_case=4, random_state=0)
    >>> int(data.y.sum()), data.truth.round(2).tolist()
    (400, [-4.62, 1.0, 0.5, 1.0])
    """
    n = check_integer("n", n, 10)
    for name, value in (("share", share), ("dummy_share", dummy_share)):
        if not 0.0 < value < 1.0:
            raise ParameterError(f"{name} must be strictly between 0 and 1; got {value!r}.")
    slopes = np.asarray(coef, dtype=np.float64)
    if slopes.ndim != 1 or not slopes.size or not np.isfinite(slopes).all():
        raise ParameterError(f"coef must be one or more finite numbers; got {coef!r}.")
    if controls_per_case is not None and not 0.0 < controls_per_case < n - 1:
        raise ParameterError(
            f"controls_per_case must be between 0 and n - 1 = {n - 1}; got {controls_per_case!r}."
        )
    intercept = _intercept(slopes, dummy_share, share)
    rng = np.random.default_rng(random_state)
    if controls_per_case is None:
        X, y = _population(rng, n, slopes, dummy_share, intercept)
    else:
        wanted = max(1, round(n / (1.0 + controls_per_case)))
        X, y = _case_control(rng, (n - wanted, wanted), slopes, dummy_share, intercept)
    names = [*(f"x{j + 1}" for j in range(len(slopes) - 1)), "d"]
    return Bunch(
        X=pd.DataFrame(X, columns=names),
        y=y,
        probability=np.asarray(expit(intercept + X @ slopes)),
        tau=float(share),
        truth=pd.Series([intercept, *slopes], index=["(Intercept)", *names]),
    )


def _intercept(slopes: Array, dummy_share: float, share: float) -> float:
    """Intercept that gives a share of events, by Gauss-Hermite quadrature over the normal part."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    spread = float(np.sqrt((slopes[:-1] ** 2).sum()))

    def excess(a: float) -> float:
        low, high = expit(a + spread * nodes), expit(a + slopes[-1] + spread * nodes)
        return float(weights @ ((1.0 - dummy_share) * low + dummy_share * high)) - share

    reach = 40.0 + 10.0 * float(np.abs(slopes).sum())
    return float(brentq(excess, -reach, reach, xtol=1e-12))


def _population(
    rng: np.random.Generator, n: int, slopes: Array, dummy_share: float, intercept: float
) -> tuple[Array, IntArray]:
    X = rng.normal(size=(n, len(slopes)))
    X[:, -1] = rng.random(n) < dummy_share
    return X, (rng.random(n) < expit(intercept + X @ slopes)).astype(np.int64)


def _case_control(
    rng: np.random.Generator,
    wanted: tuple[int, int],
    slopes: Array,
    dummy_share: float,
    intercept: float,
) -> tuple[Array, IntArray]:
    """Rows of the population, until there are enough of both classes; in random order."""
    parts: tuple[list[Array], list[Array]] = ([], [])
    missing = list(wanted)
    while any(missing):
        X, y = _population(rng, 20_000, slopes, dummy_share, intercept)
        for c in (0, 1):
            rows = X[y == c][: missing[c]]
            parts[c].append(rows)
            missing[c] -= len(rows)
    X = np.concatenate([*parts[0], *parts[1]])
    y = np.repeat([0, 1], wanted)
    order = rng.permutation(len(y))
    return X[order], y[order]


def _thresholds(values: Sequence[float]) -> Array:
    alpha = np.asarray(values, dtype=np.float64)
    if alpha.ndim != 1 or not alpha.size or not (np.diff(alpha) > 0).all():
        raise ParameterError(f"thresholds must be one or more increasing numbers; got {values!r}.")
    return alpha


def _class_probabilities(cumulative: Array) -> Array:
    n = len(cumulative)
    return np.diff(np.column_stack([np.zeros(n), cumulative, np.ones(n)]), axis=1)


def _draw_classes(rng: np.random.Generator, probability: Array) -> IntArray:
    below = np.cumsum(probability, axis=1)[:, :-1]
    return np.asarray(1 + (rng.random(len(below))[:, None] > below).sum(axis=1))


def _ordinal_bunch(
    X: Array, y: IntArray, probability: Array, alpha: Array, slopes: Array, redrawn: int | None
) -> Bunch:
    names = [f"x{j + 1}" for j in range(X.shape[1])]
    truth = pd.DataFrame(
        np.column_stack([alpha, slopes]),
        columns=["threshold", *names],
        index=[f"{k + 1}|{k + 2}" for k in range(len(alpha))],
    )
    # -0.0 would be printed.
    found = Bunch(X=pd.DataFrame(X, columns=names), y=y, probability=probability, truth=truth + 0.0)
    if redrawn is not None:
        found.n_redrawn = redrawn
    return found
