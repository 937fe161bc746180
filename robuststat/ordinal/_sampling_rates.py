"""Classes sampled at different rates: known population shares put back (King and Zeng 2001).

With shares s_k in the sample and tau_k in the population, weights tau_y / s_y make the
likelihood of any family that of the population ("weighting"). For adjacent-category logits,
multinomial models in disguise, sampling by class changes thresholds only: log(pi_k / pi_{k+1})
moves by log of the ratio of sampling rates, so that the unweighted fit is efficient and its
thresholds are shifted back ("prior"); for cumulative and sequential models with three classes or
more slopes change too, and no shift of thresholds repairs them. Because the shares are known,
scores vary around their class means only (weighting), or shares have an influence of their own
(prior): derived here, checked by simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.table import to_float
from robuststat._core.types import Array, IntArray
from robuststat.ordinal._families import Family


def population_shares(tau: Any, classes: Any) -> Array:
    """Shares (K,) in the order of the classes, checked.

    Raises
    ------
    ParameterError
        When there is not one positive share a class or they do not add up to one.
    """
    labels = list(classes.tolist())
    if isinstance(tau, Mapping):
        unknown = [key for key in tau if key not in labels]
        absent = [label for label in labels if label not in tau]
        if unknown or absent:
            raise ParameterError(
                f"tau must have one share for each of the classes {labels}; "
                f"unknown: {unknown}, absent: {absent}."
            )
        values = [tau[label] for label in labels]
    else:
        values = list(np.atleast_1d(tau))
    shares = to_float(values, "tau")
    if shares.shape != (len(labels),) or not (shares > 0).all():
        raise ParameterError(
            f"tau must hold {len(labels)} positive shares, one a class in the order {labels}; got "
            f"{tau!r}."
        )
    if abs(shares.sum() - 1.0) > 1e-6:
        raise ParameterError(
            f"The shares in tau must add up to 1; they add up to {shares.sum():g}."
        )
    return np.asarray(shares / shares.sum())


def refuse_prior(family: Family, n_classes: int, threshold: str) -> None:
    """Refuse a shift of thresholds where it does not repair the slopes.

    Raises
    ------
    ParameterError
        For other models than logits of adjacent categories or of two classes.
    """
    if family.link != "logit" or not (family.shape == "adjacent" or n_classes == 2):
        raise ParameterError(
            "correction='prior' shifts thresholds, which is enough for family='adjacent' with the "
            "logit link only: sampling by class changes the slopes of the other models too. Use "
            "correction='weighting'."
        )
    if threshold != "flexible":
        raise ParameterError("correction='prior' needs threshold='flexible'.")


def class_factors(totals: Array, shares: Array) -> Array:
    """Weight tau_k / s_k of the rows of each class."""
    return np.asarray(shares / (totals / totals.sum()))


def threshold_shift(totals: Array, shares: Array) -> Array:
    """Return what is added to the thresholds of adjacent logits, of shape (q,)."""
    rate = np.log(totals / totals.sum() / shares)
    return np.asarray(rate[1:] - rate[:-1])


def centred_scores(psi: Array, codes: IntArray, counts: Array | None) -> Array:
    """Scores of units less the mean of their class."""
    size = np.bincount(codes, weights=counts)
    n_classes = size.size
    total = np.zeros((n_classes, psi.shape[1]))
    np.add.at(total, codes, psi if counts is None else psi * counts[:, None])
    return np.asarray(psi - (total / size[:, None])[codes])


def shifted_scores(
    psi: Array,
    information: Array,
    codes: IntArray,
    weights: Array | None,
    totals: Array,
    n_obs: int,
) -> Array:
    """Scores that also carry the influence of the sample shares on the shift.

    Parameters
    ----------
    psi : ndarray of shape (n, k)
        Scores of units; thresholds come first.
    information : ndarray of shape (k, k)
        Average information J.
    codes : ndarray of shape (n,)
        Classes.
    weights : ndarray of shape (n,) or None
        Sample weights of units.
    totals : ndarray of shape (K,)
        Weight of each class.
    n_obs : int
        Units.
    """
    q = totals.size - 1
    # Influence of the log total of a class on an average over units; constants cancel.
    own = n_obs / totals[codes]
    if weights is not None:
        own = own * weights
    shift = np.zeros((len(codes), q))
    lower, upper = np.flatnonzero(codes < q), np.flatnonzero(codes > 0)
    shift[lower, codes[lower]] -= own[lower]
    shift[upper, codes[upper] - 1] += own[upper]
    return np.asarray(psi + shift @ information[:q])
