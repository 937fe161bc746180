"""Designs of the surrogate-label family: machine labels on all rows, expert labels on a few."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr
from scipy.stats import poisson
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.simulation._labels import (
    LabelDesign,
    Seed,
    check_fraction,
    check_integer,
    check_option,
    label_rows,
)

__all__ = [
    "make_predicted_covariate",
    "make_surrogate_linear",
    "make_surrogate_logit",
    "make_surrogate_poisson",
    "make_surrogate_prevalence",
]

Surrogate: TypeAlias = Literal["biased", "poor"]

_COEF = np.array([0.3, 0.5, -0.4, 0.2])
_TERMS = ["(Intercept)", "x1", "x2", "x3"]
# Correlation within a cluster of x1 and of the latent noise, when clusters are asked for.
_CLUSTER_CORRELATION = 0.3


def make_surrogate_linear(
    n: int = 2000,
    n_labeled: int | None = None,
    *,
    design: LabelDesign = "srs",
    surrogate: Surrogate = "biased",
    n_clusters: int | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a linear regression whose outcome is known on a few rows and predicted on all.

    y = 0.3 + 0.5 x1 - 0.4 x2 + 0.2 x3 + e with independent standard normal covariates and e. The
    surrogate is s = 0.8 y + 0.5 + 0.4 * 1(x1 > 0) + 0.4 N(0, 1) when biased and
    s = 0.3 y + 0.5 x1 + 1.5 N(0, 1) when poor, so that a regression of s is wrong at any n.

    Parameters
    ----------
    n : int, default 2000
        Number of rows.
    n_labeled : int or None, default None
        Number of labelled rows, in expectation under ``"bernoulli"`` and ``"unequal"``. None is
        10 % of the rows; under ``"stratified"`` and ``"unequal"`` it is 14 %.
    design : {"srs", "bernoulli", "stratified", "unequal"}, default "srs"
        How rows are chosen for labelling, see :func:`draw_labels`. Under ``"unequal"`` the
        probabilities are 0.2 where x1 > 0 and 0.08 elsewhere, rescaled if ``n_labeled`` is given.
        Under ``"stratified"`` the strata are x1 > 0 and the rest, their fixed numbers of labels in
        the ratio 0.2 to 0.08 (200 and 80 for n = 2000).
    surrogate : {"biased", "poor"}, default "biased"
        Quality of the prediction.
    n_clusters : int, optional
        Number of clusters of (nearly) equal size; x1 and e then have the correlation 0.3 within a
        cluster, each with the same distribution as before. None: independent rows.
    random_state : int, SeedSequence, Generator or None, default None
        Seed of the draw.

    Returns
    -------
    sklearn.utils.Bunch
        With the keys

        X : DataFrame of shape (n, 3)
            Covariates x1, x2, x3; no column of ones.
        y : ndarray of shape (n,)
            Expert label, NaN where the row is not labelled.
        y_gold : ndarray of shape (n,)
            Expert label of every row.
        prediction : ndarray of shape (n,)
            Surrogate label, same unit as y.
        labeled, sample_prob : ndarray of shape (n,)
            Mask of the labelled rows and labelling probabilities in (0, 1].
        truth : Series of length 4
            Population coefficients of (Intercept), x1, x2, x3.
        strata, clusters : ndarray of shape (n,)
            Integer codes; ``strata`` under ``"stratified"``, ``clusters`` with ``n_clusters``.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Notes
    -----
    The model holds, so the coefficients are the population projection exactly.

    Examples
    --------
    >>> from robuststat.simulation import make_surrogate_linear
    >>> draw = make_surrogate_linear(n_labeled=200, random_state=0)
    >>> int(draw.labeled.sum())
    200
    >>> draw.truth.to_dict()
    {'(Intercept)': 0.3, 'x1': 0.5, 'x2': -0.4, 'x3': 0.2}
    """
    check_option("surrogate", surrogate, Surrogate)
    rng, X, noise, clusters = _draw_covariates(n, n_clusters, random_state)
    y = _COEF[0] + X @ _COEF[1:] + noise
    if surrogate == "biased":
        prediction = 0.8 * y + 0.5 + 0.4 * (X[:, 0] > 0) + 0.4 * rng.standard_normal(n)
    else:
        prediction = 0.3 * y + 0.5 * X[:, 0] + 1.5 * rng.standard_normal(n)
    labels = label_rows(X[:, 0], n_labeled, design, clusters, rng)
    return _outcome_bunch(X, y, prediction, _coefficients(), labels)


