"""Private location of several columns, one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, in_range, one_of
from robuststat._core.table import as_table
from robuststat._core.types import Array
from robuststat.private._accounting import zcdp_for
from robuststat.private._base import PrivateEstimator
from robuststat.private._concentrated import need_delta, prepare_concentrated
from robuststat.private._coordinates import Coordinate, bounds_table, per_column, warn_of_size
from robuststat.private._feasibility import LOCATIONS
from robuststat.private._intake import read_matrix
from robuststat.private._loss import LayerTable


def column_names(X: Any, columns: int) -> tuple[str, ...]:
    """Names of the columns of a frame, else x0, x1, ..."""
    table = as_table(X)
    names = None if table is None else tuple(str(name) for name in table.names)
    return names or tuple(f"x{j}" for j in range(columns))


class DPMultivariateLocation(PrivateEstimator):
    """Differentially private location of d columns: the one-column mechanism for each of them.

    The estimand is the population value of the statistic, column by column. The result is NOT
    affine equivariant: rotating the data and rotating the result is not the same. The private
    multivariate medians that are take exponential time, and are not offered.

    Parameters
    ----------
    estimator : {"median", "trimmed", "winsorized", "huber", "mean", "quantile"}, default="median"
        As in ``DPLocation``.
    epsilon : float
        Privacy of the fit; there is no default.
    delta : float, default=0.0
        Needed by ``composition="zcdp"``.
    bounds : tuple of float, or array of shape (d, 2)
        Public range (low, high), for all columns or one a column.
    composition : {"basic", "zcdp"}, default="basic"
        How epsilon is shared. "basic": ``epsilon / d`` a column, no delta. "zcdp": a column costs
        ``e**2 / 8`` in zCDP, so that its share falls with ``sqrt(d)`` only; pays from about d = 5.
    rho : float, "auto", or sequence of length d, default="auto"
        Useful precision, as in ``DPLocation``.
    quantile, trim, huber_c : float
        As in ``DPLocation``.
    scale : float or sequence of length d, optional
        Public scale; needed by "huber".
    ci : {None, "rank"}, default=None
        Interval a column for its population median or quantile, as in ``DPLocation``.
    ci_share : float, default=0.5
        Share of epsilon spent on the intervals.
    level : float, default=0.95
        Coverage of each interval by itself.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        As in ``DPLocation``.
    max_contributions : int, default=1
        Rows that one person may have.
    accountant : PrivacyAccountant, optional
        Charged by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    estimate_ : ndarray of shape (d,)
        Released locations, unit of the data.
    conf_int_ : ndarray of shape (d, 2) or None
        Released intervals.
    conf_int_flag_ : str
        "" or what is wrong with the intervals.
    epsilon_column_ : float
        Privacy with which each column was drawn.
    score_kind_ : str
        "exact".
    feature_names_in_ : tuple of str
        Names of the columns.
    epsilon_spent_, delta_spent_, rho_spent_, adjacency_, mechanism_, secure_, n_
        As for :class:`DPLocation`; ``rho_spent_`` is set on a zCDP ledger.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPLocation : One column.
    DPMeanCov : Mean and covariance of records that are close to normal.

    References
    ----------
    Bun, M. and Steinke, T. (2016). Concentrated differential privacy. *TCC*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPMultivariateLocation
    >>> X = np.random.default_rng(0).normal([1, -1], 2, size=(10_000, 2))
    >>> est = DPMultivariateLocation(epsilon=2.0, bounds=(-50, 50), rho=0.02).fit(X)
    >>> bool(np.abs(est.estimate_ - [1, -1]).max() < 0.4), est.epsilon_column_
    (True, 1.0)
    """

    _title = "Private location, column by column (not affine equivariant)"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "estimator": one_of(*LOCATIONS),
        "composition": one_of("basic", "zcdp"),
        "quantile": in_range(0.0, 1.0),
        "trim": in_range(0.0, 0.5, closed="left"),
        "huber_c": in_range(0.0, math.inf, closed="neither"),
        "ci": one_of(None, "rank"),
        "ci_share": in_range(0.0, 1.0, closed="right"),
    }

    def __init__(
        self,
        estimator: Literal[
            "median", "trimmed", "winsorized", "huber", "mean", "quantile"
        ] = "median",
        *,
        epsilon: float,
        delta: float = 0.0,
        bounds: Any = None,
        composition: Literal["basic", "zcdp"] = "basic",
        rho: Any = "auto",
        quantile: float = 0.5,
        trim: float = 0.1,
        huber_c: float = 1.345,
        scale: Any = None,
        ci: Literal["rank"] | None = None,
        ci_share: float = 0.5,
        level: float = 0.95,
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.composition = composition
        self.rho = rho
        self.quantile = quantile
        self.trim = trim
        self.huber_c = huber_c
        self.scale = scale
        self.ci = ci
        self.ci_share = ci_share
        self.level = level
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        owner = type(self).__name__
        bounds_table(self.bounds, owner, "bounds")
        for name in ("rho", "scale"):
            value = getattr(self, name)
            if value is None or (isinstance(value, str) and value == "auto" and name == "rho"):
                continue
            try:
                numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
            except (TypeError, ValueError):
                numbers = np.array([np.nan])
            if not (np.isfinite(numbers).all() and (numbers > 0).all()):
                raise ParameterError(f"{owner}: {name} must be positive numbers, got {value!r}.")
        if self.estimator == "huber" and self.scale is None:
            raise ParameterError(f"{owner}: estimator='huber' needs scale=, public constants.")
        if self.ci == "rank" and self.estimator not in ("median", "quantile"):
            raise ParameterError(f"{owner}: ci='rank' is for 'median' and 'quantile'.")
        if self.ci == "rank" and self.estimator == "quantile" and self.quantile in (0, 1):
            raise ParameterError(
                f"{owner}: ci='rank' needs a quantile in (0, 1), got {self.quantile!r}."
            )
        if self.composition == "zcdp":
            need_delta(self, "composition='zcdp'")
        elif self.delta:
            raise ParameterError(f"{owner}: delta= goes with composition='zcdp'; drop it.")

    def _public_bounds(self) -> None:
        return None

    def _share(self, columns: int) -> Fraction:
        """Epsilon of one column, for one row."""
        rows = self.max_contributions
        if self.composition == "basic":
            return Fraction(float(self.epsilon)) / (columns * rows)
        rho = zcdp_for(float(self.epsilon), float(self.delta)) / rows**2
        # Rounded down: d columns must not cost more than rho.
        return Fraction(math.sqrt(8 * rho / columns) * (1 - 1e-12))

    def _coordinates(self, names: tuple[str, ...]) -> list[Coordinate]:
        owner, d = type(self).__name__, len(names)
        bounds = bounds_table(self.bounds, owner, "bounds", d)
        rhos = per_column(self.rho, d, owner, "rho")
        scales = per_column(self.scale, d, owner, "scale")
        return [
            Coordinate(
                owner,
                name,
                self.estimator,
                epsilon=self._share(d),
                bounds=pair,
                rho=rho,
                scale=None if scale is None else float(scale),
                quantile=self.quantile,
                trim=self.trim,
                huber_c=self.huber_c,
                ci=self.ci,
                ci_share=self.ci_share,
                level=self.level,
            )
            for name, pair, rho, scale in zip(names, bounds, rhos, scales, strict=True)
        ]

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the locations. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n, d) or frame
            One row a person.
        y : None
            Ignored.
        sample_weight : None
            Not supported.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, PrivacyBudgetError
            Before the data are looked at; nothing is charged.
        DataError, TypeError
            For data that are no numbers; nothing is charged.

        Warns
        -----
        UserWarning
            When there are too few records for the noise, before anything is charged.
        """
        mechanism = "exponential mechanism for each column, step score, uniform base, integer grid"
        if self.composition == "zcdp":
            release, _ = prepare_concentrated(
                self, mechanism=mechanism, sample_weight=sample_weight
            )
        else:
            release = self._prepare(
                mechanism=mechanism, kind="exponential", sample_weight=sample_weight
            )
        table, coordinates = self._read(X)
        n, d = table.shape
        warn_of_size(coordinates, n)
        with release as source:
            drawn = [c.draw(source, table[:, j]) for j, c in enumerate(coordinates)]
        self.estimate_ = np.array([one.estimate for one in drawn])
        intervals = [one.interval for one in drawn if one.interval is not None]
        self.conf_int_ = np.array(intervals) if intervals else None
        flags = {c.label: one.flag for c, one in zip(coordinates, drawn, strict=True) if one.flag}
        self.conf_int_flag_ = "; ".join(f"{label}: {flag}" for label, flag in flags.items())
        if self.conf_int_flag_:
            warn(f"{type(self).__name__}: {self.conf_int_flag_}.")
        self.feature_names_in_, self.n_features_in_ = tuple(c.label for c in coordinates), d
        self.n_, self.score_kind_ = n, "exact"
        self.epsilon_column_ = float(coordinates[0].epsilon)
        return self

    def _read(self, X: Any) -> tuple[Array, list[Coordinate]]:
        owner = type(self).__name__
        # The grid puts what is no number in the middle of the bounds of its column.
        table = read_matrix(X, owner, nan_policy=self.nan_policy, middle=np.nan)
        return table, self._coordinates(column_names(X, table.shape[1]))

    def _layers(self, x: Any) -> list[LayerTable]:
        self._check_parameters()
        table, coordinates = self._read(x)
        return [t for j, c in enumerate(coordinates) for t in c.layers(table[:, j])]

    def _terms(self) -> tuple[str, ...]:
        return self.feature_names_in_

    def _summary_lines(self) -> list[str]:
        return [
            f"Observations: {self.n_:,}    Statistic: {self.estimator}",
            f"Epsilon a column: {self.epsilon_column_:.6g} ({self.composition} composition)",
        ]

    def _notes(self) -> list[str]:
        notes = ["columns are treated one by one: the result is not affine equivariant"]
        return notes + ([self.conf_int_flag_] if self.conf_int_flag_ else [])

    def _assumptions(self) -> list[str]:
        words = ["bounds, precision and options were chosen without looking at the data"]
        if self.ci:
            words.append(f"intervals ({self.level:.0%}, each by itself): independent records")
        return words
