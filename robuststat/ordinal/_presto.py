"""PRESTO: ordinal regression for rare events that shrinks towards proportional odds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Bunch

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.rng import check_rng
from robuststat.ordinal._base import read_rows
from robuststat.ordinal._predict import crossing_rows
from robuststat.ordinal._presto_choice import (
    CRITERIA,
    choose,
    criterion,
    cross_validate,
)
from robuststat.ordinal._presto_data import Ready, make_ready, refuse_separation
from robuststat.ordinal._presto_fit import fit_path, raw_fit, warn_convergence
from robuststat.ordinal._presto_inference import (
    MAX_PARAMETERS,
    Inference,
    bootstrapped,
    debiased,
)
from robuststat.ordinal._presto_methods import PrestoMethods
from robuststat.ordinal._presto_options import PathOptions, given_lambdas
from robuststat.ordinal._presto_path import PrestoPath, boundary_names, make_path
from robuststat.ordinal._presto_result import Chosen, describe
from robuststat.ordinal._presto_solve import Solution


class PrestoClassifier(PrestoMethods):
    """Ordinal regression for a rare class that shrinks towards proportional odds (PRESTO).

    Use it when the last (or first) of several ordered classes is rare. Every boundary between
    classes has slopes of its own, but differences between neighbouring boundaries are penalised,
    so that boundaries with many rows near them lend strength to the rare one. The estimand is
    P(y = rare class | x), with the class probabilities and the slopes of every boundary.

    Parameters
    ----------
    lam : float or {"cv", "aic", "bic", "ebic"}, default="cv"
        Size of the penalty, or how it is chosen.
    l1_ratio : float, default=1.0
        Share of the l1 part of the penalty; 0 is ridge.
    first_block_penalty : float, default=1.0
        Factor of the penalty of the first boundary's slopes; 0 shrinks towards an unpenalised
        proportional odds model.
    penalty_factors : array of shape (p,) or dict, optional
        Relative penalty of each column of the design; 0 leaves a column unpenalised.
    link : {"logit", "probit", "cloglog", "loglog", "cauchit"}, default="logit"
        Distribution F in P(y <= k) = F(eta_k).
    crossing : {"box", "train", "allow"}, default="box"
        Keep all class probabilities non-negative on the whole box of the covariates, on the
        training rows only, or not at all.
    box : pair of arrays of shape (p,), or dict, optional
        (low, high) limits of the columns; default the training range.
    box_margin : float, default=0.0
        Widen the box by this share of its half-widths.
    rare_class : {"last", "first"}, default="last"
        Which class is the rare one.
    formula : str, optional
        Model formula such as ``"y ~ age + C(region)"``; then ``X`` is a frame.
    categories : list, optional
        Classes from lowest to highest; needed for text without an order.
    drop_empty : bool, default=False
        Leave out declared classes that never occur, instead of refusing them.
    n_lambdas, lambda_min_ratio : int, float, default=20, 0.01
        Number of penalties tried, and the smallest relative to the largest.
    lambdas : list of float, optional
        Penalties to choose from, instead of that grid.
    cv : int, splitter or list of (train, test), default=5
        Folds; an integer spreads every class evenly.
    scoring : {"log_loss", "brier", "rare_log_loss", "rare_brier", "misclass"}
        Out-of-fold score; default "log_loss". Probabilities count as at least 1e-10.
    selection : {"min", "1se"}, default="min"
        Best score, or the largest penalty within one standard error of it.
    standardize : bool, default=True
        Penalise coefficients per standard deviation of their column.
    inference : {"debiased", "bootstrap", "none"}, default="debiased"
        Intervals from one Newton step that removes the shrinkage, from refits on resampled rows,
        or none.
    vcov : {"hessian", "HC0", "CR0"}, optional
        Variance of the debiased estimate: inverse information or a sandwich. Default "hessian",
        or "CR0" when ``clusters`` are given.
    n_boot : int, default=200
        Replicates of ``inference="bootstrap"``.
    on_crossing : {"isotonic", "clip", "raise", "ignore"}, default="isotonic"
        What predictions do in rows whose boundaries cross.
    missing : {"raise", "drop"}, optional
        What a missing value does; default "drop" with a formula, "raise" otherwise.
    tol, max_iter : float, int, default=1e-8, 100
        Accepted violation of the optimality conditions; Newton steps for each set of columns.
    random_state : int, Generator or None
        Seeds folds and bootstrap.
    n_jobs : int, optional
        Folds and replicates fitted at once; results do not depend on it.

    Attributes
    ----------
    result_ : InferenceResult
        Debiased (or bootstrapped) thresholds and slopes with their variance.
    classes_ : ndarray of shape (K,)
        Labels, lowest first.
    coef_ : ndarray of shape (K - 1, p)
        PRESTO slopes of each boundary; positive = towards higher classes.
    intercept_ : ndarray of shape (K - 1,)
        Thresholds: P(y <= k) = F(intercept_[k] - coef_[k] @ x).
    psi_ : ndarray of shape (K - 1, p)
        Slopes of the first boundary, then differences; zero where slopes are shared.
    pooled_ : ndarray of bool of shape (p,)
        Features that keep one slope at all boundaries (proportional odds).
    lam_, lambdas_ : float, ndarray
        Penalty used, and those tried.
    cv_scores_, cv_se_ : ndarray
        Score of each penalty (lower is better) and its standard error; criteria without folds
        have no standard error.
    path_ : PrestoPath
        Fits at all penalties tried.
    kkt_ : float
        Violation of the optimality conditions at the solution: the certificate.
    crossing_ : Bunch
        ``mode``; ``n_rows`` (training rows with a negative class probability); ``active``
        (boundaries at which the constraint binds); ``multipliers``.
    debiased_ : Bunch or None
        ``intercept``, ``coef``, ``intercept_std_error``, ``coef_std_error``.
    class_counts_ : ndarray of shape (K,)
        Weight of each class.
    loglik_, null_loglik_, df_, aic_, bic_ : float
        Fit; degrees of freedom are non-zero psi plus thresholds.
    vcov_, std_error_ : ndarray
        Variance and standard errors in the order of ``result_.names``.

    See Also
    --------
    presto_path : The whole path at once.

    Notes
    -----
    Minimises -(1/W) sum w_i log P(y_i) + lam sum_jk v_jk (a abs(psi_jk) + (1 - a)/2 psi_jk^2) on
    standardised columns, W the sum of weights, psi_1 = beta_1 and psi_k = beta_k - beta_{k-1}, by
    proximal Newton steps to ``kkt_ <= tol``. The box constraint sum_j h_j abs(psi_jk) <= (alpha_k -
    alpha_{k-1}) + c'psi_k, with centre c and half-widths h, is derived in this package; it is exact
    and convex, and holds for every row inside the box. An offset is added to every eta_k, so that a
    positive one moves towards *lower* classes (minus the offset of clm and polr).

    Weights count as repetitions of rows in standard errors of kind "hessian"; use "HC0" for
    probability weights. The debiased interval treats the penalty as fixed and is meant for far
    fewer parameters than rows.

    References
    ----------
    Faletto, G. and Bien, J. (2023). Predicting Rare Events by Shrinking Towards Proportional Odds.
    ICML, PMLR 202:9547-9602. Objective: that of the paper
    and of its code; crossing constraint, debiased
    intervals and tuning by log-loss are not from that paper.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import PrestoClassifier
    >>> rng = np.random.default_rng(1)
    >>> X = rng.uniform(-1, 1, size=(600, 3))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=600), [0.0, 3.0])
    >>> fit = PrestoClassifier(random_state=0).fit(X, y)
    >>> fit.predict_proba(X).shape, bool(fit.kkt_ < 1e-8)
    ((600, 3), True)
    """

    def __init__(
        self,
        lam: Any = "cv",
        *,
        l1_ratio: float = 1.0,
        first_block_penalty: float = 1.0,
        penalty_factors: Any = None,
        link: str = "logit",
        crossing: str = "box",
        box: Any = None,
        box_margin: float = 0.0,
        rare_class: str = "last",
        formula: str | None = None,
        categories: Any = None,
        drop_empty: bool = False,
        n_lambdas: int = 20,
        lambda_min_ratio: float = 0.01,
        lambdas: Any = None,
        cv: Any = 5,
        scoring: str = "log_loss",
        selection: str = "min",
        standardize: bool = True,
        inference: str = "debiased",
        vcov: str | None = None,
        n_boot: int = 200,
        on_crossing: str = "isotonic",
        missing: str | None = None,
        tol: float = 1e-8,
        max_iter: int = 100,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.lam = lam
        self.l1_ratio = l1_ratio
        self.first_block_penalty = first_block_penalty
        self.penalty_factors = penalty_factors
        self.link = link
        self.crossing = crossing
        self.box = box
        self.box_margin = box_margin
        self.rare_class = rare_class
        self.formula = formula
        self.categories = categories
        self.drop_empty = drop_empty
        self.n_lambdas = n_lambdas
        self.lambda_min_ratio = lambda_min_ratio
        self.lambdas = lambdas
        self.cv = cv
        self.scoring = scoring
        self.selection = selection
        self.standardize = standardize
        self.inference = inference
        self.vcov = vcov
        self.n_boot = n_boot
        self.on_crossing = on_crossing
        self.missing = missing
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        offset: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Fit thresholds and slopes.

        Parameters
        ----------
        X : array, sparse matrix or frame of shape (n, p)
            Covariates; categories of a frame are coded with a reference level.
        y : array of shape (n,), str, or array of shape (n, K)
            Ordered classes; a column name of the frame; or counts of each class in each row. None
            with a formula.
        offset : array of shape (n,) or str, optional
            Added to every linear predictor of P(y <= k).
        sample_weight : array of shape (n,) or str, optional
            Weights; the objective does not depend on their scale.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows: kept together in folds, and in the variance (CR0).

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            One class, empty classes, text without an order, missing values, too few rows of a class
            for cross-validation.
        ParameterError
            An option outside its set.
        CollinearityError
            Unpenalised columns that are linear combinations of others.
        """
        self._check_parameters()
        if not isinstance(self.lam, str) and self.lambdas is not None:
            raise ParameterError(
                f"lam={self.lam!r} is a number, so that there is nothing to choose from lambdas. "
                "Leave one of them out."
            )
        if self.lam in CRITERIA and self.l1_ratio == 0.0:
            raise ParameterError(
                f"lam={self.lam!r} counts coefficients that are zero, which ridge (l1_ratio=0) has "
                "none of. Use lam='cv'."
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
        response = self._read_response(data)
        ready = make_ready(data, response, self._path_options())
        # One generator for folds and bootstrap: an int gives the same fit every time.
        rng = check_rng(self.random_state)
        chosen = self._choose(ready, rng)
        inference = self._infer(ready, chosen.solution, rng)
        self.classes_ = response.classes
        result = describe(
            ready, data, chosen, inference, call=self._call(), rare=self._rare_number(response)
        )
        self._store(result, data)
        self._remember(ready, chosen, inference)
        return self

    def _path_options(self) -> PathOptions:
        return PathOptions(**{name: getattr(self, name) for name in PathOptions.__slots__})

    def _rare_number(self, response: Any) -> int:
        return 0 if self.rare_class == "first" else int(response.n_classes) - 1

    def _choose(self, ready: Ready, rng: np.random.Generator) -> Chosen:
        """Fit all penalties that are asked for, and pick one."""
        how, scores, spread = "given", np.zeros(0), np.zeros(0)
        if not isinstance(self.lam, str):
            lambdas = given_lambdas([self.lam])
        else:
            lambdas = ready.grid(self._path_options())
        fits = fit_path(ready.problem, ready.recipe, ready.null, lambdas)
        refuse_separation(ready, fits)
        position = 0
        if self.lam == "cv":
            found = cross_validate(
                ready.rows,
                ready.recipe,
                lambdas,
                cv=self.cv,
                scoring=self.scoring,
                rare=self._rare_number(ready.response),
                rng=rng,
                n_jobs=self.n_jobs,
            )
            scores, spread = found.scores, found.std_errors
            position = choose(found, self.selection)
            rule = "lowest" if self.selection == "min" else "within one standard error of lowest"
            how = f"{rule} {self.scoring} over {found.n_folds} folds, {len(lambdas)} penalties"
        elif isinstance(self.lam, str):
            scores = criterion(ready.problem, fits, self.lam)
            position = int(scores.argmin())
            how = f"lowest {self.lam.upper()} of {len(lambdas)} penalties"
        if len(lambdas) > 1 and position == len(lambdas) - 1:
            how += " (the smallest tried: a smaller one may be better)"
        warn_convergence(fits, self.tol)
        return Chosen(fits, position, how, scores, spread)

    def _infer(
        self, ready: Ready, solution: Solution, rng: np.random.Generator
    ) -> Inference | None:
        """Estimates with a variance; None without."""
        n_parameters = solution.alpha.size * (1 + ready.problem.columns.n_columns)
        if self.inference != "debiased" and self.vcov is not None:
            raise ParameterError(
                f"vcov={self.vcov!r} has no effect with inference={self.inference!r}. Leave it out."
            )
        if self.inference == "none":
            return None
        if n_parameters > MAX_PARAMETERS:
            warn(
                f"The model has {n_parameters} parameters; variances are computed up to "
                f"{MAX_PARAMETERS}. The fit has no standard errors: set inference='none'."
            )
            return None
        kind = self.vcov or ("hessian" if ready.clusters is None else "CR0")
        if (kind == "CR0") != (ready.clusters is not None):
            raise ParameterError(f"vcov={kind!r} and clusters do not fit: pass clusters for CR0.")
        if self.inference == "bootstrap":
            return bootstrapped(
                ready.rows,
                ready.recipe,
                solution.lam,
                n_boot=self.n_boot,
                random_state=rng,
                n_jobs=self.n_jobs,
            )
        try:
            return debiased(ready.problem, solution, kind, ready.clusters, ready.counts)
        except DataError as error:
            warn(
                f"No standard errors: {error} Columns are linear combinations of others, or nearly "
                "tell the classes apart; the penalised fit stands. Set inference='none', or leave "
                "columns out."
            )
            return None

    def _remember(self, ready: Ready, chosen: Chosen, inference: Inference | None) -> None:
        problem, solution = ready.problem, chosen.solution
        raw = raw_fit(problem, solution)
        q, p = raw.coef.shape
        self.intercept_, self.coef_ = raw.intercept, raw.coef
        self.path_: PrestoPath = make_path(
            problem, chosen.fits, ready.response.classes, ready.recipe.names
        )
        self.psi_ = self.path_.psi[chosen.position]
        self.pooled_ = ~(self.psi_[1:] != 0.0).any(axis=0)
        self.lam_, self.lambdas_ = solution.lam, self.path_.lambdas
        self.cv_scores_, self.cv_se_ = chosen.scores, chosen.spread
        self.kkt_, self.n_iter_ = solution.kkt, max(1, int(self.path_.n_iter.sum()))
        self.class_counts_ = ready.response.counts
        self.loglik_ = float(self.path_.loglik[chosen.position])
        self.null_loglik_ = -problem.total * ready.null.loss
        self.df_ = float(solution.df)
        self.aic_ = float(self.path_.aic[chosen.position])
        self.bic_ = float(self.path_.bic[chosen.position])
        names = boundary_names(self.classes_)
        eta = raw.intercept - np.asarray(ready.rows.X @ raw.coef.T)
        cons = solution.constraints
        self.crossing_ = Bunch(
            mode=self.crossing,
            n_rows=int(crossing_rows(eta).sum()),
            active=[]
            if cons is None
            else [names[k] for k in np.unique(cons.boundary[solution.multipliers > 0.0])],
            multipliers=np.array(solution.multipliers),
        )
        self.debiased_: Bunch | None = None
        if inference is not None and self.inference == "debiased":
            se = np.sqrt(np.maximum(np.diag(inference.vcov), 0.0))
            self.debiased_ = Bunch(
                intercept=inference.estimate[:q],
                coef=inference.estimate[q:].reshape(q, p),
                intercept_std_error=se[:q],
                coef_std_error=se[q:].reshape(q, p),
            )
