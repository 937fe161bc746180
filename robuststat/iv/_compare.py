"""One effect by every estimator that can be had: least squares, valid, invalid, some valid."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from robuststat import plot as _plot
from robuststat._core.errors import ParameterError, RobuststatError
from robuststat.base import InferenceEstimator
from robuststat.iv._ciiv import CIIV
from robuststat.iv._classical_base import EFFECT
from robuststat.iv._classical_intake import IVData, read_iv, variance_kind
from robuststat.iv._genius import GENIUS
from robuststat.iv._linear import k_class, k_class_vcov, partial_out
from robuststat.iv._sisvive import SisVIVE
from robuststat.iv._tsht import TSHT
from robuststat.iv._tsls import TwoStageLeastSquares
from robuststat.iv._valid import ValidIVATE
from robuststat.report import Column, Summary, footer_lines, format_p
from robuststat.result import InferenceResult

OLS = "least squares"


@dataclass(frozen=True, slots=True)
class IVComparison:
    """What each estimator says about the same effect.

    Attributes
    ----------
    estimators : dict of str to estimator
        Fitted estimators; they keep no rows.
    results : dict of str to InferenceResult
        The effect of each as a result with the one term "ATE".
    notes : tuple of str
        What was left out and why, and what the estimators warned about.

    Examples
    --------
    >>> from robuststat import compare_iv
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, random_state=0)
    >>> roles = {"treatment": data.treatment, "instruments": data.instruments}
    >>> found = compare_iv(data.X, data.y, **roles)
    >>> list(found.results)
    ['least squares', '2SLS', 'LIML', 'GENIUS', 'TSHT', 'CIIV', 'SisVIVE']
    """

    estimators: dict[str, InferenceEstimator]
    results: dict[str, InferenceResult]
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """Tidy columns plus ``estimator``, at level .95."""
        return self.tidy()

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """One row for each estimator.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            ``estimator`` and the columns of :meth:`InferenceResult.tidy`. Where an estimator has an
            interval of its own (a union over direct effects), that is shown.
        """
        rows = []
        for name, result in self.results.items():
            row = result.tidy(level=level).drop(columns="df", errors="ignore")
            if name in self.estimators:
                row[["conf_low", "conf_high"]] = _limits(self.estimators[name], level)
            row.insert(0, "estimator", name)
            rows.append(row)
        return pd.concat(rows, ignore_index=True)

    def plot(self, truth: float | None = None, *, level: float = 0.95, ax: Any = None) -> Any:
        """Draw the intervals of the estimators below each other.

        Parameters
        ----------
        truth : float, optional
            Known effect, marked in the plot.
        level : float, default=0.95
            Confidence level.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        frame = self.tidy(level=level)
        frame["term"] = frame["estimator"]
        marks = None if truth is None else dict.fromkeys(frame["term"], float(truth))
        label = f"Effect and {100 * level:g} % interval"
        return _plot.coefplot(frame.drop(columns="estimator"), truth=marks, xlabel=label, ax=ax)

    def summary(self, level: float = 0.95) -> Summary:
        """Return the table in the manner of R, with notes.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        Summary
        """
        frame = self.tidy(level=level)
        tail = 50.0 * (1.0 - level)
        cells = {
            "Estimate": [f"{v:.4g}" for v in frame["estimate"]],
            "Std. Error": [f"{v:.4g}" for v in frame["std_error"]],
            "Pr(>|z|)": [format_p(v) for v in frame["p_value"]],
            f"{tail:g} %": [f"{v:.4g}" for v in frame["conf_low"]],
            f"{100 - tail:g} %": [f"{v:.4g}" for v in frame["conf_high"]],
            "Assumes": [_assumes(self.estimators.get(name)) for name in frame["estimator"]],
        }
        return Summary(
            header=("The same effect by different assumptions",),
            leading=(),
            footer=tuple(footer_lines(lines=(), notes=self.notes, assumptions=())),
            names=tuple(frame["estimator"]),
            columns=tuple(Column(head, values, "  ") for head, values in cells.items()),
            blocks=("",) * len(frame),
            stars=False,
            tables={"estimates": frame},
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return str(self)


def _assumes(est: InferenceEstimator | None) -> str:
    """Say in two words what an estimator needs of the instruments."""
    if est is None:
        return "no confounding"
    if isinstance(est, TwoStageLeastSquares | ValidIVATE):
        return "all valid"
    if isinstance(est, TSHT | CIIV | SisVIVE):
        return "some valid"
    words = {"InvalidIVATE": "none valid", "GENIUS": "none valid"}
    return words.get(type(est).__name__, "see its summary")


def compare_iv(
    X: Any,
    y: Any = None,
    *,
    treatment: Any = None,
    instruments: Any = None,
    sample_weight: Any = None,
    clusters: Any = None,
    estimators: Any = None,
    formula: str | None = None,
    random_state: Any = 0,
) -> IVComparison:
    """Estimate one effect under several assumptions about the instruments, in one table.

    Parameters
    ----------
    X, y : array, frame or None
        As for ``fit`` of the estimators.
    treatment, instruments, sample_weight, clusters
        Roles, as for ``fit``.
    estimators : mapping of str to estimator, or sequence, optional
        Estimators with ``fit(X, y, treatment=, instruments=)``, or their classes; a sequence is
        named by class. None: two-stage least squares; with several instruments LIML; with one
        binary instrument :class:`ValidIVATE`; GENIUS; with three or more instruments TSHT, CIIV
        and SisVIVE. Least squares is always the first row.
    formula : str, optional
        Model formula of the covariates, for every estimator that has none.
    random_state : int, Generator or None, default=0
        Seeds the folds of SisVIVE in the default list.

    Returns
    -------
    IVComparison

    Raises
    ------
    ParameterError
        When ``estimators`` is empty or holds something else.
    DataError, RoleError
        When the data cannot be used by any estimator.

    Notes
    -----
    An estimator that refuses the data, or finds no answer, is listed in the notes with its reason.
    Estimates are of the same constant effect; when effects differ, they are different averages.

    Examples
    --------
    >>> from robuststat import GENIUS, TwoStageLeastSquares, compare_iv
    >>> from robuststat.simulation import make_genius
    >>> data = make_genius(n=4000, random_state=0)
    >>> roles = {"treatment": data.treatment, "instruments": data.instruments}
    >>> found = compare_iv(None, data.y, estimators=[TwoStageLeastSquares, GENIUS()], **roles)
    >>> table = found.table.set_index("estimator")["estimate"]
    >>> bool(table["TwoStageLeastSquares"] > 1.5 > table["GENIUS"])
    True
    """
    roles = {
        "treatment": treatment,
        "instruments": instruments,
        "sample_weight": sample_weight,
        "clusters": clusters,
    }
    # Clone-free intake: it records the features on a throw-away estimator.
    data = read_iv(TwoStageLeastSquares(), X, y, **roles, formula=formula, missing=None)
    chosen = _default(data, random_state) if estimators is None else _named(estimators)
    results = {OLS: _least_squares(data)}
    fitted: dict[str, InferenceEstimator] = {}
    notes: list[str] = []
    for name, template in chosen.items():
        est = template() if isinstance(template, type) else clone(template)
        if formula is not None and est.get_params(deep=False).get("formula") is None:
            est.set_params(formula=formula)
        with warnings.catch_warnings(record=True, action="always") as caught:
            try:
                est.fit(X, y, **{k: v for k, v in roles.items() if v is not None})
                results[name] = _effect(est)
                fitted[name] = est
            except RobuststatError as error:
                notes.append(f"{name}: {error}")
                continue
        said = dict.fromkeys(str(warning.message) for warning in caught)
        notes += [f"{name}: {message}" for message in said]
    return IVComparison(fitted, results, tuple(notes))


def _named(estimators: Any) -> dict[str, Any]:
    if isinstance(estimators, Mapping):
        chosen = dict(estimators)
    elif isinstance(estimators, Sequence) and not isinstance(estimators, str):
        chosen = {}
        for est in estimators:
            name = (est if isinstance(est, type) else type(est)).__name__
            key, k = name, 2
            while key in chosen:
                key, k = f"{name} {k}", k + 1
            chosen[key] = est
    else:
        chosen = {}
    fine = all(hasattr(e, "fit") and hasattr(e, "get_params") for e in chosen.values())
    if not chosen or not fine:
        raise ParameterError(
            f"estimators must be a mapping of names to estimators, or a list of them; got "
            f"{estimators!r}."
        )
    return {str(name): est for name, est in chosen.items()}


def _default(data: IVData, random_state: Any) -> dict[str, Any]:
    J = data.Z.shape[1]
    chosen: dict[str, Any] = {"2SLS": TwoStageLeastSquares()}
    if J > 1:
        chosen["LIML"] = TwoStageLeastSquares("liml")
    elif np.isin(data.Z, (0.0, 1.0)).all():
        chosen["ValidIVATE"] = ValidIVATE()
    chosen["GENIUS"] = GENIUS()
    if J > 2:
        chosen |= {"TSHT": TSHT(), "CIIV": CIIV(), "SisVIVE": SisVIVE(random_state=random_state)}
    return chosen


def _least_squares(data: IVData) -> InferenceResult:
    part = partial_out(data)
    kind = variance_kind(None, data, minimum=0)
    fit = k_class(part, 0.0)
    variance = k_class_vcov(part, fit, kind)
    return InferenceResult(
        estimate=fit.coef[:1],
        vcov=variance.matrix[:1, :1],
        names=(EFFECT,),
        n_obs=data.n_obs,
        df=variance.df,
        n_clusters=data.n_clusters,
        vcov_type=kind,
        method="Least squares",
        outcome=data.rows.outcome,
    )


def _position(result: InferenceResult) -> int:
    """Term that is the effect: the one named so, otherwise the first."""
    return result.names.index(EFFECT) if EFFECT in result.names else 0


def _effect(est: Any) -> InferenceResult:
    row = np.zeros(len(est.result_.names))
    row[_position(est.result_)] = 1.0
    result: InferenceResult = est.result_.contrast(row, names=[EFFECT])
    return result


def _limits(est: Any, level: float) -> tuple[float, float]:
    frame = est.confint(level=level)
    # A set of its own, such as a union of intervals, is a single row.
    row = frame.iloc[_position(est.result_) if len(frame) > 1 else 0]
    return float(row["conf_low"]), float(row["conf_high"])
