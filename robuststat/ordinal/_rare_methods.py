"""The estimators of a rare event: from rows to coefficients, variance and influence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import expit, logit

from robuststat._core.errors import ParameterError
from robuststat._core.linalg import solve_psd, symmetrise
from robuststat._core.types import Array
from robuststat.ordinal._rare_fit import (
    LogitFit,
    LogitProblem,
    bias_of_ml,
    evaluate,
    fit_logit,
)

Method = Literal["firth", "king_zeng", "ml", "logf"]
PENALTIES = {"firth": "jeffreys", "logf": "logf", "ml": "none", "king_zeng": "none"}
METHODS = {
    "firth": "Logistic regression, Firth's penalised likelihood",
    "king_zeng": "Logistic regression, King and Zeng's bias correction",
    "ml": "Logistic regression, maximum likelihood",
    "logf": "Logistic regression, log-F prior on the slopes",
}


@dataclass(frozen=True, slots=True)
class RareFit:
    """Coefficients of the sample at hand, before any correction for its share of events.

    Attributes
    ----------
    beta, vcov : ndarray of shape (k,) and (k, k)
        Estimate and model-based variance.
    influence : ndarray of shape (n, k)
        Influence of each row times n.
    mean : ndarray of shape (n,)
        Fitted probabilities.
    problem, fit : LogitProblem and LogitFit
        Likelihood whose profiles give intervals, and its maximum; the first k coefficients are
        those of the model.
    has_profile : ndarray of bool of shape (k,)
        Coefficients with a profile.
    """

    beta: Array
    vcov: Array
    influence: Array
    mean: Array
    problem: LogitProblem
    fit: LogitFit
    has_profile: np.ndarray


def fit_rare(
    problem: LogitProblem,
    method: Method,
    *,
    flic: Literal["flic", "flac"] | None,
    intercept: int | None,
    start: Array,
    event_weight: Array | None,
    tol: float,
    max_iter: int,
) -> RareFit:
    """Fit one of the methods.

    Parameters
    ----------
    problem : LogitProblem
        Rows, with the penalty of the method.
    method : {"firth", "king_zeng", "ml", "logf"}
        Estimator.
    flic : {"flic", "flac"} or None
        Correction of the mean predicted probability after Firth.
    intercept : int or None
        Position of the intercept.
    start : ndarray of shape (k,)
        First value.
    event_weight : ndarray of shape (n,) or None
        Weights by the share of events in the population that ``problem.weights`` contains.
    tol, max_iter : float, int
        Stopping rule.
    """
    fit = fit_logit(problem, start, tol=tol, max_iter=max_iter)
    if flic == "flac":
        return _flac(problem, fit, tol, max_iter)
    k = len(fit.beta)
    inverse = symmetrise(solve_psd(fit.point.information, np.eye(k), problem.names))
    found = RareFit(
        beta=fit.beta,
        vcov=inverse,
        influence=_scores(problem, fit.point.mean, fit.point.hat) @ inverse * len(problem.y),
        mean=fit.point.mean,
        problem=problem,
        fit=fit,
        has_profile=np.full(k, method != "king_zeng"),
    )
    if method == "king_zeng":
        return _king_zeng(found, event_weight)
    if flic == "flic":
        assert intercept is not None
        return _flic(found, intercept, tol, max_iter)
    return found


def _scores(problem: LogitProblem, mean: Array, hat: Array | None) -> Array:
    resid = problem.weights * (problem.y - mean)
    if hat is not None and problem.penalty == "jeffreys":
        resid = resid + hat * (0.5 - mean)
    return np.asarray(problem.X * resid[:, None])


def _king_zeng(ml: RareFit, event_weight: Array | None) -> RareFit:
    """Take the bias off the maximum likelihood estimate; variance times (n / (n + k))^2."""
    problem = ml.problem
    point = evaluate(problem, ml.fit.beta, leverages=True)
    fit = replace(ml.fit, point=point)
    beta = fit.beta - bias_of_ml(fit, problem, event_weight)
    n = float(problem.weights.sum())
    shrink = n / (n + len(beta))
    return replace(
        ml,
        beta=beta,
        vcov=ml.vcov * shrink**2,
        influence=ml.influence * shrink,
        mean=_mean(problem, beta),
    )


def _mean(problem: LogitProblem, beta: Array) -> Array:
    eta = problem.X @ beta
    return np.asarray(expit(eta if problem.offset is None else eta + problem.offset))


def _flic(firth: RareFit, intercept: int, tol: float, max_iter: int) -> RareFit:
    """Firth's slopes with the maximum likelihood intercept given them (Puhr et al. 2017).

    The intercept solves sum w (y - p) = 0, so that da = (sum of its score)/S - m'db with S the sum
    of w p (1 - p) and m the mean of the slopes' columns under these weights.
    """
    problem = firth.problem
    slopes = np.arange(len(firth.beta)) != intercept
    alone = replace(problem, penalty="none")
    fit = fit_logit(alone, firth.beta, fixed=slopes, tol=tol, max_iter=max_iter)
    mean = fit.point.mean
    v = problem.weights * mean * (1.0 - mean)
    total = float(v.sum())
    m = np.delete(problem.X.T @ v, intercept) / total
    block = firth.vcov[np.ix_(slopes, slopes)]
    vcov = firth.vcov.copy()
    vcov[intercept, slopes] = vcov[slopes, intercept] = -block @ m
    vcov[intercept, intercept] = 1.0 / total + m @ block @ m
    influence = firth.influence.copy()
    own = problem.weights * (problem.y - mean) * len(problem.y) / total
    influence[:, intercept] = own - influence[:, slopes] @ m
    return replace(
        firth, beta=fit.beta, vcov=vcov, influence=influence, mean=mean, has_profile=slopes
    )


def _flac(problem: LogitProblem, firth: LogitFit, tol: float, max_iter: int) -> RareFit:
    """Maximum likelihood on the rows and Firth's pseudo-rows, told apart by an indicator.

    Firth's score is that of the data and, for each row, of h_i pseudo-rows with outcome 1/2; the
    indicator gives those a level of their own (Puhr et al. 2017).
    """
    hat = firth.point.hat
    assert hat is not None
    n, k = problem.X.shape
    flag = np.repeat([0.0, 1.0], n)
    augmented = replace(
        problem,
        X=np.column_stack([np.vstack([problem.X, problem.X]), flag]),
        y=np.concatenate([problem.y, np.full(n, 0.5)]),
        weights=np.concatenate([problem.weights, hat]),
        offset=None if problem.offset is None else np.tile(problem.offset, 2),
        penalty="none",
        slopes=np.append(problem.slopes, True),
        names=(*problem.names, "pseudo-row"),
    )
    fit = fit_logit(augmented, np.append(firth.beta, 0.0), tol=tol, max_iter=max_iter)
    inverse = symmetrise(solve_psd(fit.point.information, np.eye(k + 1), augmented.names))
    scores = _scores(augmented, fit.point.mean, None)
    influence = (scores[:n] + scores[n:]) @ inverse * n
    return RareFit(
        beta=fit.beta[:k],
        vcov=inverse[:k, :k],
        influence=influence[:, :k],
        mean=fit.point.mean[:n],
        problem=augmented,
        fit=fit,
        has_profile=np.ones(k, dtype=bool),
    )


def event_weights(y: Array, weights: Array, tau: float) -> Array:
    """Weights tau/ybar for events and (1 - tau)/(1 - ybar) for the others."""
    share = float(np.average(y, weights=weights))
    return np.where(y > 0.5, tau / share, (1.0 - tau) / (1.0 - share))


def prior_shift(y: Array, weights: Array, tau: float) -> float:
    """Return what to take off the intercept: log[(1 - tau)/tau ybar/(1 - ybar)] (eq. 7 there)."""
    share = float(np.average(y, weights=weights))
    return float(logit(share) - logit(tau))


def check_combination(
    *,
    method: str,
    tau: float | None,
    correction: str,
    flic: object,
    prior_df: float,
    vcov: str | None,
    intervals: str | None,
) -> None:
    """Raise ParameterError for options that have no meaning together."""
    if correction == "weighting" and tau is None:
        raise ParameterError(
            "correction='weighting' needs tau=, the share of events in the population."
        )
    if correction == "weighting" and method in ("firth", "logf"):
        raise ParameterError(
            f"correction='weighting' does not go with method={method!r}: the penalty takes weights "
            "for repetitions, and would see n * tau events instead of those in the sample. Use "
            "correction='prior', or method='king_zeng' or 'ml'."
        )
    if flic and method != "firth":
        raise ParameterError(f"flic={flic!r} corrects method='firth'; method is {method!r}.")
    if prior_df != 1.0 and method != "logf":
        raise ParameterError(f"prior_df={prior_df} belongs to method='logf'; method is {method!r}.")
    if intervals == "profile" and method == "king_zeng":
        raise ParameterError(
            "method='king_zeng' maximises no likelihood, so there is no profile. Use "
            "intervals='wald'."
        )
    robust = vcov not in (None, "hessian") or correction == "weighting"
    if intervals == "profile" and robust:
        raise ParameterError(
            "Profiles of the likelihood take it at its word; they do not go with a robust variance "
            f"(vcov={vcov!r}, correction={correction!r}). Use intervals='wald', or vcov='hessian' "
            "and correction='prior'."
        )
