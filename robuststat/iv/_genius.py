"""GENIUS: an effect from instruments that may all be invalid, if they change the spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from robuststat._core.errors import (
    ConvergenceWarning,
    IdentificationError,
    ParameterError,
    warn,
)
from robuststat._core.linalg import solve_psd
from robuststat._core.params import Check, in_range, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat.iv._classical_base import EFFECT, IVEstimator
from robuststat.iv._classical_intake import IVData, dropped_rows, independence, variance_kind
from robuststat.iv._confset import AndersonRubin, ScoreSets
from robuststat.iv._doc import shared_parameters
from robuststat.iv._genius_moments import (
    GeniusParts,
    additive_parts,
    breusch_pagan,
    multiplicative_parts,
)
from robuststat.iv._gmm import (
    EffectFit,
    LinearMoments,
    exponential_moments,
    linear_gmm,
    linear_moments,
    roots_in,
    smallest_in,
)
from robuststat.report import format_p
from robuststat.result import InferenceResult

LOG_EFFECT = "log ratio"
# Points of the bracket between which roots and minima are looked for.
_GRID = 401


@shared_parameters
class GENIUS(ScoreSets, IVEstimator):
    """Effect of a treatment from instruments that may all act on the outcome directly.

    The estimand is a constant effect. No instrument needs to satisfy exclusion; instead the spread
    of the treatment must differ with the instruments (heteroscedasticity), and instruments must not
    interact with the unmeasured causes. One instrument is enough.

    Parameters
    ----------
    model : {"additive", "mult_outcome", "mult_exposure"}, default="additive"
        "additive": additive models of treatment and outcome. "mult_outcome": the effect is a
        factor exp(beta a) on the outcome, for counts and rates. "mult_exposure": the treatment
        (non-negative) is exp(G'q) times its other causes.
    gmm : {"iterated", "two-step", "cue"}, default="iterated"
        With several instruments, when the weights of the equations are updated; "cue" updates
        them at every trial value. "cue" is for the models that are linear in the effect.
    weight : {"corrected", "uncorrected"}, default="corrected"
        "corrected" weights by the covariance that accounts for the estimated means of instruments
        and treatment; then the over-identification test is valid. "uncorrected" leaves that out
        of the weights, as the R package does. Standard errors are corrected either way.
    exposure_link : {"auto", "logit", "identity"}, default="auto"
        Model of the treatment's mean; "auto" is logit for a 0/1 treatment. Not used by
        "mult_exposure".
    bracket : tuple of float, default=(-10.0, 10.0)
        Where the effect of "mult_outcome" is looked for.
    vcov : {"HC0", "CR0"}, optional
        Variance. None is HC0, or CR0 when ``clusters`` are given.
    keep_influence : bool, default=False
        Keep one influence value a row on the result.
    tol, max_iter : float, int
        Stop when the effect changes by less than ``tol * (1 + |effect|)``.
    {shared}

    Attributes
    ----------
    {attributes}
    conf_set_type_ : {"interval", "complement", "line", "empty", "union"}
        Shape of the 95 % set of :meth:`score_confint`; not with "mult_outcome".
    j_statistic_, j_pvalue_ : float
        Over-identification test with J - 1 degrees of freedom; NaN with one instrument.
    strength_ : Bunch
        ``statistic, df, p_value`` of the studentised Breusch-Pagan test that the spread of the
        treatment does not depend on the instruments (squared residuals of least squares).

    See Also
    --------
    TwoStageLeastSquares : Exclusion imposed.
    TSHT, CIIV : Some instruments valid, not known which.

    Notes
    -----
    The moments are E{(G - E(G|X)) (A - E(A|G, X)) (Y - beta A)} = 0 (Tchetgen Tchetgen, Sun and
    Walter 2021). They hold when U acts additively on treatment and outcome: then the covariance of
    treatment and Y - beta A given G is that of the two functions of U, whatever G does to the
    means. E(G|X) is linear. The correction of the moments for estimated nuisances, and the
    weighting by it, are derived here; the R package uses the covariance of the moments where its
    inverse belongs, which makes its variance for several instruments wrong. The set of
    :meth:`score_confint` holds the effects at which the corrected moments are not rejected
    (chi-squared with J degrees of freedom): it stays right when the heteroscedasticity is weak, and
    is then not an interval. It is derived here.

    References
    ----------
    Tchetgen Tchetgen, E., Sun, B. and Walter, S. (2021). The GENIUS Approach to Robust Mendelian
    Randomization Inference. Statistical Science 36(3), 443-464.

    Examples
    --------
    >>> from robuststat import GENIUS
    >>> from robuststat.simulation import make_genius
    >>> data = make_genius(n=4000, random_state=0)
    >>> est = GENIUS().fit(None, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> low, high = est.conf_int_
    >>> bool(low < 1 < high)
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "model": one_of("additive", "mult_outcome", "mult_exposure"),
        "gmm": one_of("iterated", "two-step", "cue"),
        "weight": one_of("corrected", "uncorrected"),
        "exposure_link": one_of("auto", "logit", "identity"),
        "vcov": optional(one_of("HC0", "CR0")),
        "keep_influence": is_bool,
        "tol": in_range(0, 1, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
    }

    def __init__(
        self,
        model: str = "additive",
        *,
        gmm: str = "iterated",
        weight: str = "corrected",
        exposure_link: str = "auto",
        bracket: tuple[float, float] = (-10.0, 10.0),
        vcov: str | None = None,
        keep_influence: bool = False,
        formula: str | None = None,
        missing: str | None = None,
        tol: float = 1e-10,
        max_iter: int = 100,
    ) -> None:
        self.model = model
        self.gmm = gmm
        self.weight = weight
        self.exposure_link = exposure_link
        self.bracket = bracket
        self.vcov = vcov
        self.keep_influence = keep_influence
        self.formula = formula
        self.missing = missing
        self.tol = tol
        self.max_iter = max_iter

    def _fit(self, data: IVData) -> Self:
        self._refuse_contradictions(data)
        self._forget_set()
        kind = variance_kind(self.vcov, data)
        parts = self._parts(data)
        if self.model == "mult_outcome":
            fit, moments = exponential_gmm(
                data,
                parts,
                self.weight,
                self.gmm,
                self.bracket,
                tol=self.tol,
                max_iter=self.max_iter,
            )
        else:
            u, v = parts.corrected(data.y), parts.corrected(data.a)
            full = linear_moments(u, v, data.clusters)
            raw = full
            if self.weight == "uncorrected":
                r, s = parts.product * data.y[:, None], parts.product * data.a[:, None]
                raw = linear_moments(r, s, data.clusters)
            fit = linear_gmm(raw, full, self.gmm, tol=self.tol, max_iter=self.max_iter)
            moments = u - fit.effect * v
            self._test = score_test(full)
            self.conf_set_type_ = self._test.invert(0.95).kind
        statistic, df = breusch_pagan(data)
        p = float(stats.chi2.sf(statistic, df))
        self.strength_ = Bunch(statistic=statistic, df=df, p_value=p)
        self.j_statistic_, self.j_pvalue_ = fit.j_statistic, fit.j_pvalue
        notes = self._warn(data, parts, fit)
        log = self.model == "mult_outcome"
        result = InferenceResult(
            estimate=np.array([fit.effect]),
            vcov=np.array([[fit.variance]]),
            names=(LOG_EFFECT if log else EFFECT,),
            n_obs=data.n_obs,
            n_clusters=data.n_clusters,
            vcov_type=kind,
            estimand=f"effect of one unit of {data.treatment} on {data.rows.outcome}"
            f"{' (logarithm of the ratio of means)' if log else ''}, the same for all rows",
            method=f"GENIUS ({self.model}), {_instruments(data.Z.shape[1])} possibly invalid",
            outcome=data.rows.outcome,
            diagnostics=self._words(data, parts, fit, notes),
            influence=(moments @ fit.combination)[:, None] if self.keep_influence else None,
            call=self._call(),
        )
        self._store(result, data.rows)
        self._remember_effect()
        return self

    def _forget_set(self) -> None:
        """Drop the set of an earlier fit, which must not answer for this one."""
        for name in ("_test", "conf_set_type_"):
            self.__dict__.pop(name, None)

    def _refuse_contradictions(self, data: IVData) -> None:
        ends = self.bracket
        pair = isinstance(ends, (tuple, list)) and len(ends) == 2
        if not pair or not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise ParameterError(
                f"bracket must be two finite numbers in increasing order, got {ends!r}."
            )
        if self.model == "mult_outcome" and self.gmm == "cue":
            raise ParameterError(
                "gmm='cue' is for models that are linear in the effect. Use gmm='iterated' with "
                "model='mult_outcome'."
            )
        if self.model == "mult_exposure" and data.X.shape[1] > 1:
            raise ParameterError(
                f"model='mult_exposure' takes no covariates, but there are {data.X.shape[1] - 1}. "
                "Use X=None, or model='additive'."
            )
        if self.model == "mult_exposure" and self.exposure_link != "auto":
            raise ParameterError(
                f"exposure_link={self.exposure_link!r} has no effect with model='mult_exposure'. "
                "Leave it out."
            )

    def _parts(self, data: IVData) -> GeniusParts:
        if self.model == "mult_exposure":
            return multiplicative_parts(data, self.tol, self.max_iter)
        binary = bool(np.isin(data.a, (0.0, 1.0)).all())
        if self.exposure_link == "logit" and not binary:
            raise ParameterError(
                f"exposure_link='logit' needs a 0/1 treatment, but {data.treatment!r} has other "
                "values. Use 'identity' or 'auto'."
            )
        link = self.exposure_link
        if link == "auto":
            link = "logit" if binary else "identity"
        return additive_parts(data, link)

    def _warn(self, data: IVData, parts: GeniusParts, fit: EffectFit) -> list[str]:
        notes = list(parts.notes)
        if data.clusters is not None:
            notes.append("the Breusch-Pagan test takes rows for independent, whatever the clusters")
        if not fit.converged:
            note = f"the effect had not settled after {fit.n_iter} updates of the weights"
            warn(f"{note}. Raise max_iter, or use gmm='two-step'.", ConvergenceWarning)
            notes.append(note)
        if self.strength_.p_value > 0.05:
            warn(
                "The spread of the treatment does not visibly depend on the instruments "
                f"(Breusch-Pagan p-value {format_p(self.strength_.p_value)}): the effect is not "
                "identified by these data, and standard errors are unreliable."
            )
            notes.append(
                "NOT IDENTIFIED in these data: no heteroscedasticity of the treatment was found; "
                "do not report the effect"
            )
        if np.isfinite(fit.j_pvalue) and fit.j_pvalue < 0.05:
            notes.append(
                "the instruments contradict each other: an assumption fails for some of them"
            )
        return notes

    def _words(
        self, data: IVData, parts: GeniusParts, fit: EffectFit, notes: list[str]
    ) -> dict[str, Any]:
        bp = self.strength_
        lines = [f"Model of the treatment: {parts.exposure}"]
        if self.model != "mult_outcome":
            found = self._test.invert(0.95).words()
            lines.append(f"Score set of the effect, right when the spread is weak: {found}")
        glance: dict[str, Any] = {}
        if np.isfinite(fit.j_statistic):
            J = data.Z.shape[1]
            lines.append(
                f"Over-identification ({self.gmm} GMM): chi2({J - 1}) = {fit.j_statistic:.2f}, "
                f"p-value {format_p(fit.j_pvalue)}"
            )
            glance = {"j_statistic": fit.j_statistic, "j_p_value": fit.j_pvalue}
            if self.weight == "uncorrected":
                notes.append(
                    "with weight='uncorrected' the over-identification statistic is not "
                    "chi-squared: read it as description"
                )
        scale = "multiply" if self.model == "mult_outcome" else "add to"
        return {
            **dropped_rows(data),
            "converged": fit.converged,
            "n_iter": fit.n_iter,
            "leading": [
                f"Spread of the treatment by instruments (Breusch-Pagan): chi2({bp.df}) = "
                f"{bp.statistic:.2f}, p-value {format_p(bp.p_value)}"
            ],
            "lines": lines,
            "notes": notes,
            "assumptions": [
                "instruments are independent of the unmeasured causes, given the covariates",
                "instruments do not interact with the unmeasured causes, in the treatment or in "
                "the outcome",
                "the spread of the treatment depends on the instruments",
                f"one effect for all rows; the other causes {scale} the outcome",
                independence(data),
                "NOT assumed: exclusion. Every instrument may act on the outcome directly",
            ],
            "glance": glance,
        }


def score_test(moments: LinearMoments) -> AndersonRubin:
    """Test of every effect by the length of the moments at it."""
    J = moments.u.size
    size = np.array([np.trace(moments.covariance[:J, :J]), np.trace(moments.covariance[J:, J:])])
    return AndersonRubin(
        moments.u, moments.v, np.diag(size), moments.covariance / moments.n_obs, np.inf
    )


def exponential_gmm(
    data: IVData,
    parts: GeniusParts,
    weight: str,
    method: str,
    bracket: tuple[float, float],
    *,
    tol: float,
    max_iter: int,
) -> tuple[EffectFit, Array]:
    """Effect on the log scale, and the corrected moments (n, J) at it.

    Raises
    ------
    IdentificationError
        When one equation has no root in the bracket.
    """
    table = exponential_moments(parts.product, data.y, data.a)
    # exp(700) is the largest finite power.
    edge = 700.0 / max(float(np.abs(table.a).max()), 1e-300)
    grid = np.linspace(max(bracket[0], -edge), min(bracket[1], edge), _GRID)

    def at(beta: float) -> tuple[LinearMoments, LinearMoments, Array]:
        r = data.y * np.exp(-beta * data.a)
        full = parts.corrected(r)
        zero = np.zeros_like(full)
        raw = full if weight == "corrected" else parts.product * r[:, None]
        pair = (linear_moments(part, zero, data.clusters) for part in (raw, full))
        return (*pair, full)  # type: ignore[return-value]

    J, n_iter, converged = data.Z.shape[1], 1, True
    if J == 1:
        beta = _only_root(lambda t: float(table.g(t)[0]), grid)
    else:
        scale = np.abs(table.totals).sum(axis=0)
        W = np.diag(1.0 / scale**2)
        beta = smallest_in(lambda t: float(table.g(t) @ W @ table.g(t)), grid)
        steps = 1 if method == "two-step" else max_iter
        converged = method == "two-step"
        for step in range(steps):
            n_iter = step + 1
            W = solve_psd(at(beta)[0].moment_covariance(0.0), np.eye(J))
            old = beta
            beta = smallest_in(lambda t, W=W: float(table.g(t) @ W @ table.g(t)), grid)  # type: ignore[misc]
            # The minimiser is located to the square root of the rounding unit.
            if abs(beta - old) <= max(tol, 1e-7) * (1.0 + abs(beta)):
                converged = True
                break
        if min(beta - grid[0], grid[-1] - beta) < 1e-6 * (grid[-1] - grid[0]):
            raise IdentificationError(
                f"The criterion is smallest at the edge of bracket=({grid[0]:g}, {grid[-1]:g}): "
                "the data do not determine the effect there. Widen the bracket, or rescale the "
                "treatment."
            )
    raw, full, moments = at(beta)
    # Linear in a small change of the effect: u plays the moments, v their slope.
    slope = table.slope(beta)
    fit = linear_gmm(
        _local(raw, slope), _local(full, slope), "two-step", tol=tol, max_iter=max_iter
    )
    final = EffectFit(
        beta, fit.variance, fit.combination, fit.j_statistic, fit.j_pvalue, n_iter, converged
    )
    return final, moments


def _local(moments: LinearMoments, slope: Array) -> LinearMoments:
    """Moments g - t slope around the estimate t = 0, with the covariance at the estimate."""
    return LinearMoments(moments.u, slope, moments.covariance, moments.n_obs)


def _only_root(function: Any, grid: Array) -> float:
    roots = roots_in(function, grid)
    if not roots:
        raise IdentificationError(
            f"The equation has no root in bracket=({grid[0]:g}, {grid[-1]:g}). Widen the bracket, "
            "rescale the treatment, or use another model."
        )
    best = min(roots, key=abs)
    if len(roots) > 1:
        others = ", ".join(f"{root:.3g}" for root in roots)
        warn(
            f"The equation has {len(roots)} roots in the bracket ({others}); the one nearest to "
            "zero is taken. Narrow the bracket to choose another."
        )
    return best


def _instruments(number: int) -> str:
    return "one candidate instrument," if number == 1 else f"{number} candidate instruments, all"