def make_surrogate_logit(
    n: int = 2000,
    n_labeled: int | None = None,
    *,
    accuracy: float = 0.9,
    design: LabelDesign = "srs",
    n_clusters: int | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a logistic regression whose binary outcome is misclassified on purpose unevenly.

    P(y = 1 | x) = expit(0.3 + 0.5 x1 - 0.4 x2 + 0.2 x3). The surrogate label is the wrong class
    with probability 1.8 (1 - accuracy) where x1 > 0 and 0.2 (1 - accuracy) elsewhere: its share of
    right labels is ``accuracy``, but its errors depend on a covariate (differential
    misclassification).

    Parameters
    ----------
    n, n_labeled : int, optional
        See :func:`make_surrogate_linear`.
    accuracy : float, default 0.9
        Probability that the surrogate is right, between 0.5 and 1.
    design, n_clusters, random_state : optional
        See :func:`make_surrogate_linear`. Within a cluster, x1 and the latent normal noise behind
        y have the correlation 0.3; P(y = 1 | x) is unchanged.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`make_surrogate_linear`; ``y`` and ``prediction`` are 0 or 1, ``truth`` in
        log-odds. The model holds, so it is the population logit projection exactly.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_surrogate_logit
    >>> draw = make_surrogate_logit(n=20_000, accuracy=0.8, random_state=0)
    >>> round(float((draw.prediction == draw.y_gold).mean()), 2)
    0.8
    """
    check_fraction("accuracy", accuracy, 0.5, 1.0)
    rng, X, noise, clusters = _draw_covariates(n, n_clusters, random_state)
    y = (ndtr(-noise) < expit(_COEF[0] + X @ _COEF[1:])).astype(float)
    error_rate = (1 - accuracy) * np.where(X[:, 0] > 0, 1.8, 0.2)
    prediction = np.where(rng.random(n) < error_rate, 1 - y, y)
    labels = label_rows(X[:, 0], n_labeled, design, clusters, rng)
    return _outcome_bunch(X, y, prediction, _coefficients(), labels)


def make_surrogate_poisson(
    n: int = 2000,
    n_labeled: int | None = None,
    *,
    design: LabelDesign = "srs",
    surrogate: Surrogate = "biased",
    n_clusters: int | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a Poisson regression whose counts a machine misses in part and invents in part.

    E(y | x) = exp(0.3 + 0.5 x1 - 0.4 x2 + 0.2 x3). The biased surrogate finds each counted event
    with probability 0.8 and adds Poisson(0.5 + 0.4 * 1(x1 > 0)) false ones; the poor one finds each
    with probability 0.3 and adds Poisson(exp(0.5 x1)).

    Parameters
    ----------
    n, n_labeled, design, surrogate, n_clusters, random_state : optional
        See :func:`make_surrogate_linear`. Within a cluster, x1 and the latent normal noise behind
        y have the correlation 0.3; the distribution of y given x is unchanged.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`make_surrogate_linear`; ``y`` and ``prediction`` are counts, ``truth`` in log
        rates. The model holds, so it is the population Poisson projection exactly.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_surrogate_poisson
    >>> draw = make_surrogate_poisson(n=1000, n_labeled=100, random_state=0)
    >>> int((draw.y >= 0).sum())
    100
    """
    check_option("surrogate", surrogate, Surrogate)
    rng, X, noise, clusters = _draw_covariates(n, n_clusters, random_state)
    y = poisson.ppf(ndtr(noise), np.exp(_COEF[0] + X @ _COEF[1:]))
    if surrogate == "biased":
        found, invented = 0.8, 0.5 + 0.4 * (X[:, 0] > 0)
    else:
        found, invented = 0.3, np.exp(0.5 * X[:, 0])
    prediction = (rng.binomial(y.astype(np.int64), found) + rng.poisson(invented)).astype(float)
    labels = label_rows(X[:, 0], n_labeled, design, clusters, rng)
    return _outcome_bunch(X, y, prediction, _coefficients(), labels)


def make_surrogate_prevalence(
    n: int = 500,
    n_labeled: int | None = 100,
    *,
    prevalence: float = 0.5,
    accuracy: float = 0.776,
    bias: float = 0.09,
    design: LabelDesign = "srs",
    n_clusters: int | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a binary label whose prevalence is wanted and whose surrogate over-counts it.

    Sensitivity and specificity of the surrogate are chosen such that, in the population, it is
    right with probability ``accuracy`` and its prevalence exceeds the true one by ``bias``.

    Parameters
    ----------
    n, n_labeled : int, optional
        Number of rows and of labelled rows.
    prevalence : float, default 0.5
        P(y = 1), between 0 and 1, both excluded.
    accuracy : float, default 0.776
        P(prediction = y).
    bias : float, default 0.09
        P(prediction = 1) - P(y = 1).
    design, n_clusters, random_state : optional
        See :func:`make_surrogate_linear`; x1 is noise here.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`make_surrogate_linear`, with X three columns of pure noise and ``truth`` the
        prevalence, plus ``sensitivity`` and ``specificity`` (floats).

    Raises
    ------
    ParameterError
        If an argument is outside its range, or no surrogate has this accuracy and bias.

    Notes
    -----
    With p = ``prevalence``: sensitivity = (2 p + bias + accuracy - 1) / (2 p) and
    specificity = (1 - 2 p - bias + accuracy) / (2 (1 - p)). The defaults imitate the Misinformation
    data of the reference. One class against the rest of C classes, with multi-class accuracy a:
    ``prevalence=1 / C, accuracy=1 - 2 * (1 - a) / C``.

    References
    ----------
    Egami, Hinck, Stewart and Wei (2023). Using Imperfect Surrogates for Downstream Inference.
    Advances in Neural Information Processing Systems 36, Table 3.

    Examples
    --------
    >>> from robuststat.simulation import make_surrogate_prevalence
    >>> draw = make_surrogate_prevalence(n=50_000, random_state=0)
    >>> round(draw.sensitivity, 3), round(draw.specificity, 3)
    (0.866, 0.686)
    >>> round(float(draw.prediction.mean()), 2)
    0.59
    """
    check_fraction("prevalence", prevalence, 0.0, 1.0, closed=False)
    sensitivity = (2 * prevalence + bias + accuracy - 1) / (2 * prevalence)
    specificity = (1 - 2 * prevalence - bias + accuracy) / (2 * (1 - prevalence))
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1):
        raise ParameterError(
            f"accuracy={accuracy} and bias={bias} at prevalence={prevalence} ask for sensitivity "
            f"{sensitivity:.3f} and specificity {specificity:.3f}, which must lie in [0, 1]. "
            "Bring bias closer to 0 or change accuracy."
        )
    rng, X, noise, clusters = _draw_covariates(n, n_clusters, random_state)
    y = (ndtr(-noise) < prevalence).astype(float)
    positive_rate = np.where(y == 1, sensitivity, 1 - specificity)
    prediction = (rng.random(n) < positive_rate).astype(float)
    labels = label_rows(X[:, 0], n_labeled, design, clusters, rng)
    truth = pd.Series({"prevalence": float(prevalence)}, name="truth")
    rates = {"sensitivity": float(sensitivity), "specificity": float(specificity)}
    return Bunch(**_outcome_bunch(X, y, prediction, truth, labels), **rates)


def make_predicted_covariate(
    n: int = 2000,
    n_labeled: int | None = None,
    *,
    model: Literal["linear", "logit"] = "linear",
    design: LabelDesign = "srs",
    n_clusters: int | None = None,
    random_state: Seed = None,
) -> Bunch:
    """Draw a regression in which a covariate, not the outcome, is known on a few rows only.

    The outcome follows :func:`make_surrogate_linear` or :func:`make_surrogate_logit` and is known
    everywhere; x1 is known on labelled rows. Its surrogate 0.7 x1 + 0.3 + 0.3 y + 0.5 N(0, 1) errs
    in a way that depends on y, so that a regression on the surrogate is wrong at any n.

    Parameters
    ----------
    n, n_labeled : int, optional
        See :func:`make_surrogate_linear`.
    model : {"linear", "logit"}, default "linear"
        Model of the outcome.
    design : {"srs", "bernoulli", "stratified", "unequal"}, default "srs"
        As in :func:`make_surrogate_linear`, with x2 in the place of x1, which is not known.
    n_clusters, random_state : optional
        See :func:`make_surrogate_linear`.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`make_surrogate_linear`, except that ``X`` has NaN in x1 where the row is not
        labelled, ``X_gold`` is complete, ``y`` and ``y_gold`` are equal, ``prediction`` predicts x1
        and ``predicted`` is the name of that column, "x1". The model holds, so ``truth`` is the
        population projection exactly.

    Raises
    ------
    ParameterError
        If an argument is outside its range.

    Examples
    --------
    >>> from robuststat.simulation import make_predicted_covariate
    >>> draw = make_predicted_covariate(n=1000, n_labeled=100, random_state=0)
    >>> draw.X.notna().sum().to_dict()
    {'x1': 100, 'x2': 1000, 'x3': 1000}
    """
    check_option("model", model, Literal["linear", "logit"])
    rng, X, noise, clusters = _draw_covariates(n, n_clusters, random_state)
    index = _COEF[0] + X @ _COEF[1:]
    y = index + noise if model == "linear" else (ndtr(-noise) < expit(index)).astype(float)
    prediction = 0.7 * X[:, 0] + 0.3 + 0.3 * y + 0.5 * rng.standard_normal(n)
    labels = label_rows(X[:, 1], n_labeled, design, clusters, rng)
    bunch = _outcome_bunch(X, y, prediction, _coefficients(), labels)
    X_known = bunch.X.assign(x1=bunch.X["x1"].where(bunch.labeled))
    return Bunch(**{**bunch, "X": X_known, "y": y.copy()}, X_gold=bunch.X, predicted="x1")


def _draw_covariates(
    n: int, n_clusters: int | None, random_state: Seed
) -> tuple[np.random.Generator, Array, Array, IntArray | None]:
    """Return the generator, standard normal covariates (n, 3) and noise (n,), and cluster codes."""
    check_integer("n", n, 1)
    rng = np.random.default_rng(random_state)
    X, noise = rng.standard_normal((n, 3)), rng.standard_normal(n)
    if n_clusters is None:
        return rng, X, noise, None
    check_integer("n_clusters", n_clusters, 1, n)
    clusters = np.arange(n, dtype=np.int64) * n_clusters // n
    shared = np.sqrt(_CLUSTER_CORRELATION) * rng.standard_normal((n_clusters, 2))[clusters]
    own = np.sqrt(1 - _CLUSTER_CORRELATION)
    X[:, 0] = shared[:, 0] + own * X[:, 0]
    return rng, X, shared[:, 1] + own * noise, clusters


def _outcome_bunch(
    X: Array, y: Array, prediction: Array, truth: pd.Series[float], labels: Bunch
) -> Bunch:
    """Put together a draw in which the outcome is the predicted variable."""
    return Bunch(
        X=pd.DataFrame(X, columns=_TERMS[1:]),
        y=np.where(labels.labeled, y, np.nan),
        y_gold=y,
        prediction=prediction,
        truth=truth,
        **labels,
    )


def _coefficients() -> pd.Series[float]:
    return pd.Series(_COEF.copy(), index=_TERMS, name="truth")
