"""One ordinal fit from rows and options to an InferenceResult."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robuststat._core.data import RoleData
from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.types import Array
from robuststat.ordinal import _words as words
from robuststat.ordinal._elastic_net import Penalty, fit_penalised
from robuststat.ordinal._families import make_family
from robuststat.ordinal._likelihood_fit import (
    Fit,
    Rows,
    Variance,
    column_moments,
    fit_rows,
    null_loglik,
    slabs_of,
    variance,
    variance_kind,
)
from robuststat.ordinal._predict import crossing_rows
from robuststat.ordinal._response import Response
from robuststat.ordinal._sampling_rates import (
    centred_scores,
    class_factors,
    population_shares,
    refuse_prior,
    shifted_scores,
    threshold_shift,
)
from robuststat.ordinal._slabs import log_likelihood, score_rows
from robuststat.ordinal._structure import Structure, make_structure
from robuststat.result import InferenceResult


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Constructor parameters of an ordinal fit, in terms of the design; see OrdinalClassifier."""

    family: str = "cumulative"
    link: str = "logit"
    reverse: bool = False
    parallel: bool | Sequence[str] = True
    threshold: str = "flexible"
    scale: Sequence[str] | None = None
    penalty: str | None = None
    lam: float = 0.0
    l1_ratio: float = 1.0
    form: str = "parallel"
    rho: float = 1.0
    tau: Any = None
    correction: str = "weighting"
    vcov: str | None = None
    tol: float = 1e-8
    max_iter: int = 100

    @property
    def penalised(self) -> bool:
        """Whether a penalty acts."""
        return self.penalty is not None and self.lam > 0

    @property
    def spread(self) -> str:
        """Which coefficients are common: "all", "some" or "none"."""
        if isinstance(self.parallel, bool | np.bool_):
            return "all" if self.parallel else "none"
        return "some"


