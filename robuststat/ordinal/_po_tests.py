"""Tests of proportional odds: Brant, likelihood ratio and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit
from sklearn.base import BaseEstimator

from robuststat._core.data import RoleData
from robuststat._core.errors import ParameterError
from robuststat._core.linalg import solve_square
from robuststat._core.types import Array
from robuststat._format import format_p
from robuststat.ordinal._base import is_categories, read_rows
from robuststat.ordinal._families import FAMILIES, make_family
from robuststat.ordinal._likelihood_fit import Fit, Rows, column_moments, fit_rows, slabs_of
from robuststat.ordinal._links import LINKS
from robuststat.ordinal._model import count_crossings, make_rows
from robuststat.ordinal._response import read_response
from robuststat.ordinal._slabs import class_scores, likelihood_sums, make_slabs
from robuststat.ordinal._structure import Structure, make_structure

KINDS = ("brant", "lr", "score")
_TOL, _MAX_ITER = 1e-8, 100
_TITLES = {
    "brant": "Brant test of proportional odds (Wald, separate binary logits)",
    "lr": "Likelihood-ratio test of parallel coefficients",
    "score": "Score test of parallel coefficients",
}


@dataclass(frozen=True, slots=True)
class ParallelTest:
    """Test that coefficients are the same at every boundary.

    Attributes
    ----------
    statistic : float
        Of all columns together.
    df : int
        p (K - 2) for p columns and K classes.
    p_value : float
        From the chi-squared distribution.
    table : DataFrame
        ``term statistic df p_value``, one row a column of the design: is the coefficient of this
        column the same at every boundary?
    coef : DataFrame or None
        Coefficients at each boundary, positive towards higher classes; those of the separate
        binary logits, or of the model without restriction. None for the score test.
    kind : str
        "brant", "lr" or "score".
    n_obs, n_crossing : int
        Units; rows in which boundaries of the unrestricted model cross.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import po_test
    >>> x = np.tile([0.0, 1.0, 2.0], 60)
    >>> y = np.repeat([0, 1, 2], 60)
    >>> found = po_test(x[:, None], y, kind="lr")
    >>> found.df, round(found.p_value, 2)
    (1, 1.0)
    """

    statistic: float
    df: int
    p_value: float
    table: pd.DataFrame
    coef: pd.DataFrame | None
    kind: str
    n_obs: int
    n_crossing: int = 0

    def __str__(self) -> str:
        shown = self.table.copy()
        shown["statistic"] = shown["statistic"].map("{:.3f}".format)
        shown["p_value"] = shown["p_value"].map(format_p)
        lines = [
            f"{_TITLES[self.kind]}, {self.n_obs:,} observations",
            "H0: every coefficient is the same at every boundary",
            f"chi2({self.df}) = {self.statistic:.3f}, p-value {_with_sign(self.p_value)}",
            shown.to_string(index=False),
        ]
        if self.n_crossing:
            lines.append(
                f"Note: boundaries of the unrestricted model cross in {self.n_crossing} rows; the "
                "chi-squared approximation is doubtful."
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def _with_sign(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"


def brant_test(
    X: Any,
    y: Any = None,
    *,
    formula: str | None = None,
    categories: Sequence[Any] | None = None,
    sample_weight: Any = None,
    offset: Any = None,
    missing: str | None = None,
) -> ParallelTest:
    """Test proportional odds by comparing the binary logits of y > k (Brant 1990).

    Parameters
    ----------
    X : array or frame of shape (n, p)
        Covariates without a column of ones.
    y : array of shape (n,), counts of shape (n, K), or column name
        Ordered classes, at least three; None with a formula.
    formula : str, optional
        Model formula; then X is a frame.
    categories : list, optional
        Classes from lowest to highest; needed for text.
    sample_weight : array of shape (n,) or str, optional
        Frequencies.
    offset : array of shape (n,) or str, optional
        Added to the predictor of every boundary.
    missing : {"raise", "drop"}, optional
        What a missing value does.

    Returns
    -------
    ParallelTest

    Raises
    ------
    DataError, ParameterError, CollinearityError, SeparationError
        For data that cannot be used; separation of one of the binary logits is named.

    Notes
    -----
    With beta_k the slopes of the logit of 1{y > k} and, for m < l, their covariance the slope block
    of (A'W_m A)^-1 A' diag(p_l (1 - p_m)) A (A'W_l A)^-1, the statistic is the Wald test of
    beta_1 = ... = beta_{K-1}. A = [1, X], p_k the fitted P(y > k), W_k = diag(p_k (1 - p_k)).

    References
    ----------
    Brant, R. (1990). Assessing proportionality in the proportional odds model for ordinal logistic
    regression. Biometrics 46(4), 1171-1178.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import brant_test
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(800, 2))
    >>> y = np.digitize(x[:, 0] + (0.5 + x[:, 1] ** 2) * rng.logistic(size=800), [-1.0, 0.0, 1.0])
    >>> brant_test(x, y).df
    4
    """
    task = _read(X, y, formula, categories, sample_weight, offset, missing)
    return _brant(task)


def po_test(
    X: Any,
    y: Any = None,
    *,
    kind: str = "brant",
    family: str = "cumulative",
    link: str = "logit",
    formula: str | None = None,
    categories: Sequence[Any] | None = None,
    sample_weight: Any = None,
    offset: Any = None,
    missing: str | None = None,
) -> ParallelTest:
    """Test that coefficients are the same at every boundary, three ways.

    Parameters
    ----------
    X, y
        As for :func:`brant_test`.
    kind : {"brant", "lr", "score"}, default="brant"
        "brant" compares separate binary logits; "lr" compares the likelihoods of the parallel
        model and of the one in which a column (or all) varies by boundary; "score" needs the
        parallel fit only, with the expected information.
    family : {"cumulative", "stopping", "continuation", "adjacent"}, default="cumulative"
        Model, for "lr" and "score".
    link : {"logit", "probit", "cloglog", "loglog", "cauchit"}, default="logit"
        Link, for "lr" and "score".
    formula, categories, sample_weight, offset, missing
        As for :func:`brant_test`.

    Returns
    -------
    ParallelTest

    Raises
    ------
    ParameterError
        For unknown kinds, or "brant" with another model than the cumulative logit.

    Notes
    -----
    The LR test of single columns is R's ``nominal_test``. Where boundaries of the larger model
    cross, a warning and the table say so.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import po_test
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(600, 2))
    >>> y = np.digitize(x[:, 0] + rng.logistic(size=600), [-1.0, 0.5, 2.0])
    >>> po_test(x, y, kind="score").p_value > 0.01
    True
    """
    for name, value, known in (
        ("kind", kind, KINDS),
        ("family", family, FAMILIES),
        ("link", link, LINKS),
    ):
        if value not in known:
            raise ParameterError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
    if kind == "brant" and (family, link) != ("cumulative", "logit"):
        raise ParameterError(
            f"The Brant test is about cumulative logits; got family={family!r}, link={link!r}. "
            "Use kind='lr' or 'score'."
        )
    task = replace(
        _read(X, y, formula, categories, sample_weight, offset, missing), family=family, link=link
    )
    return {"brant": _brant, "lr": _ratio, "score": _score}[kind](task)


@dataclass(frozen=True, slots=True)
class _Task:
    rows: Rows
    classes: Any
    names: tuple[str, ...]
    centre: Array
    spread: Array
    family: str = "cumulative"
    link: str = "logit"

    @property
    def q(self) -> int:
        return len(self.classes) - 1

    def structure(self, parallel: Any) -> Structure:
        return make_structure(
            make_family(self.family, self.link, False),
            self.classes.tolist(),
            self.names,
            centre=self.centre,
            spread=self.spread,
            parallel=parallel,
            threshold="flexible",
            scale=None,
        )

    def fit(self, parallel: Any) -> Fit:
        structure = self.structure(parallel)
        return fit_rows(self.rows, structure, self.names, tol=_TOL, max_iter=_MAX_ITER)

    def result(
        self, kind: str, whole: float, single: Sequence[float], coef: Any, n_crossing: int = 0
    ) -> ParallelTest:
        each = self.q - 1
        df = each * len(self.names)
        table = pd.DataFrame(
            {
                "term": list(self.names),
                "statistic": list(single),
                "df": each,
                "p_value": stats.chi2.sf(single, each),
            }
        )
        if coef is not None:
            boundaries = [f"{a}|{b}" for a, b in zip(self.classes, self.classes[1:], strict=False)]
            coef = pd.DataFrame(coef, index=pd.Index(boundaries), columns=list(self.names))
        p = float(stats.chi2.sf(whole, df))
        return ParallelTest(whole, df, p, table, coef, kind, self.rows.n_obs, n_crossing)


class _Reading(BaseEstimator):
    """Receives what the intake remembers of columns."""


def _read(
    X: Any, y: Any, formula: Any, categories: Any, sample_weight: Any, offset: Any, missing: Any
) -> _Task:
    if missing not in (None, "raise", "drop"):
        raise ParameterError(f"missing must be 'raise' or 'drop'; got {missing!r}.")
    wrong = None if categories is None else is_categories(categories)
    if wrong:
        raise ParameterError(f"categories must be {wrong}; got {categories!r}.")
    data: RoleData = read_rows(
        _Reading(),
        X,
        y,
        formula=formula,
        sample_weight=sample_weight,
        offset=offset,
        missing=missing,
    )
    response = read_response(
        data.y,
        weights=data.weights,
        categories=categories,
        name=data.outcome,
        columns=data.outcomes,
    )
    if response.n_classes < 3:
        raise ParameterError(
            "With two classes there is one boundary and nothing to compare; at least three classes "
            "are needed."
        )
    rows = make_rows(data, response)
    centre, spread = column_moments(rows.X, rows.total)
    constant = [name for name, s in zip(data.names, spread, strict=True) if s == 0]
    if constant or not data.names:
        raise ParameterError(
            f"The test needs columns that vary; constant: "
            f"{', '.join(constant) or 'there are none'}."
            " Drop them."
        )
    return _Task(rows, response.classes, data.names, centre, spread)


def _brant(task: _Task) -> ParallelTest:
    rows, q, p = task.rows, task.q, len(task.names)
    A = np.ones((len(rows.X), 1 + p))
    A[:, 1:] = (rows.X - task.centre) / task.spread
    w = np.ones(len(A)) if rows.total is None else rows.total
    two = replace(task, classes=np.array([0, 1]))
    above, inverses, slopes = [], [], np.empty((q, p))
    for k in range(q):
        binary = replace(rows, codes=(rows.codes > k).astype(np.int64))
        fit = replace(two, rows=binary).fit(True)
        theta, coef, _ = fit.structure.raw(fit.maximum.phi)
        eta = rows.X @ coef[0] - theta[0]
        prob = expit(eta if rows.offset is None else eta - rows.offset)
        above.append(prob)
        inverses.append(_inverse((A * (w * prob * (1.0 - prob))[:, None]).T @ A))
        slopes[k] = coef[0]
    V = np.empty((q, p, q, p))
    for m in range(q):
        for k in range(m, q):
            inner = (A * (w * above[k] * (1.0 - above[m]))[:, None]).T @ A
            block = (inverses[m] @ inner @ inverses[k])[1:, 1:]
            block = block / task.spread[:, None] / task.spread
            V[m, :, k, :], V[k, :, m, :] = block, block.T
    D = np.column_stack([np.ones(q - 1), -np.eye(q - 1)])
    gap = D @ slopes
    spread = np.einsum("am,mjkl,bk->ajbl", D, V, D)
    single = [_quadratic(gap[:, j], spread[:, j, :, j]) for j in range(p)]
    size = (q - 1) * p
    whole = _quadratic(gap.ravel(), spread.reshape(size, size))
    return task.result("brant", whole, single, slopes)


def _inverse(matrix: Array) -> Array:
    return solve_square(matrix, np.eye(len(matrix)))


def _quadratic(gap: Array, spread: Array) -> float:
    return float(gap @ solve_square(spread, gap))


def _ratio(task: _Task) -> ParallelTest:
    base = task.fit(True).maximum.loglik
    free = task.fit(False)
    n_crossing = count_crossings(free.structure, free.maximum.phi, task.rows)
    single = []
    for name in task.names:
        others = [other for other in task.names if other != name]
        single.append(max(2.0 * (task.fit(others).maximum.loglik - base), 0.0))
    whole = max(2.0 * (free.maximum.loglik - base), 0.0)
    _, coef, _ = free.structure.raw(free.maximum.phi)
    return task.result("lr", whole, single, coef, n_crossing)


def _score(task: _Task) -> ParallelTest:
    fit, free = task.fit(True), task.structure(False)
    q, p = task.q, len(task.names)
    phi = fit.maximum.phi
    phi = np.concatenate([phi[:q], np.tile(phi[q:], q)])
    gradient = likelihood_sums(free.layout, slabs_of(task.rows, free), phi)[1]
    info = _expected_information(task.rows, free, phi)
    whole = _quadratic(gradient, info)
    single = []
    for j in range(p):
        # Column j varies, the others have one coefficient.
        M = np.zeros((len(phi), q + (p - 1) + q))
        M[:q, :q] = np.eye(q)
        others = np.delete(np.arange(p), j)
        for k in range(q):
            M[q + k * p + others, q + np.arange(p - 1)] = 1.0
            M[q + k * p + j, q + (p - 1) + k] = 1.0
        single.append(_quadratic(M.T @ gradient, M.T @ info @ M))
    return task.result("score", whole, single, None)


def _expected_information(rows: Rows, structure: Structure, phi: Array) -> Array:
    """Information (k, k) averaged over the classes that each row might have had."""
    layout = structure.layout
    info = np.zeros((len(phi), len(phi)))
    w = 1.0 if rows.total is None else rows.total
    for code in range(layout.n_classes):
        slabs = make_slabs(
            rows.X,
            np.full(len(rows.X), code, dtype=np.int64),
            layout,
            offset=rows.offset,
            centre=structure.centre,
            unit=structure.unit,
        )
        log_p, psi = class_scores(layout, slabs, phi)
        info += (psi * (w * np.exp(log_p))[:, None]).T @ psi
    return info
