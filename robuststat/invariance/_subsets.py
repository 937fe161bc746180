"""Search over all subsets of covariates for invariant ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from scipy import stats

from robuststat._core.design import ArrayDesign
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import Check, any_of, in_range, is_bool, one_of, optional
from robuststat._core.rng import check_rng
from robuststat._core.stream import is_source
from robuststat.invariance._engine import (
    MOMENT_TESTS,
    Scaled,
    SearchOptions,
    flat_environments,
    largest_size,
    moment_table,
    row_pvalues,
    scale_moments,
)
from robuststat.invariance._intake import (
    ROW_CHECKS,
    read_rows,
    refuse_constant,
    refuse_constant_moments,
    refuse_small,
)
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._rows import EnvRows, check_outcome
from robuststat.invariance._rowtests import BINARY_TESTS, ROW_TESTS, RowTest, choose_test
from robuststat.invariance._screening import SCREENINGS, screened
from robuststat.invariance._search import (
    SetTable,
    variable_pvalues,
)
from robuststat.invariance._search_results import SearchResults
from robuststat.invariance._selection import chosen_gap, halves
from robuststat.invariance._stream import source_moments


def is_callable(value: Any) -> str | None:
    return None if callable(value) else "a function of (residuals, other residuals)"


class InvariantSubsets(SearchResults):
    """Find the subsets of covariates whose regression is the same in every environment.

    Every subset is tested: is the distribution of the residuals of the pooled regression the same
    in all environments? The variables in every accepted set are estimated causes of the outcome
    when the assumptions below hold (invariant causal prediction). Because exact invariance is
    refuted by almost any large sample, each set also gets the size of its violation: ``psi``, the
    average excess of the squared error of the common coefficients over that of each environment's
    own, as a fraction of the noise variance; and sets within ``eps`` are listed.

    Parameters
    ----------
    test : str or callable, default="normal"
        "normal" compares means and variances of the residuals of each environment with those of
        the others; "chow" (or "exact") predicts each environment from the others; "correlation"
        adds to "normal" that no covariate of the set correlates with the residuals; "ks",
        "ranks", "levene_wilcoxon" and "hsic" compare whole distributions; "logistic_lr" and
        "logistic_t" are for a 0/1 outcome; or a function of (residuals of an environment,
        residuals of the others) that returns a p-value. The first four need only moments.
    max_size : int, optional
        Largest subset; None for all sizes.
    screening : {"auto", "none", "lasso", "correlation", "boosting"}, default="auto"
        How candidates are chosen when there are many covariates; "auto" takes all up to 20, and
        beyond that the first ``max_candidates`` to enter the lasso path.
    max_candidates : int, default=16
        Number of candidates after screening.
    alpha : float, default=0.05
        Level of the whole search.
    eps : float, default=0.05
        Tolerated violation psi; .01 is small, .05 moderate, .15 large (a convention).
    eps_rule : {"estimate", "equivalence"}, default="estimate"
        Whether a set counts as eps-invariant when its estimated psi is at most ``eps``, or when
        the test of psi >= eps rejects at ``alpha``.
    ci_split : {"R", "strict"}, default="R"
        "R" tests at ``alpha`` and uses intervals of level 1 - alpha/2, with joint coverage of at
        least 1 - 1.5 alpha; "strict" tests at alpha/2 too, with joint coverage 1 - alpha.
    correction : {"K-1", "K"}, default="K-1"
        Factor of the tests that compare each of K environments with the others; "chow" always
        has K. K - 1 is what R uses; K is the safe choice beyond two environments.
    selection : {"none", "bonferroni", "split"}, default="none"
        Whether the interval of psi for the chosen set accounts for the choice: by the number of
        sets searched, or by using other environments (other rows, with fewer than ten
        environments) for the search than for the interval.
    stop_early : bool, default=False
        Leave sets untested that cannot change the intersection; p-values of variables and
        intervals are then not available. Tests run one after the other, whatever ``n_jobs``.
    compat : {None, "R"}, default=None
        "R" scales the predictive Chow test as R does and counts the model as rejected unless a set
        has a p-value above max(.01, alpha).
    n_permutations : int, default=500
        Permutations of test="hsic".
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    random_state : int, Generator or None, default=None
        Seed of permutations, splits and boosted screening.
    n_jobs : int, optional
        Threads.

    Attributes
    ----------
    table_ : DataFrame
        One row a set: ``subset`` (column positions), ``size``, ``p_value``, ``psi``,
        ``equivalent`` (the test of psi >= eps rejects), ``variance_ratio`` (largest over smallest
        residual variance), ``mse``, ``mse_left_out`` (environments predicted from the others; both
        in squared units of y), ``status`` ("ok", "singular", "not tested").
    accepted_ : list of tuple
        Sets with a p-value above the level.
    eps_invariant_ : list of tuple
        Sets within ``eps``.
    intersection_ : tuple or None
        Variables in every accepted set; None when no set was accepted.
    minimal_invariant_, defining_sets_ : list of tuple
        Accepted sets without accepted proper subset; smallest sets of variables of which every
        accepted set has one.
    pvalues_ : ndarray of shape (p,) or None
        For each variable the largest p-value of the sets without it.
    model_rejected_ : bool
        Whether no set was accepted.
    best_ : tuple or None
        Eps-invariant set that predicts left-out environments best.
    gap_ : Bunch or None
        psi of ``best_`` with interval: ``subset, psi, conf_low, conf_high, level``.
    candidates_ : tuple
        Positions of the covariates searched.

    See Also
    --------
    InvariantRegressor : Prediction from a chosen subset.
    HiddenICP : Hidden confounders, shift interventions.

    Notes
    -----
    Guarantee of ``intersection_``: if the environments do not act on the outcome directly, the
    outcome is a linear function of its causes plus noise with the same Gaussian distribution in all
    environments, and no cause is hidden, then the set of causes is accepted with probability at
    least 1 - alpha, so that every variable in the intersection is a cause (Peters, Buhlmann and
    Meinshausen 2016). Nothing is said about variables outside it. psi, its equivalence test and
    eps-invariance are in the spirit of Parulekar, Shanmugam and Shakkottai (2023), but derived in
    this package. All tests of the group "normal" take moments of each environment from one pass;
    the search itself does not depend on the number of rows.

    References
    ----------
    Peters, J., Buhlmann, P. and Meinshausen, N. (2016). Causal inference by using invariant
    prediction: identification and confidence intervals. Journal of the Royal Statistical Society
    B, 78, 947-1012.

    Heinze-Deml, C., Peters, J. and Meinshausen, N. (2018). Invariant causal prediction for
    nonlinear models. Journal of Causal Inference, 6, 20170016.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import InvariantSubsets
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 300)
    >>> x1 = rng.normal(size=600) * (1 + env)
    >>> y = x1 + rng.normal(size=600)
    >>> x2 = y + rng.normal(size=600) * (1 + 2 * env)
    >>> search = InvariantSubsets().fit(np.column_stack([x1, x2]), y, env=env)
    >>> search.accepted_, search.intersection_
    ([(0,)], (0,))
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "test": any_of(one_of(*MOMENT_TESTS, *ROW_TESTS, *BINARY_TESTS), is_callable),
        "max_size": optional(in_range(0, np.inf, closed="left", integer=True)),
        "screening": one_of(*SCREENINGS),
        "max_candidates": in_range(1, 62, integer=True),
        "alpha": in_range(0, 1, closed="neither"),
        "eps": in_range(0, np.inf, closed="left"),
        "eps_rule": one_of("estimate", "equivalence"),
        "ci_split": one_of("R", "strict"),
        "correction": one_of("K-1", "K"),
        "selection": one_of("none", "bonferroni", "split"),
        "stop_early": is_bool,
        "compat": optional(one_of("R")),
        "n_permutations": in_range(1, np.inf, closed="left", integer=True),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        **ROW_CHECKS,
    }

    def __init__(
        self,
        test: Any = "normal",
        *,
        max_size: int | None = None,
        screening: str = "auto",
        max_candidates: int = 16,
        alpha: float = 0.05,
        eps: float = 0.05,
        eps_rule: str = "estimate",
        ci_split: str = "R",
        correction: str = "K-1",
        selection: str = "none",
        stop_early: bool = False,
        compat: str | None = None,
        n_permutations: int = 500,
        formula: str | None = None,
        missing: str | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.test = test
        self.max_size = max_size
        self.screening = screening
        self.max_candidates = max_candidates
        self.alpha = alpha
        self.eps = eps
        self.eps_rule = eps_rule
        self.ci_split = ci_split
        self.correction = correction
        self.selection = selection
        self.stop_early = stop_early
        self.compat = compat
        self.n_permutations = n_permutations
        self.formula = formula
        self.missing = missing
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, env: Any = None, sample_weight: Any = None) -> Self:
        """Test all subsets.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates; or a source for ``fit_stream``.
        y : array of shape (n,) or str
            Outcome, or its column name; two values count as 0/1.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.
        sample_weight : array of shape (n,) or str, optional
            Inverse error variances, up to a factor; for the tests that need only moments.

        Returns
        -------
        InvariantSubsets
            The fitted estimator.

        Raises
        ------
        DataError
            For fewer than two environments, environments with fewer than three rows, constant or
            repeated columns, missing values.
        ParameterError
            For options outside their range, and for more than 4,194,304 sets.
        RoleError
            When ``env`` is missing or does not fit the rows.
        """
        if is_source(X):
            return self.fit_stream(X, y, env=env, sample_weight=sample_weight)
        self._check_parameters()
        rows = read_rows(self, X, y, env, sample_weight)
        refuse_constant(rows)
        self._test = choose_test(self.test, rows)
        if rows.weights is not None and self._test not in MOMENT_TESTS:
            raise ParameterError(
                f"{self._test_words()} has no weighted version in the search. Leave out "
                f"sample_weight, or use test={', '.join(map(repr, MOMENT_TESTS))}."
            )
        rng = check_rng(self.random_state)
        searched, held_out = halves(rows, self.selection, rng)
        self._remember(rows)
        self.design_ = rows.data.design
        rest = None if held_out is None else held_out.moments()
        return self._search(searched.moments(), rest, searched, rng)

    def fit_stream(
        self,
        source: Any,
        y: str | None = None,
        *,
        env: str | None = None,
        sample_weight: str | None = None,
    ) -> Self:
        """Test all subsets after one pass over a source that does not fit in memory.

        Only moments are kept, so that ``test`` must be "normal", "chow" or "correlation"; an
        outcome of two values is not noticed. The answer is that of ``fit``.

        Parameters
        ----------
        source : str, Path, dataset, Dask frame, list of frames or callable
            Parquet file or folder, pyarrow dataset, Dask frame, frames, or a function that
            returns a new iterator of frames; all other columns are covariates.
        y, env, sample_weight : str
            Column names.

        Returns
        -------
        InvariantSubsets
            The fitted estimator.

        Raises
        ------
        ParameterError
            For options that need the rows.
        DataError, RoleError
            As in ``fit``, or for text covariates.
        """
        self._check_parameters()
        needs_rows = {
            "test": self.test not in MOMENT_TESTS,
            "selection": self.selection == "split",
            "screening": self.screening == "boosting",
        }
        for name, needed in needs_rows.items():
            if needed:
                raise ParameterError(
                    f"{name}={getattr(self, name)!r} needs the rows themselves, which a stream "
                    "does not keep. Use fit, or another value."
                )
        read = partial(read_rows, self, chunk=True)
        found = source_moments(read, self.formula, source, y, env, sample_weight)
        if found.moments.n_env < 2:
            raise DataError(
                f"env has {found.moments.n_env} level; there must be at least two environments to "
                "compare. Pass a column that varies."
            )
        refuse_constant_moments(found.moments)
        self._test = self.test
        moments = found.moments
        self._remember_counts(moments.names, moments.levels, moments.n_rows, found)
        self.feature_names_in_ = np.asarray(found.columns, dtype=object)
        self.n_features_in_ = len(found.columns)
        self.design_ = ArrayDesign((INTERCEPT, *found.columns), found.columns, True)
        return self._search(moments, None, None, check_rng(self.random_state))

    def _search(
        self,
        moments: EnvMoments,
        held_out: EnvMoments | None,
        rows: EnvRows | None,
        rng: np.random.Generator,
    ) -> Self:
        """Search by moments, and by rows where the test needs them."""
        refuse_small(moments, 3, "A variance needs more.")
        check_outcome(moments)
        scaled = scale_moments(moments)
        chosen = screened(
            self.screening, self.max_candidates, scaled.total, scaled.n_obs, rows, rng
        )
        self.candidates_ = tuple(int(j) for j in chosen)
        kept = scale_moments(moments.select(self.candidates_))
        max_size = largest_size(len(self.candidates_), self.max_size)
        options = self._options(moments.n_env, max_size)
        table = moment_table(kept, options, self.n_jobs)
        self._logit_limits: tuple[Any, Any] | None = None
        if self._test not in MOMENT_TESTS:
            assert rows is not None
            table = self._test_rows(table, rows, options, rng)
        self._n_flat_env = flat_environments(kept)
        self._conclude(table, kept)
        self.gap_ = chosen_gap(
            self.best_,
            moments,
            held_out,
            alpha=self.alpha,
            n_sets=len(table.masks),
            selection=self.selection,
        )
        return self

    def _test_words(self) -> str:
        return f"test {self._test!r}" if isinstance(self._test, str) else "a test of yours"

    def _options(self, n_env: int, max_size: int) -> SearchOptions:
        predictive = self._test in ("chow", "exact")
        factor = n_env if predictive or self.correction == "K" else n_env - 1
        return SearchOptions(
            test=self._test if isinstance(self._test, str) else "rows",
            max_size=max_size,
            factor=float(factor),
            compat=self.compat == "R",
            eps=self.eps,
            alpha=self._level_of_tests(self.alpha),
            level_gap=self.alpha,
            stop_early=self.stop_early,
        )

    def _test_rows(
        self, table: SetTable, rows: EnvRows, options: SearchOptions, rng: np.random.Generator
    ) -> SetTable:
        usable = np.flatnonzero(~table.singular)
        test = RowTest(
            self._test,
            rows.X[:, self.candidates_],
            rows.y,
            rows.codes,
            self.correction,
            self.n_permutations,
            int(rng.integers(2**63 - 1)),
        )
        found = row_pvalues(
            table.masks[usable],
            len(self.candidates_),
            test.p_value,
            alpha=options.alpha,
            stop_early=self.stop_early,
            n_jobs=self.n_jobs,
        )
        table.p_value[usable] = found
        table.tested[usable] = ~np.isnan(found)
        if self._test in BINARY_TESTS and not self.stop_early:
            accepted = table.masks[table.tested & (np.nan_to_num(table.p_value) > options.alpha)]
            z = float(stats.norm.ppf(1.0 - self.alpha / 4.0))
            self._logit_limits = test.logit_limits(accepted, z)
        return table

    def _conclude(self, table: SetTable, scaled: Scaled) -> None:
        self._sets = table
        self._total = scaled.total
        self._scaled_obs = scaled.n_obs
        self._unit = scaled.unit[:-1] / scaled.unit[-1]
        p = len(self.candidates_)
        level = self._level_of_tests(self.alpha)
        gate = max(0.01, level) if self.compat == "R" else level
        accepted = self._accepted(level)
        reached = np.nanmax(table.p_value, initial=0.0) if table.tested.any() else 0.0
        self.model_rejected_ = bool(len(accepted) == 0 or reached <= gate)
        self.intersection_ = (
            None if self.model_rejected_ else self._subset(int(np.bitwise_and.reduce(accepted)))
        )
        self.pvalues_ = None
        if not self.stop_early:
            self.pvalues_ = np.ones(len(self.names_))
            self.pvalues_[list(self.candidates_)] = variable_pvalues(table, p, gate)
        best = self._within_eps() & ~np.isnan(table.mse_left_out)
        self.best_ = None
        if best.any():
            order = np.flatnonzero(best)
            self.best_ = self._subset(int(table.masks[order[np.argmin(table.mse_left_out[order])]]))


ICP = InvariantSubsets