@dataclass(frozen=True, slots=True)
class ModelFit:
    """Estimates of an ordinal model.

    Attributes
    ----------
    options : ModelOptions
        What was fitted.
    classes : ndarray of shape (K,)
        Labels.
    structure : Structure
        Parameters.
    phi : ndarray of shape (k,)
        Estimates in the parameters of the layout; penalised if there is a penalty.
    centre : ndarray of shape (k,)
        Where intervals are centred: ``phi``, or its debiased version.
    variance : Variance
        Of ``centre``.
    loglik, null_loglik, kkt : float
        Log-likelihood at ``phi`` and without covariates; violation of the optimality conditions.
    n_obs, n_crossing : int
        Units; rows whose boundaries cross.
    sizes : ndarray of shape (K,)
        Units of each class.
    converged, n_iter : bool, int
        How the iteration ended.
    """

    options: ModelOptions
    classes: Any
    structure: Structure
    phi: Array
    centre: Array
    variance: Variance
    loglik: float
    null_loglik: float
    kkt: float
    n_obs: int
    n_crossing: int
    sizes: Array
    converged: bool
    n_iter: int

    @property
    def n_params(self) -> int:
        """Free parameters; with a penalty those that are not zero."""
        if not self.options.penalised:
            return self.structure.layout.n_params
        t = int(self.structure.layout.J.shape[1])
        return t + int(np.count_nonzero(self.phi[t:]))

    @property
    def aic(self) -> float:
        """Akaike information criterion."""
        return 2.0 * self.n_params - 2.0 * self.loglik

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of units."""
        return float(np.log(self.n_obs)) * self.n_params - 2.0 * self.loglik

    def refuse_ratio_tests(self) -> None:
        """Refuse likelihood-ratio tests where they are not chi-squared.

        Raises
        ------
        ParameterError
            With a penalty, population shares, or a robust variance.
        """
        options = self.options
        reason = ""
        if options.penalised:
            reason = "a penalised fit does not maximise the likelihood"
        elif options.tau is not None:
            reason = "with tau= the criterion is not the likelihood of the sample"
        elif self.variance.kind not in ("hessian", "opg"):
            reason = (
                f"vcov={self.variance.kind!r} does not take rows for independent draws of the model"
            )
        if reason:
            raise ParameterError(f"Likelihood ratios are not chi-squared here: {reason}.")

    def refuse_other_rows(self, rows: Rows) -> None:
        """Refuse rows that are not those of the fit.

        Raises
        ------
        DataError
            When the number of rows or the log-likelihood differs.
        """
        slabs = slabs_of(rows, self.structure)
        here = log_likelihood(self.structure.layout, slabs, self.phi)
        if rows.n_obs != self.n_obs or not np.isclose(here, self.loglik, rtol=1e-8):
            raise DataError(
                f"X and y are not the rows of fit: {rows.n_obs} rows with log-likelihood "
                f"{here:.6g} instead of {self.n_obs} with {self.loglik:.6g}. Pass the same data."
            )

    def result(
        self,
        *,
        call: str,
        outcome: str,
        cluster_name: str = "",
        n_dropped: int = 0,
        n_dropped_by: dict[str, int] | None = None,
    ) -> InferenceResult:
        """Put estimates and words together."""
        options, structure, V = self.options, self.structure, self.variance
        q = structure.layout.q
        plain = V.kind in ("hessian", "opg") and not options.penalised
        lines = [
            words.equation(
                options.family, options.link, options.reverse, structure.layout.scale.size > 0
            ),
            *words.fit_lines(
                self.loglik, self.null_loglik, self.n_params, q, self.n_obs, ratio_test=plain
            ),
        ]
        if options.penalised:
            lines.append(
                f"Elastic net, form {options.form!r}, lam {options.lam:.4g}, l1_ratio "
                f"{options.l1_ratio:g}; KKT violation {self.kkt:.1e}; the table is one Newton step "
                "away from it (debiased), coef_ is penalised"
            )
        if options.tau is not None:
            how = "weights" if options.correction == "weighting" else "shifted thresholds"
            lines.append(f"Population shares of the classes put back by {how}")
        return InferenceResult(
            estimate=structure.to_raw @ self.centre,
            vcov=V.raw,
            names=structure.names,
            component=structure.component,
            n_obs=self.n_obs,
            n_clusters=V.n_clusters,
            df=V.df,
            vcov_type=V.kind,
            estimand=words.log_odds_words(options.family, options.link),
            method=words.method_name(options.family, options.link, self._spread()),
            outcome=outcome,
            diagnostics={
                "counts": words.class_counts(self.classes, np.round(self.sizes).astype(int)),
                "n_dropped": n_dropped,
                "n_dropped_by": n_dropped_by or {},
                "cluster_name": cluster_name,
                "se_note": words.SE_NOTES.get(V.kind, ""),
                "lines": lines,
                "notes": words.notes(structure, self.n_crossing, self.n_obs),
                "assumptions": words.assumptions(
                    options.family,
                    self._spread(),
                    V.kind,
                    sampled=None if options.tau is None else options.correction,
                    penalised=options.penalised,
                ),
                "converged": self.converged,
                "n_iter": self.n_iter,
                "glance": {
                    "n_params": self.n_params,
                    "loglik": self.loglik,
                    "null_loglik": self.null_loglik,
                    "aic": self.aic,
                    "bic": self.bic,
                    "pseudo_r2": 1.0 - self.loglik / self.null_loglik if self.null_loglik else 0.0,
                },
            },
            call=call,
        )

    def _spread(self) -> str:
        if self.options.penalty is not None:
            return "all" if self.options.form == "parallel" else "none"
        return self.options.spread


def make_rows(data: RoleData, response: Response) -> Rows:
    """Entries with weight, one a row, or one a row and class of counts."""
    rows = response.rows
    whole = len(rows) == len(data.X) and not response.grouped
    X = data.X if whole else np.ascontiguousarray(data.X[rows])
    weights = None if data.weights is None else data.weights[rows]
    counts = None
    if response.grouped:
        counts = response.weights if weights is None else response.weights / weights
    offset = data.roles.get("offset")
    groups = None if data.clusters is None else data.clusters.codes[rows]
    return Rows(
        X,
        response.codes,
        weights,
        counts,
        None if offset is None else offset[rows],
        groups,
    )


def refuse_combination(options: ModelOptions) -> None:
    """Refuse options that contradict a penalty.

    Raises
    ------
    ParameterError
        Naming the option.
    """
    if options.penalty is None:
        return
    if options.parallel is not True:
        raise ParameterError(
            "penalty='elasticnet' takes form='parallel', 'nonparallel' or 'semiparallel' instead "
            "of parallel=. Leave parallel=True."
        )
    for name, given in (
        ("threshold", options.threshold != "flexible"),
        ("scale", options.scale is not None),
        ("correction='prior'", options.tau is not None and options.correction == "prior"),
    ):
        if given:
            raise ParameterError(f"{name} cannot be combined with penalty='elasticnet'.")


def structure_of(
    options: ModelOptions, classes: Any, names: tuple[str, ...], centre: Array, spread: Array
) -> Structure:
    """Parameters of the model that the options describe."""
    parallel = options.parallel
    if options.penalty is not None:
        parallel = options.form == "parallel"
    return make_structure(
        make_family(options.family, options.link, options.reverse),
        classes.tolist(),
        names,
        centre=centre,
        spread=spread,
        parallel=parallel,
        threshold=options.threshold,
        scale=options.scale,
    )


def fit_model(rows: Rows, classes: Any, names: tuple[str, ...], options: ModelOptions) -> ModelFit:
    """Fit an ordinal model to rows in memory.

    Parameters
    ----------
    rows : Rows
        Entries.
    classes : ndarray of shape (K,)
        Labels.
    names : tuple of str
        Columns of the design.
    options : ModelOptions
        What to fit.
    """
    refuse_combination(options)
    kind = variance_kind(
        options.vcov, clustered=rows.clusters is not None, sampled=options.tau is not None
    )
    K = len(classes)
    shares = None
    if options.tau is not None:
        shares = population_shares(options.tau, classes)
        if options.correction == "weighting":
            factor = class_factors(rows.class_totals(K), shares)[rows.codes]
            rows = replace(rows, weights=factor if rows.weights is None else rows.weights * factor)
    structure = structure_of(options, classes, names, *column_moments(rows.X, rows.total))
    if shares is not None and options.correction == "prior":
        refuse_prior(structure.layout.family, K, options.threshold)
    if options.penalised:
        penalty = Penalty(options.lam, options.l1_ratio, options.form, options.rho)
        found = fit_penalised(rows, structure, penalty, tol=options.tol, max_iter=options.max_iter)
        fit, centre, kkt = found.fit, found.debiased, found.kkt
    else:
        fit = fit_rows(rows, structure, names, tol=options.tol, max_iter=options.max_iter)
        centre = fit.maximum.phi
        mass = float(rows.class_totals(K).sum())
        kkt = float(np.abs(fit.maximum.gradient).max(initial=0.0)) / mass
    V = variance(fit, rows, kind, psi=_scores_for(shares, options, fit, rows, K))
    phi = fit.maximum.phi
    if shares is not None and options.correction == "prior":
        phi = phi.copy()
        phi[: K - 1] += threshold_shift(rows.class_totals(K), shares)
        centre = phi
    n_crossing = count_crossings(structure, phi, rows)
    return ModelFit(
        options,
        classes,
        structure,
        phi,
        centre,
        V,
        fit.maximum.loglik,
        null_loglik(rows, structure, options.tol, options.max_iter),
        kkt,
        rows.n_obs,
        n_crossing,
        np.bincount(rows.codes, weights=rows.counts, minlength=K).astype(float),
        fit.maximum.convergence.converged,
        fit.maximum.convergence.n_iter,
    )


def _scores_for(
    shares: Array | None, options: ModelOptions, fit: Fit, rows: Rows, n_classes: int
) -> Array | None:
    """Scores of units that know the population shares; None without them."""
    if shares is None:
        return None
    assert fit.slabs is not None
    psi = score_rows(fit.structure.layout, fit.slabs, fit.maximum.phi)
    if rows.counts is not None:
        psi = psi / rows.counts[:, None]
    if options.correction == "weighting":
        return centred_scores(psi, rows.codes, rows.counts)
    n = rows.n_obs
    info = fit.maximum.information / n
    totals = rows.class_totals(n_classes)
    return shifted_scores(psi, info, rows.codes, rows.weights, totals, n)


def count_crossings(structure: Structure, phi: Array, rows: Rows) -> int:
    """Rows in which boundaries of a cumulative model cross; warns when there are some."""
    layout = structure.layout
    if layout.family.shape != "cumulative" or not layout.varying.size:
        return 0
    theta, coef, _ = structure.raw(phi)
    eta = theta - rows.X @ coef.T
    crossed = crossing_rows(eta)
    n = int(crossed.sum())
    if n:
        warn(
            f"Boundaries cross in {n} of {len(eta)} rows: some classes have negative fitted "
            "probabilities there, and likelihood-ratio tests of this fit are doubtful. Use "
            "parallel=[...] for some columns, PrestoClassifier, or another family."
        )
    return n
