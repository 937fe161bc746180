"""Invariant causal prediction with nonlinear regressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat._core.crossfit import make_folds
from robuststat._core.params import (
    Check,
    in_range,
    is_bool,
    is_cv,
    is_estimator,
    one_of,
    optional,
)
from robuststat._core.rng import check_rng
from robuststat._core.types import Array, IntArray
from robuststat.invariance._conditional import (
    CONDITIONAL_TESTS,
    RESIDUAL_TESTS,
    ConditionalTest,
    default_classifier,
    default_regressor,
)
from robuststat.invariance._engine import largest_size, row_pvalues
from robuststat.invariance._intake import (
    ROW_CHECKS,
    EnvEstimator,
    read_rows,
    refuse_constant,
    refuse_small,
)
from robuststat.invariance._rows import check_outcome
from robuststat.invariance._search import all_subsets, as_tuples, hitting_sets
from robuststat.report import Column, Summary, footer_lines, format_p

_ASSUMPTIONS = (
    "no environment acts on the outcome other than through the covariates",
    "the outcome is a function of its causes plus noise with the same distribution in every "
    "environment, and no cause is hidden (the prediction tests need only the same conditional "
    "distribution)",
    "the learner is flexible enough for the conditional mean; independent rows",
)


class NonlinearICP(EnvEstimator):
    """Subsets of covariates given which the outcome has the same law in every environment.

    Like :class:`InvariantSubsets` with any regression in place of a linear one. Predictions are
    cross-fitted: residuals of a row come from a learner that has not seen it.

    Parameters
    ----------
    test : str, default="levene_wilcoxon"
        "levene_wilcoxon" (spread and location), "ks" and "hsic" (whole distribution) compare the
        residuals between environments; "env_prediction" asks whether the outcome helps to predict
        the environment, "target_prediction" whether the environment helps to predict the outcome,
        "quantile_prediction" whether the environments exceed predicted conditional quantiles
        equally often.
    regressor : estimator, optional
        Learner of the outcome; additive splines by default.
    classifier : estimator, optional
        Learner of the environment for "env_prediction"; a logit model in all quadratic terms by
        default. A learner that gains from redundant features, such as a forest, rejects too often.
    alpha : float, default=0.05
        Level.
    max_size : int, optional
        Largest subset; None for all sizes.
    cv : int, splitter or list of (train, test), default=5
        Folds, drawn within environments.
    stop_early : bool, default=False
        Leave sets untested that cannot change the intersection; ``pvalues_`` are then None.
    n_permutations : int, default=500
        Permutations of test="hsic".
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    random_state : int, Generator or None, default=None
        Seed of folds, learners and permutations.
    n_jobs : int, optional
        Threads; sets are tested one after the other with ``stop_early``.

    Attributes
    ----------
    table_ : DataFrame
        One row a set: ``subset, size, p_value`` (NaN where not tested).
    accepted_ : list of tuple
        Sets with a p-value above ``alpha``.
    intersection_ : tuple or None
        Variables in every accepted set; None when no set was accepted.
    defining_sets_ : list of tuple
        Smallest sets of variables of which every accepted set has one.
    pvalues_ : ndarray of shape (p,) or None
        For each variable the largest p-value of the sets without it.
    model_rejected_ : bool
        Whether no set was accepted.

    See Also
    --------
    InvariantSubsets : Linear regressions, far faster, with intervals and sizes of violations.

    Notes
    -----
    The tests follow Heinze-Deml, Peters and Meinshausen (2018), with out-of-fold predictions
    instead of one split; "env_prediction" counts the rows whose verdict changes (a sign test),
    which uses that both classifiers judge the same rows. Levels are approximate, because learners
    are not perfect.

    References
    ----------
    Heinze-Deml, C., Peters, J. and Meinshausen, N. (2018). Invariant causal prediction for
    nonlinear models. Journal of Causal Inference, 6, 20170016.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import NonlinearICP
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 200)
    >>> x1 = rng.normal(size=400) * (1 + env)
    >>> y = x1**2 + rng.normal(size=400)
    >>> x2 = y + rng.normal(size=400) * (1 + 2 * env)
    >>> NonlinearICP(random_state=0).fit(np.column_stack([x1, x2]), y, env=env).intersection_
    (0,)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "test": one_of(*RESIDUAL_TESTS, *CONDITIONAL_TESTS),
        "regressor": optional(is_estimator),
        "classifier": optional(is_estimator),
        "alpha": in_range(0, 1, closed="neither"),
        "max_size": optional(in_range(0, np.inf, closed="left", integer=True)),
        "cv": is_cv,
        "stop_early": is_bool,
        "n_permutations": in_range(1, np.inf, closed="left", integer=True),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        **ROW_CHECKS,
    }

    def __init__(
        self,
        test: str = "levene_wilcoxon",
        *,
        regressor: Any = None,
        classifier: Any = None,
        alpha: float = 0.05,
        max_size: int | None = None,
        cv: Any = 5,
        stop_early: bool = False,
        n_permutations: int = 500,
        formula: str | None = None,
        missing: str | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.test = test
        self.regressor = regressor
        self.classifier = classifier
        self.alpha = alpha
        self.max_size = max_size
        self.cv = cv
        self.stop_early = stop_early
        self.n_permutations = n_permutations
        self.formula = formula
        self.missing = missing
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, env: Any = None) -> Self:
        """Test all subsets.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.

        Returns
        -------
        NonlinearICP
            The fitted estimator.

        Raises
        ------
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env)
        refuse_constant(rows)
        moments = rows.moments()
        refuse_small(moments, 3, "Distributions cannot be compared with fewer.")
        check_outcome(moments)
        p = len(rows.names)
        largest = largest_size(p, self.max_size)
        rng = check_rng(self.random_state)
        splits = make_folds(len(rows.y), self.cv, 1, rng, strata=rows.codes)[0][0]
        test = ConditionalTest(
            self.test,
            rows.X,
            rows.y,
            rows.codes,
            splits,
            default_regressor() if self.regressor is None else self.regressor,
            default_classifier() if self.classifier is None else self.classifier,
            self.n_permutations,
            int(rng.integers(2**31 - 1)),
        )
        masks = np.array([sum(1 << j for j in S) for S in all_subsets(p, largest)], dtype=np.int64)
        p_value = row_pvalues(
            masks,
            p,
            test.p_value,
            alpha=self.alpha,
            stop_early=self.stop_early,
            n_jobs=self.n_jobs,
        )
        self.design_ = rows.data.design
        self._remember(rows)
        self._store_sets(masks, p_value)
        return self

    def _store_sets(self, masks: IntArray, p_value: Array) -> None:
        p = len(self.names_)
        self._masks, self._p_value = masks, p_value
        accepted = self._accepted()
        self.model_rejected_ = len(accepted) == 0
        self.intersection_ = (
            None
            if self.model_rejected_
            else as_tuples(np.bitwise_and.reduce(accepted, keepdims=True), p)[0]
        )
        self.pvalues_ = None
        if not self.stop_early:
            self.pvalues_ = np.ones(p)
            if not self.model_rejected_:
                without = [(masks >> j & 1) == 0 for j in range(p)]
                self.pvalues_ = np.array([p_value[part].max() for part in without])

    def _accepted(self) -> IntArray:
        return self._masks[np.nan_to_num(self._p_value) > self.alpha]

    @property
    def accepted_(self) -> list[tuple[int, ...]]:
        """Sets whose invariance is not rejected."""
        check_is_fitted(self, "_masks")
        return as_tuples(self._accepted(), len(self.names_))

    @property
    def defining_sets_(self) -> list[tuple[int, ...]]:
        """Smallest sets of variables of which every accepted set has one."""
        check_is_fitted(self, "_masks")
        p = len(self.names_)
        return as_tuples(hitting_sets(self._accepted(), p), p)

    @property
    def table_(self) -> pd.DataFrame:
        """One row a set, by size and then in the order of the columns."""
        check_is_fitted(self, "_masks")
        subsets = as_tuples(self._masks, len(self.names_))
        return pd.DataFrame(
            {
                "subset": pd.Series(subsets, dtype=object),
                "size": [len(s) for s in subsets],
                "p_value": self._p_value,
            }
        )

    def tidy(self) -> pd.DataFrame:
        """Return one row a variable: ``term p_value in_every_set``.

        Returns
        -------
        DataFrame
        """
        check_is_fitted(self, "_masks")
        p = len(self.names_)
        return pd.DataFrame(
            {
                "term": list(self.names_),
                "p_value": np.full(p, np.nan) if self.pvalues_ is None else self.pvalues_,
                "in_every_set": [j in (self.intersection_ or ()) for j in range(p)],
            }
        )

    def summary(self) -> Summary:
        """Readable account of the search, with the assumptions behind it.

        Returns
        -------
        Summary
        """
        frame = self.tidy()
        tested = int((~np.isnan(self._p_value)).sum())
        words = f"Sets: {len(self._masks):,} searched, {tested:,} tested ({self.test}), "
        words += f"{len(self.accepted_):,} accepted at {self.alpha:g}"
        notes = []
        if self.model_rejected_:
            notes.append(
                "no set was accepted: the model is rejected; nothing is said about causes."
            )
        return Summary(
            header=self._header(
                "Invariant causal prediction with nonlinear regressions",
                "variables in every set given which the outcome has the same law everywhere",
            ),
            leading=(words,),
            footer=tuple(footer_lines(lines=[], notes=notes, assumptions=_ASSUMPTIONS)),
            names=tuple(frame["term"]),
            columns=(
                Column(
                    "p-value",
                    ["-" if np.isnan(v) else format_p(float(v)) for v in frame["p_value"]],
                    "  ",
                ),
                Column("In every set", ["yes" if v else "" for v in frame["in_every_set"]], "  "),
            ),
            blocks=("",) * len(frame),
            stars=False,
            tables={"variables": frame, "sets": self.table_},
        )
