"""Predict-then-debias for any estimator with weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from robuststat._core.crossfit import CrossFit
from robuststat._core.design import new_design_matrix
from robuststat._core.errors import ParameterError
from robuststat._core.params import (
    Check,
    any_of,
    in_range,
    is_bool,
    is_estimator,
    is_string,
    one_of,
    optional,
)
from robuststat._core.roles import RoleReader
from robuststat._core.table import as_table, to_float
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator
from robuststat.surrogate._blackbox_fit import Settings, Task, fit_debiased, make_task, read_rows
from robuststat.surrogate._blackbox_words import make_result
from robuststat.surrogate._coefficients import with_coefficients
from robuststat.surrogate._diagnostics import surrogate_report


def is_callable(value: Any) -> str | None:
    """Accept a function."""
    return None if callable(value) else "a function of the fitted estimator"


def _predicts_classes(self: DSLBlackBox) -> bool:
    return hasattr(self._resolved(), "predict_proba")


class DSLBlackBox(InferenceEstimator):
    """Debias any estimator with ``sample_weight`` when outcome or covariates are surrogates.

    Use it for models that :class:`DSLRegressor` and :class:`DSLClassifier` do not offer: quantile,
    Huber, Tweedie or ridge regression, a pipeline, an estimator of your own. The estimand is the
    coefficient vector that the same estimator would give with expert labels on every row, in a
    large sample; intervals cover it whatever the errors of the machine. The price of generality is
    a bootstrap of three fits.

    Parameters
    ----------
    estimator : estimator, optional
        Any estimator whose ``fit`` takes ``sample_weight`` and sets ``coef_``, or a pipeline that
        ends in one; its own ``intercept_`` comes first among the parameters. None is
        ``LinearRegression()``. A penalty is part of the estimand: without one, say so, as in
        ``LogisticRegression(C=np.inf)`` or ``QuantileRegressor(alpha=0)``.
    formula : str, optional
        Model formula such as ``"y ~ x1 + C(source)"``; then ``X`` is a frame. Its intercept is
        that of the estimator.
    coef : callable, optional
        Takes the fitted estimator and returns the vector of interest, as an array or, with names,
        a Series. Default: ``intercept_`` and ``coef_`` of the (last) estimator.
    tuning : {"scalar", "matrix"}, optional, default="scalar"
        How much of the surrogates' difference is added: one number for each coefficient, a full
        matrix (both chosen for least bootstrap variance), or None for all of it.
    n_boot : int, default=500
        Bootstrap draws.
    design : {"srs", "bernoulli", "stratified"}, default="srs"
        How rows were chosen for labelling: a fixed number at random, independent draws, or a fixed
        number in each of the ``strata``. The bootstrap draws in the same way.
    normalize_prob : bool, default=True
        Scale the labelling probabilities so that their mean is the share labelled (within strata
        when stratified), in every bootstrap draw again.
    n_unlabeled_boot : int or "auto", optional, default="auto"
        Unlabelled rows (clusters) that bootstrap draws use: a random subset of about this size
        with weights that make up for it (see Notes). "auto" is 20,000, or ten times the labelled
        ones if that is more; None is all of them.
    use_t : bool, default=False
        t quantiles with n_labeled - k degrees of freedom (clusters with labels minus 1), a guard
        for few labels.
    missing : {"raise", "drop"}, optional
        What a missing value in an observed column does. Default: "drop" with a formula, and say
        so; "raise" otherwise.
    random_state : int, Generator or None
        Seeds the bootstrap, the subset, and the estimator if its own seed is open.
    n_jobs : int, optional
        Parallel bootstrap draws; results do not depend on it.
    verbose : int, default=0
        Draw a progress bar when positive.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates, bootstrap variance, diagnostics.
    coef_ : ndarray of shape (p,)
        Debiased coefficients without the intercept.
    intercept_ : float
        Intercept, 0.0 when there is none.
    std_error_, vcov_ : ndarray of shape (k,) and (k, k)
        Standard errors and variance of all parameters, in the order of ``result_.names``.
    components_ : DataFrame of shape (k, 3)
        The three fits: columns ``gold``, ``surrogate_labeled`` and ``surrogate_all``.
    tuning_ : ndarray of shape (k,) or (k, k), or None
        Diagonal of Omega, or the matrix; None when not tuned.
    bootstrap_ : BootstrapResult
        Replicates of the debiased estimate (``estimates``, ``n_failed``), spread by the allowance
        for tuning.
    estimator_ : estimator or None
        Fitted copy of ``estimator`` with the debiased coefficients in it, for predictions; None
        with ``coef=``, or when its coefficients cannot be set.
    classes_ : ndarray of shape (2,)
        Labels, when ``estimator`` is a classifier.
    n_labeled_ : int
        Rows with an expert label.
    sample_prob_ : float or tuple of float
        Labelling probability used, or its smallest and largest value.
    surrogate_report_ : DataFrame
        Bias, error, calibration of every surrogate against the expert labels.
    design_effect_ : Series
        Bootstrap variance with expert labels alone over variance here, by coefficient.
    converged_, n_iter_ : bool, int
        Whether the three fits converged; number of fits to the data (3).
    n_features_in_, feature_names_in_ : int, ndarray
        Covariates seen in fit.

    See Also
    --------
    DSLRegressor : Linear and Poisson regression with a sandwich variance and learners.
    DSLClassifier : Logistic regression.

    Notes
    -----
    theta = theta_lab + Omega (gamma_all - gamma_lab): the estimator on expert values of the
    labelled rows with weights a / pi, plus Omega times the difference between the estimator on
    surrogates of all rows (weights a) and of the labelled rows (weights a / pi). The two fits to
    surrogates estimate the same vector, so their difference has mean zero for large samples and
    the first term decides what is estimated, whatever the surrogates are (Kluger et al. 2025, who
    take the unlabelled rows where all rows are taken here). With Omega = 1 this is not
    :class:`DSLRegressor` with learner="passthrough": the two agree exactly when labelled rows, as
    weighted, reproduce the Gram matrix of all rows (one indicator a stratum), and differ otherwise
    by the sampling error of that matrix times the bias of the surrogate.

    The variance comes from computing all three fits again on resampled rows: within labelled and
    unlabelled rows for simple random sampling, within strata (whose sizes vary) for stratified
    sampling, from all rows together for independent draws or unequal probabilities; whole clusters
    when there are any. Omega is held at its value in the draws; that it was estimated, q = 1 or k
    numbers a coefficient, is allowed for by multiplying the variance by (1 + q/m)/(1 - q/m), with
    m labelled rows (clusters), and by a like factor for the draws. This is derived here and checked
    by simulation.

    A subset of m from N unlabelled rows gives the bootstrap the same variance to first order when
    each row stands for N / m and its count c is shrunk to 1 + sqrt(m / N) (c - 1). This is derived
    here and checked by simulation; it is not the faster algorithm of the paper, which needs the
    variance of the estimator. Estimates always use all rows.

    The bootstrap assumes that the estimator is asymptotically linear. It is not valid for the
    lasso's zeros, for matching, or for tuning parameters chosen anew in each draw.

    References
    ----------
    Kluger, D. M., Lu, K., Zrnic, T., Wang, S. and Bates, S. (2025). Prediction-Powered Inference
    with Imputed Covariates and Nonuniform Sampling. arXiv:2501.18577.

    Examples
    --------
    >>> from sklearn.linear_model import HuberRegressor
    >>> from robuststat import DSLBlackBox
    >>> from robuststat.simulation import make_surrogate_linear
    >>> data = make_surrogate_linear(n=2000, n_labeled=300, random_state=1)
    >>> fit = DSLBlackBox(HuberRegressor(alpha=0), n_boot=100, random_state=1)
    >>> _ = fit.fit(data.X, data.y, prediction=data.prediction)
    >>> fit.result_.names
    ('(Intercept)', 'x1', 'x2', 'x3')
    >>> bool((abs(fit.result_.estimate - data.truth) < 4 * fit.std_error_).all())
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "estimator": optional(is_estimator),
        "formula": optional(is_string),
        "coef": optional(is_callable),
        "tuning": optional(one_of("scalar", "matrix")),
        "n_boot": in_range(20, np.inf, closed="left", integer=True),
        "design": one_of("srs", "bernoulli", "stratified"),
        "normalize_prob": is_bool,
        "n_unlabeled_boot": optional(
            any_of(one_of("auto"), in_range(2, np.inf, closed="left", integer=True))
        ),
        "use_t": is_bool,
        "missing": optional(one_of("raise", "drop")),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        "verbose": in_range(0, 10, integer=True),
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        formula: str | None = None,
        coef: Any = None,
        tuning: str | None = "scalar",
        n_boot: int = 500,
        design: str = "srs",
        normalize_prob: bool = True,
        n_unlabeled_boot: int | str | None = "auto",
        use_t: bool = False,
        missing: str | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.formula = formula
        self.coef = coef
        self.tuning = tuning
        self.n_boot = n_boot
        self.design = design
        self.normalize_prob = normalize_prob
        self.n_unlabeled_boot = n_unlabeled_boot
        self.use_t = use_t
        self.missing = missing
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _resolved(self) -> Any:
        return LinearRegression() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._resolved())
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_class = False
        tags.target_tags.required = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        prediction: Any = None,
        labeled: Any = None,
        sample_prob: Any = None,
        strata: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate what expert labels on every row would have given.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates; with ``formula`` a frame holding all columns. A column named by a role is
            not a covariate.
        y : array of shape (n,) or str, optional
            Expert labels, missing where a row was not labelled; a column name when ``X`` is a
            frame. None with a formula.
        prediction : array of shape (n,), str, or dict, optional
            Surrogate of the outcome for every row. A dict such as ``{"y": "gpt", "x1": "x1_hat"}``
            also names covariates that are known for labelled rows only; without "y" the outcome is
            observed.
        labeled : array of shape (n,) or str, optional
            1 or True where a row was labelled by experts. Default: where no predicted column is
            missing.
        sample_prob : array of shape (n,) or str, optional
            Known probability of being labelled, in (0, 1]. Default: equal probabilities.
        strata : array of shape (n,) or str, optional
            Strata within which a fixed number of rows was labelled (``design="stratified"``).
        sample_weight : array of shape (n,) or str, optional
            Probability weights of the rows.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows, resampled as a whole.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            Missing or infinite values, too few labels, an estimator that fails in more than a
            tenth of the bootstrap draws.
        RoleError
            No prediction, contradictions between labels and ``labeled``, probabilities outside
            (0, 1], a stratum with a single label.
        ParameterError
            An option outside its set, an estimator without ``sample_weight`` or ``coef_``.
        """
        self._check_parameters()
        data, found, classes = read_rows(
            self,
            X,
            y,
            prediction=prediction,
            roles={"labeled": labeled, "sample_prob": sample_prob, "strata": strata},
            sample_weight=sample_weight,
            clusters=clusters,
        )
        if found is None:
            found = pd.DataFrame({"prediction": self._missing_role("prediction", data.X, data.y)})
        settings = Settings(
            **{name: getattr(self, name) for name in Settings.__slots__ if name != "estimator"},
            estimator=self._resolved(),
        )
        task = make_task(data, found, classes, settings)
        return self._remember(task, settings)

    def _remember(self, task: Task, settings: Settings) -> Self:
        fit = fit_debiased(task, settings)
        found, labelling = fit.found, task.labelling
        self._store(make_result(task, settings, fit, self._call()), task.data)
        names = list(self.result_.names)
        prob = labelling.prob
        low, high = float(prob.min()), float(prob.max())
        self.n_labeled_ = labelling.n_labeled
        self.sample_prob_ = low if np.isclose(low, high, rtol=1e-12, atol=0.0) else (low, high)
        self.components_ = pd.DataFrame(
            {
                "gold": found.gold,
                "surrogate_labeled": found.surrogate_labeled,
                "surrogate_all": found.surrogate_all,
            },
            index=names,
        )
        omega = {None: None, "scalar": np.diag(found.tuning), "matrix": found.tuning}
        self.tuning_ = omega[settings.tuning]
        self.bootstrap_ = found.draws
        self.design_effect_ = pd.Series(fit.effect, index=names, name="design_effect")
        # The report reads codes of classes as they are.
        told = SimpleNamespace(
            data=task.data,
            labelling=labelling,
            targets=task.targets,
            surrogates={name: pd.DataFrame(c) for name, c in task.reported.items()},
            classes={},
        )
        none = CrossFit({}, np.zeros((1, 0), np.int64), {}, np.zeros(1, np.int64))
        self.surrogate_report_ = surrogate_report(cast(Any, told), none)
        self.estimator_ = None
        if settings.coef is None:
            self.estimator_ = with_coefficients(fit.fitted, found.theta)
        if task.classes is not None:
            self.classes_ = np.array(task.classes)
        self._columns = task.positions
        return self

    def confint(self, level: float = 0.95, kind: Any = "pointwise") -> pd.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        kind : {"pointwise", "simultaneous", "percentile", "basic"}, default="pointwise"
            Normal (or t) intervals from the bootstrap standard errors, alone or jointly, as in
            ``tidy()`` and ``summary()``; or quantiles of the bootstrap draws (the intervals of the
            paper), as they are or mirrored at the estimate.

        Returns
        -------
        DataFrame
            Columns ``conf_low`` and ``conf_high``, one row a term.
        """
        check_is_fitted(self, "result_")
        if kind not in ("percentile", "basic"):
            return self.result_.confint(level=level, kind=kind)
        limits = self.bootstrap_.confint(level=level, kind=kind)
        index = self.result_.confint().index
        return pd.DataFrame(limits, columns=["conf_low", "conf_high"], index=index)

    def _predict(self, method: str, X: Any) -> Array:
        check_is_fitted(self, "result_")
        matrix = new_design_matrix(self, self.design_, X)[:, self._columns]
        if self.estimator_ is None:
            raise ParameterError(
                "The debiased vector cannot be put back into the estimator, so it makes no "
                "predictions. Use the default coef with an estimator whose coef_ can be set."
            )
        return np.asarray(getattr(self.estimator_, method)(np.ascontiguousarray(matrix)))

    def predict(self, X: Any) -> Array:
        """Predictions of the estimator with debiased coefficients, of shape (n,)."""
        return self._predict("predict", X)

    @available_if(_predicts_classes)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of the estimator with debiased coefficients, of shape (n, 2)."""
        return self._predict("predict_proba", X)

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Rows with fitted values.

        Parameters
        ----------
        X : array or frame
            Rows with the covariates of the model.
        y : array of shape (n,) or str, optional
            Numeric outcome, for residuals; a column name when X is a frame.

        Returns
        -------
        DataFrame
            The columns of ``X`` and ``.fitted``, and ``.resid`` when ``y`` is given. There is no
            ``.se_fit``: how predictions depend on the coefficients is the estimator's own affair.
        """
        fitted = self.predict(X)
        table = as_table(X)
        if table is None:
            array = np.asarray(X, dtype=np.float64)
            frame = pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])
        else:
            frame = table.pandas(table.names)
            if isinstance(X, pd.DataFrame):
                frame.index = X.index
        frame[".fitted"] = fitted
        if y is not None:
            frame[".resid"] = to_float(RoleReader(table, len(frame)).vector("y", y), "y") - fitted
        return frame

    def refit_vcov(self, kind: str, clusters: Any = None) -> Any:
        """Refuse: the variance is that of a bootstrap, which needs the rows."""
        raise ParameterError(
            f"kind={kind!r}: the variance of DSLBlackBox comes from a bootstrap of the rows. Fit "
            "again, with clusters= for dependent rows."
        )
