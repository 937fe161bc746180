"""Bias, spread, coverage and their Monte Carlo errors, from the answers of all repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, BoolArray

__all__ = ["Answer", "Repetition", "list_failures", "summarise"]


class Answer(NamedTuple):
    """What one estimator said in one repetition; ``error`` is set when it said nothing."""

    names: list[str] | None = None
    estimate: Array = np.empty(0)
    std_error: Array = np.empty(0)
    low: Array = np.empty(0)
    high: Array = np.empty(0)
    error: str | None = None


class Repetition(NamedTuple):
    """One draw: its truth with the names of the terms (None if unnamed), and every answer."""

    truth: Array
    terms: list[str] | None
    answers: dict[str, Answer]


def list_failures(repetitions: Sequence[Repetition]) -> pd.DataFrame:
    """Every failure with its repetition and the words of the error."""
    rows = [
        (name, index, answer.error)
        for index, repetition in enumerate(repetitions)
        for name, answer in repetition.answers.items()
        if answer.error is not None
    ]
    return pd.DataFrame(rows, columns=["estimator", "repetition", "error"])


def _match(name: str, answer: Answer, repetition: Repetition) -> tuple[list[str], Array]:
    """Labels of the estimates and the truth in their order."""
    truth, terms = repetition.truth, repetition.terms
    k = answer.estimate.size
    if answer.names is not None and terms is not None and not k == truth.size == 1:
        missing = [term for term in answer.names if term not in terms]
        if missing:
            raise ParameterError(
                f"estimator {name!r} estimates {missing}, of which the truth knows nothing; it has "
                f"{terms}. Rename one of the two, or pass truth= as an array in the order of the "
                "estimates."
            )
        return answer.names, truth[[terms.index(term) for term in answer.names]]
    if k != truth.size:
        raise ParameterError(
            f"estimator {name!r} returned {k} estimates, but the truth has {truth.size} values. "
            "Give both the same terms in the same order, or names."
        )
    return terms or answer.names or [f"term{i}" for i in range(k)], truth


def summarise(name: str, repetitions: Sequence[Repetition]) -> tuple[pd.DataFrame, Array, Array]:
    """Rows of the table for one estimator, with its estimates and standard errors."""
    answers = [repetition.answers[name] for repetition in repetitions]
    good = [index for index, answer in enumerate(answers) if answer.error is None]
    if not good:
        raise ArithmeticError(
            f"estimator {name!r} failed in every repetition; the first time: {answers[0].error}. "
            "Use errors='raise' to see where."
        )
    matched = [_match(name, answers[index], repetitions[index]) for index in good]
    labels = matched[0][0]
    if any(other != labels for other, _ in matched):
        raise ParameterError(
            f"estimator {name!r} estimates different terms in different repetitions, at first "
            f"{labels}. Return the same terms every time."
        )
    estimate, std_error, low, high = (
        np.array([getattr(answers[index], part) for index in good])
        for part in ("estimate", "std_error", "low", "high")
    )
    truth = np.array([values for _, values in matched])
    table = pd.DataFrame(
        {
            "estimator": name,
            "term": labels,
            "truth": truth.mean(axis=0),
            **_performance(
                estimate - truth,
                std_error,
                (low <= truth) & (truth <= high),
                n_failed=len(answers) - len(good),
            ),
        }
    )
    full = np.full((2, len(answers), len(labels)), np.nan)
    full[0, good], full[1, good] = estimate, std_error
    return table, full[0], full[1]


def _performance(
    error: Array, std_error: Array, covered: BoolArray, n_failed: int
) -> dict[str, Array | int]:
    """Measures by column with their Monte Carlo standard errors; arrays of shape (R, k)."""
    R = error.shape[0]
    root = np.sqrt(R)
    mean_se, coverage = std_error.mean(axis=0), covered.mean(axis=0)
    rmse = np.sqrt(np.mean(error**2, axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):  # one repetition, or no variation at all
        sd, sd_se, sd_square = (_sd(values) for values in (error, std_error, error**2))
        relative = 1 / (2 * np.float64(R - 1))
        se_ratio = mean_se / sd
        ratio_mcse = se_ratio * np.sqrt((sd_se / mean_se) ** 2 / R + relative)
        rmse_mcse = sd_square / (2 * rmse * root)
        sd_mcse = sd * np.sqrt(relative)
    return {
        "bias": error.mean(axis=0),
        "sd": sd,
        "mean_se": mean_se,
        "se_ratio": se_ratio,
        "rmse": rmse,
        "coverage": coverage,
        "n_failed": n_failed,
        "bias_mcse": sd / root,
        "sd_mcse": sd_mcse,
        "mean_se_mcse": sd_se / root,
        "se_ratio_mcse": ratio_mcse,
        "rmse_mcse": rmse_mcse,
        "coverage_mcse": np.sqrt(coverage * (1 - coverage)) / root,
    }


def _sd(values: Array) -> Array:
    """Return the standard deviation of each column; NaN with one row."""
    centred = values - values.mean(axis=0)
    total: Array = np.sum(centred**2, axis=0) / np.float64(len(values) - 1)
    return np.sqrt(total)
