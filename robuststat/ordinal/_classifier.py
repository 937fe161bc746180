"""Regression for ordered outcomes: four families, five links, parallel or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.data import RoleData
from robuststat._core.params import Check, any_of, in_range, is_bool, one_of, optional
from robuststat._core.stream import is_source
from robuststat.ordinal._base import OrdinalEstimator, read_rows
from robuststat.ordinal._elastic_net import FORMS
from robuststat.ordinal._families import FAMILIES
from robuststat.ordinal._likelihood_fit import KINDS, Rows
from robuststat.ordinal._links import LINKS
from robuststat.ordinal._model import ModelFit, ModelOptions, fit_model, make_rows
from robuststat.ordinal._model_methods import OrdinalMethods
from robuststat.ordinal._stream import fit_source
from robuststat.ordinal._structure import THRESHOLDS


def is_names(value: Any) -> str | None:
    """Accept a list of column names."""
    fine = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
    return None if fine else "a list of column names"


class OrdinalClassifier(OrdinalMethods):
    """Ordinal regression: proportional odds and its relatives, with inference.

    Use it for an outcome with ordered classes. The estimand is the coefficient of each column on
    the scale of the link, common to all boundaries between classes or one a boundary; a positive
    one moves probability towards higher classes.

    Parameters
    ----------
    family : {"cumulative", "stopping", "continuation", "adjacent"}, default="cumulative"
        What the link of boundary k stands for: P(y <= k), P(y = k | y >= k), P(y > k | y >= k), or
        P(y = k + 1 | y in {k, k + 1}).
    link : {"logit", "probit", "cloglog", "loglog", "cauchit"}, default="logit"
        Distribution function F.
    parallel : bool or list of str, default=True
        Columns with the same coefficient at every boundary: all, none, or those named. Columns of
        the frame or of the design may be named.
    threshold : {"flexible", "symmetric", "equidistant"}, default="flexible"
        Free thresholds, thresholds symmetric around their centre, or equally spaced ones.
    scale : list of str, optional
        Columns that change the spread: the predictor is divided by exp(z'scale).
    reverse : bool, default=False
        Apply the definition of the family to the classes in descending order. Signs stay: positive
        is towards higher classes.
    penalty : {"elasticnet"}, optional
        Penalise coefficients of standardised columns, thresholds left free. ``coef_`` and
        predictions are then the penalised ones, the table is their one-step debiased version.
    lam : float, default=0.01
        Weight of the penalty against the mean log-likelihood. Not used without ``penalty``.
    l1_ratio : float, default=1.0
        1 is the lasso, 0 is ridge.
    form : {"parallel", "nonparallel", "semiparallel"}, default="parallel"
        With a penalty: one coefficient a column, one a boundary, or a common one plus deviations.
    rho : float, default=1.0
        Weight of the common coefficients in the semi-parallel penalty.
    tau : array of shape (K,) or dict, optional
        Population share of each class, when classes were sampled at different rates.
    correction : {"weighting", "prior"}, default="weighting"
        How ``tau`` is used: weights, or a shift of the thresholds (adjacent logits only).
    vcov : {"hessian", "opg", "HC0", "HC1", "CR0", "CR1"}, optional
        Inverse observed information, inverse outer product of scores, sandwich. None is "hessian",
        "CR0" with clusters, "HC0" with ``tau``.
    formula : str, optional
        Model formula such as ``"rating ~ temp + contact"``; then X is a frame.
    categories : list, optional
        Classes from lowest to highest; needed for text.
    drop_empty : bool, default=False
        Leave out declared classes that never occur instead of refusing them.
    rare_class : {"last", "first"}, default="last"
        Class of ``predict_rare``.
    on_crossing : {"isotonic", "clip", "raise", "ignore"}, default="isotonic"
        What predictions do where boundaries of a cumulative model cross.
    missing : {"raise", "drop"}, optional
        What a missing value does. Default: "drop" with a formula, "raise" otherwise.
    tol, max_iter : float, int
        Newton stops when its step is shorter than ``tol`` standard errors.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates, variance, diagnostics; blocks "location", "scale", "thresholds".
    classes_ : ndarray of shape (K,)
        Labels, lowest first.
    coef_ : ndarray of shape (K - 1, p)
        Coefficients at each boundary (equal rows where parallel), on the raw scale of X.
    intercept_ : ndarray of shape (K - 1,)
        Thresholds: P(y <= k) = F(intercept_[k] - coef_[k] @ x) in the cumulative family.
    scale_coef_ : ndarray of shape (s,)
        Scale effects.
    loglik_, null_loglik_, aic_, bic_ : float
        Of the (weighted) sample.
    kkt_ : float
        Largest violation of the optimality conditions: of the mean log-likelihood in standardised
        columns.
    crossing_ : int
        Rows of the sample in which boundaries cross.
    vcov_, std_error_ : ndarray of shape (k, k), (k,)
        Variance and standard errors in the order of ``result_.names``.
    converged_, n_iter_ : bool, int
        How Newton's method ended.
    n_features_in_, feature_names_in_ : int, ndarray
        Columns seen in fit.

    See Also
    --------
    po_test : Are coefficients the same at every boundary?
    RareEventClassifier : Two classes, one of them rare.

    Notes
    -----
    With d_k = threshold_k - coef_k'x (+ offset), divided by exp(z'scale) where asked, the families
    are P(y <= k) = F(d_k) (McCullagh 1980), P(y = k | y >= k) = F(d_k), P(y > k | y >= k) =
    F(-d_k), P(y = k + 1 | y in {k, k + 1}) = F(-d_k) (Tutz 2012, ch. 9; Yee 2015). Newton's method
    uses the exact observed information; estimates that do not exist because classes are separated
    are refused by a linear programme. Non-parallel cumulative models can have crossing boundaries:
    counted in ``crossing_``. With ``tau`` the scores are centred by class, or carry the influence
    of the sample shares (derived here). Hessian-type variances take weights for frequencies, the
    sandwich squares them. The model of Faletto and Bien (2023) is the one
    with ``parallel=False``; their penalty is that of PrestoClassifier.

    References
    ----------
    McCullagh, P. (1980). Regression models for ordinal data. Journal of the Royal Statistical
    Society B 42(2), 109-142.

    Wurm, M. J., Rathouz, P. J. and Hanlon, B. M. (2021). Regularized ordinal regression and the
    ordinalNet R package. Journal of Statistical Software 99(6).

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import OrdinalClassifier
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> latent = x @ [1.0, -0.5] + rng.logistic(size=500)
    >>> y = np.digitize(latent, [-1.0, 0.5, 2.0])
    >>> fit = OrdinalClassifier().fit(x, y)
    >>> bool(np.all(np.abs(fit.coef_[0] - [1.0, -0.5]) < 4 * fit.std_error_[:2]))
    True
    >>> fit.predict_proba(x[:1]).shape
    (1, 4)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **OrdinalEstimator._parameter_checks,
        "family": one_of(*FAMILIES),
        "link": one_of(*LINKS),
        "parallel": any_of(is_bool, is_names),
        "threshold": one_of(*THRESHOLDS),
        "scale": optional(is_names),
        "reverse": is_bool,
        "penalty": optional(one_of("elasticnet")),
        "lam": in_range(0, np.inf, closed="left"),
        "l1_ratio": in_range(0, 1),
        "form": one_of(*FORMS),
        "rho": in_range(0, np.inf, closed="left"),
        "correction": one_of("weighting", "prior"),
        "vcov": optional(one_of(*KINDS)),
        "tol": in_range(0, 1, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
    }

    def __init__(
        self,
        family: str = "cumulative",
        link: str = "logit",
        *,
        parallel: Any = True,
        threshold: str = "flexible",
        scale: Any = None,
        reverse: bool = False,
        penalty: str | None = None,
        lam: float = 0.01,
        l1_ratio: float = 1.0,
        form: str = "parallel",
        rho: float = 1.0,
        tau: Any = None,
        correction: str = "weighting",
        vcov: str | None = None,
        formula: str | None = None,
        categories: Any = None,
        drop_empty: bool = False,
        rare_class: str = "last",
        on_crossing: str = "isotonic",
        missing: str | None = None,
        tol: float = 1e-8,
        max_iter: int = 100,
    ) -> None:
        self.family = family
        self.link = link
        self.parallel = parallel
        self.threshold = threshold
        self.scale = scale
        self.reverse = reverse
        self.penalty = penalty
        self.lam = lam
        self.l1_ratio = l1_ratio
        self.form = form
        self.rho = rho
        self.tau = tau
        self.correction = correction
        self.vcov = vcov
        self.formula = formula
        self.categories = categories
        self.drop_empty = drop_empty
        self.rare_class = rare_class
        self.on_crossing = on_crossing
        self.missing = missing
        self.tol = tol
        self.max_iter = max_iter

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        clusters: Any = None,
        offset: Any = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array, frame or source of shape (n, p)
            Covariates without a column of ones; a source read in chunks goes to ``fit_stream``.
        y : array of shape (n,), counts of shape (n, K), or column name(s)
            Ordered classes: an ordered categorical, numbers, or text with ``categories``; or how
            often each class occurred in each row. None with a formula.
        sample_weight : array of shape (n,) or str, optional
            Weights.
        clusters : array of shape (n,) or str, optional
            Dependence groups for CR0 and CR1.
        offset : array of shape (n,) or str, optional
            Added to the predictor d_k of every boundary (towards lower classes).

        Returns
        -------
        OrdinalClassifier

        Raises
        ------
        DataError, ParameterError, CollinearityError, SeparationError
            For data that cannot be used, or estimates that do not exist.
        """
        self._check_parameters()
        if is_source(X):
            return self.fit_stream(
                X, y, sample_weight=sample_weight, clusters=clusters, offset=offset
            )
        data = read_rows(
            self,
            X,
            y,
            formula=self.formula,
            sample_weight=sample_weight,
            clusters=clusters,
            offset=offset,
            missing=self.missing,
        )
        rows, options = self._prepare(data)
        return self._remember(fit_model(rows, self.classes_, data.names, options), data)

    def _prepare(self, data: RoleData) -> tuple[Rows, ModelOptions]:
        """Rows of a fit and options in terms of the design."""
        response = self._read_response(data)
        self.classes_ = response.classes
        return make_rows(data, response), self._model_options(data)

    def _model_options(self, data: RoleData) -> ModelOptions:
        parallel: Any = self.parallel
        if not isinstance(parallel, bool):
            parallel = _design_names(parallel, data)
        return ModelOptions(
            family=self.family,
            link=self.link,
            reverse=self.reverse,
            parallel=parallel,
            threshold=self.threshold,
            scale=None if self.scale is None else _design_names(self.scale, data),
            penalty=self.penalty,
            lam=float(self.lam),
            l1_ratio=float(self.l1_ratio),
            form=self.form,
            rho=float(self.rho),
            tau=self.tau,
            correction=self.correction,
            vcov=self.vcov,
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )

    def fit_stream(self, source: Any, y: Any = None, **roles: Any) -> Self:
        """Fit the model to a source that does not fit in memory.

        Parameters
        ----------
        source : str, Path, pyarrow dataset, Dask frame, list of frames, or callable
            Parquet path or folder, or anything that can be read again chunk by chunk.
        y : str, optional
            Column of the classes; None with a formula.
        **roles : str
            ``sample_weight``, ``clusters`` and ``offset`` as column names.

        Returns
        -------
        OrdinalClassifier
            Equal to ``fit`` on all rows to 1e-10: every Newton step is a pass over the source.

        Raises
        ------
        ParameterError
            With ``penalty`` or ``tau``, which need the rows in memory.
        """
        self._check_parameters()
        found, data = fit_source(self, source, y, roles)
        return self._remember(found, data)

    def _remember(self, found: ModelFit, data: RoleData) -> Self:
        result = found.result(
            call=self._call(),
            outcome=data.outcome,
            cluster_name=data.cluster_name,
            n_dropped=data.n_dropped,
            n_dropped_by=dict(data.n_dropped_by),
        )
        self._store(result, data)
        self._model = found
        self.intercept_, self.coef_, self.scale_coef_ = found.structure.raw(found.phi)
        self.loglik_, self.null_loglik_ = found.loglik, found.null_loglik
        self.aic_, self.bic_ = found.aic, found.bic
        self.kkt_, self.crossing_ = found.kkt, found.n_crossing
        return self


def _design_names(chosen: Any, data: RoleData) -> list[str]:
    """Columns of the design that were named, directly or by a column of the frame."""
    found: list[str] = []
    for name in chosen:
        if name in data.names or name not in data.design.columns:
            found.append(name)
        else:
            found += [data.names[j] for j in data.design.affected(name)]
    return found
