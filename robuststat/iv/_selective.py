"""Mean effect with an instrument that may be invalid: learners selected for small bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat import plot as _plot
from robuststat._core.crossfit import make_folds
from robuststat._core.data import RoleData
from robuststat._core.errors import ParameterError
from robuststat._core.params import (
    Check,
    in_range,
    is_bool,
    is_cv,
    is_string,
    one_of,
    optional,
)
from robuststat._core.rng import check_rng
from robuststat.iv._candidates import Learnt, Menu, learn
from robuststat.iv._choice import (
    Choice,
    Names,
    choice_lines,
    choose,
    loss_table,
    named,
    repetition_of,
    risk_table,
    split_rows,
)
from robuststat.iv._crossfit import Folds, Sample
from robuststat.iv._dml_base import CrossFittedIVEstimator
from robuststat.iv._dml_intake import choose_vcov, read_sample
from robuststat.iv._dml_report import dml_report
from robuststat.iv._intake import Roles
from robuststat.iv._invalid import SUMMARIES
from robuststat.iv._menu import read_menu
from robuststat.iv._tuples import KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD = "Effect of an exposure with an invalid instrument, learners selected for small bias"
# More tuples than this need gigabytes.
MAX_TUPLES = 2_000_000
# Rows of ``pseudo_risk_``; ``pseudo_risk()`` gives all.
KEPT = 1000


def _is_candidates(value: Any) -> str | None:
    return None if value is None or isinstance(value, Mapping) else "None or a dict of lists"


class SelectiveInvalidIVDML(CrossFittedIVEstimator):
    """Mean effect with an invalid instrument, learners selected among candidates for small bias.

    The estimand and its identification are those of :class:`InvalidIVATE`. Cross-validation selects
    learners that predict well; here the tuple of learners is selected whose estimate changes least
    when learners are exchanged that the score can do without.

    Parameters
    ----------
    candidates : dict of str to list, optional
        Lists of estimators, or of (name, estimator) pairs, for "instrument", "treatment" (both
        classifiers), "effect" (regressors, "linear" or "constant"), "direct" and "confounding"
        (regressors), and perhaps "outcome", the E(Y|Z,X) of the first stage, which otherwise has
        the candidates of "direct". Keys left out take linear models, splines and boosted trees
        (for the effect "constant", "linear" and splines; for the confounding a constant, a linear
        model and splines).
    criterion : {"mixed", "minimax"}, default="mixed"
        Sum over models of the union of the largest change between any two tuples, or the largest
        change from the tuple itself.
    combine : {"select", "softmax", "cv"}, default="select"
        Take the tuple of smallest pseudo-risk; average all tuples with weights that fall with the
        rank of their risk; or, for comparison, take each learner by its out-of-fold loss.
    softmax_rate : float, default=20.0
        Used by "softmax": the weight is exp(-rate u), with u the rank of the risk scaled to [0, 1].
    selection_split : float, optional
        Share of the rows on which learners are selected; the effects are then estimated on the
        others. Without it all rows do both, and standard errors ignore the selection.
    cv : int, splitter or list of (train, test), default=5
        Folds; the splits over which pseudo-risks are averaged.
    n_rep : int, default=1
        Random partitions; pseudo-risks average over all, estimates are medians.
    formula : str, optional
        Outcome and covariates; then ``X`` is a frame.
    vcov : {"eif", "cluster"}, optional
        Efficient influence function, or the same with cluster totals. None is "cluster" when
        ``clusters`` are given and "eif" otherwise.
    clip_pi : float, default=0.01
        Bound that keeps P(Z = 1 | X) away from 0 and 1.
    min_abs_d : float, default=0.01
        Bound that keeps D(x) away from 0, with its sign.
    missing : {"raise", "drop"}, optional
        What a missing value does. Default: "drop" with a formula, and say so; "raise" otherwise.
    keep_influence : bool, default=False
        Keep the influence values and nuisance values of the rows.
    random_state : int, Generator or None
        Seeds folds and every learner whose own seed is open.
    n_jobs : int, optional
        Parallel fits of learners; results do not depend on it.

    Attributes
    ----------
    result_ : InferenceResult
        ATE, overlap ATE, direct effect of Z, confounding covariance.
    selected_ : dict of str to str
        Name of the chosen candidate for each nuisance function; with "softmax" that of the tuple
        with the smallest risk.
    cv_selected_ : dict of str to str
        What the out-of-fold losses would choose.
    pseudo_risk_ : DataFrame
        The 1000 tuples of smallest risk: candidates, ``estimate``, the diameters ``M1`` to ``M4``,
        ``mixed``, ``minimax``, and ``weight`` with "softmax". :meth:`pseudo_risk` gives all.
    candidates_ : DataFrame
        One row a candidate: out-of-fold ``loss``, smallest ``risk`` of a tuple that has it, and
        whether it was ``selected``.
    n_tuples_, n_splits_ : int
        Number of tuples, and of splits that pseudo-risks are averages over.
    n_selection_ : int
        Rows used for the selection only; 0 without ``selection_split``.
    effect_ : InferenceResult
        Best linear approximation of beta(X), from least squares of the ATE's score.
    ate_ : float
        Estimate of the mean effect.
    std_error_, vcov_ : ndarray of shape (q,) and (q, q)
        Standard errors and variance of all effects in ``result_``.
    coef_, intercept_ : ndarray, float
        Coefficients of that approximation and its intercept.
    overlap_effect_, direct_effect_, confounding_, strength_ : Bunch
        As for :class:`InvalidIVATE`.
    conf_set_type_ : {"interval", "complement", "line"}
        Kind of the 95 % score set.
    repeat_params_ : DataFrame of shape (n_rep, q)
        Estimates of each partition.
    nuisances_, influence_ : DataFrame, ndarray of shape (n, q), or None
        Out-of-fold nuisance values and influence values, with ``keep_influence=True``; those of the
        rows that effects are estimated on.
    n_features_in_, feature_names_in_ : int, ndarray
        Covariates seen in fit.

    See Also
    --------
    InvalidIVDML : One learner for each nuisance function.

    Notes
    -----
    A tuple t = (pi, p, beta, h, omega) gives the estimates psi_s(t) in the splits s. For each model
    M of the union the free nuisance functions may be exchanged without harm if the others are
    right: {beta, h, omega}, {p, omega}, {pi, h} and {pi, p}. The diameter of M at t is the largest
    mean over s of (psi_s(t') - psi_s(t''))^2 among tuples that equal t outside the free ones.
    "mixed" is the sum of the four; "minimax" the largest mean over s of (psi_s(t) - psi_s(t'))^2.
    With candidates for two nuisance functions only these are criteria of Cui and Tchetgen Tchetgen
    (2024); the extension is derived here and is not a theorem of Sun, Cui and Tchetgen Tchetgen
    (2022), of which only the abstract was available. Given pi and p the score is additive in beta,
    h and omega, so that all estimates are evaluated exactly by one matrix product over the pairs;
    each learner is fitted once a fold. What later stages learn from takes, inside every training
    part, the candidates of smallest loss: the learners of h see Y - beta A with one beta.

    References
    ----------
    Cui, Y. and Tchetgen Tchetgen, E. (2024). Selective machine learning of doubly robust
    functionals. Biometrika 111, 517-535.

    Sun, B., Cui, Y. and Tchetgen Tchetgen, E. (2022). Selective Machine Learning of the Average
    Treatment Effect with an Invalid Instrumental Variable. Journal of Machine Learning Research 23.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression, LogisticRegression
    >>> from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    >>> from robuststat import SelectiveInvalidIVDML
    >>> from robuststat.simulation import make_invalid_iv
    >>> classifiers = [LogisticRegression(), DecisionTreeClassifier(min_samples_leaf=200)]
    >>> regressors = [LinearRegression(), DecisionTreeRegressor(min_samples_leaf=200)]
    >>> candidates = {"instrument": classifiers, "treatment": classifiers}
    >>> candidates |= {"effect": ["linear"], "direct": regressors, "confounding": regressors}
    >>> data = make_invalid_iv(n=4000, random_state=1)
    >>> fit = SelectiveInvalidIVDML(candidates, cv=3, random_state=0)
    >>> _ = fit.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> fit.n_tuples_
    16
    >>> fit.selected_["effect"]
    'linear'
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "candidates": _is_candidates,
        "criterion": one_of("mixed", "minimax"),
        "combine": one_of("select", "softmax", "cv"),
        "softmax_rate": in_range(0.0, np.inf, closed="left"),
        "selection_split": optional(in_range(0.0, 1.0, closed="neither")),
        "cv": is_cv,
        "n_rep": in_range(1, np.inf, closed="left", integer=True),
        "formula": optional(is_string),
        "vcov": optional(one_of("eif", "cluster")),
        "clip_pi": in_range(0.0, 0.5, closed="left"),
        "min_abs_d": in_range(0.0, np.inf, closed="left"),
        "missing": optional(one_of("raise", "drop")),
        "keep_influence": is_bool,
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
    }

    def __init__(
        self,
        candidates: Any = None,
        *,
        criterion: str = "mixed",
        combine: str = "select",
        softmax_rate: float = 20.0,
        selection_split: float | None = None,
        cv: Any = 5,
        n_rep: int = 1,
        formula: str | None = None,
        vcov: str | None = None,
        clip_pi: float = 0.01,
        min_abs_d: float = 0.01,
        missing: str | None = None,
        keep_influence: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.candidates = candidates
        self.criterion = criterion
        self.combine = combine
        self.softmax_rate = softmax_rate
        self.selection_split = selection_split
        self.cv = cv
        self.n_rep = n_rep
        self.formula = formula
        self.vcov = vcov
        self.clip_pi = clip_pi
        self.min_abs_d = min_abs_d
        self.missing = missing
        self.keep_influence = keep_influence
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _check_learners(self) -> None:
        menu, _, _ = read_menu(self.candidates)
        self._check_size(menu)

    def _fit(self, data: RoleData, roles: Roles) -> Self:
        menu, names, regressors = read_menu(self.candidates)
        sample, effect = read_sample(self, data, roles, constant=False, one_number=False)
        vcov = choose_vcov(self.vcov, data)
        rng = check_rng(self.random_state)
        first, last = sample, sample
        if self.selection_split is not None:
            first, last = (
                sample.take(rows) for rows in split_rows(sample, self.selection_split, rng)
            )
        learnt = self._learn(first, menu, rng)
        choice = self._choose(first, learnt)
        if self.selection_split is not None:
            learnt, final = self._again(last, menu, choice, rng)
        else:
            final = choice
        summaries = SUMMARIES["ate"]
        if sample.fixed != (None, None):
            summaries = tuple(name for name in summaries if name != "confounding")
            names = names | {"confounding": ("zero by assumption",)}
        self._remember_choice(choice, names, 0 if first is last else first.y.size)
        report = dml_report(
            [repetition_of(last, one, final) for one in learnt],
            last,
            replace(data, weights=last.weights),
            replace(roles, y=last.y, a=last.a, z=last.z),
            summaries=summaries,
            effect_names=effect.names,
            estimand="ate",
            vcov=vcov,
            call=self._call(),
            keep_influence=self.keep_influence,
            learner_lines=choice_lines(choice, names, self.combine, self.n_selection_),
            regressors=regressors,
            method=METHOD,
        )
        self.repeat_params_ = report.repeats
        return self._remember(report, data, effect)

    def _check_size(self, menu: Menu) -> None:
        total = int(np.prod([len(getattr(menu, key)) for key in KEYS]))
        if total > MAX_TUPLES:
            raise ParameterError(
                f"candidates make {total:,} tuples; at most {MAX_TUPLES:,} can be compared. "
                "Shorten the lists."
            )
        if self.selection_split is not None and isinstance(self.cv, list | tuple):
            raise ParameterError(
                "cv names rows of the whole sample, but selection_split divides it. Use an integer "
                "or a splitter."
            )

    def _learn(self, sample: Sample, menu: Menu, rng: np.random.Generator) -> list[Learnt]:
        partitions, _ = make_folds(
            sample.y.size, self.cv, self.n_rep, rng, groups=sample.clusters, strata=sample.strata
        )
        folds = Folds(rng, self.n_jobs)
        return [learn(sample, splits, menu, folds) for splits in partitions]

    def _choose(self, sample: Sample, learnt: list[Learnt]) -> Choice:
        return choose(
            sample,
            learnt,
            criterion=self.criterion,
            combine=self.combine,
            rate=self.softmax_rate,
        )

    def _again(
        self, sample: Sample, menu: Menu, choice: Choice, rng: np.random.Generator
    ) -> tuple[list[Learnt], Choice]:
        """Learn on the other part with what was chosen; no choice is made there."""
        if choice.weights is not None:
            return self._learn(sample, menu, rng), choice
        learnt = self._learn(sample, menu.only(choice.chosen), rng)
        return learnt, self._choose(sample, learnt)

    def _remember_choice(self, choice: Choice, names: Names, n_selection: int) -> None:
        self._choice, self._names = choice, names
        self.selected_ = named(names, choice.chosen)
        self.cv_selected_ = named(names, choice.cross_validated)
        self.pseudo_risk_ = risk_table(choice, names, KEPT)
        self.candidates_ = loss_table(choice, names)
        self.n_tuples_ = int(choice.ranking.size)
        self.n_splits_ = choice.n_splits
        self.n_selection_ = n_selection

    def pseudo_risk(self, n: int | None = None) -> pd.DataFrame:
        """Tuples with their estimates and pseudo-risks, the smallest risk first.

        Parameters
        ----------
        n : int, optional
            How many; default all.

        Returns
        -------
        DataFrame
            Columns as in ``pseudo_risk_``.
        """
        check_is_fitted(self, "result_")
        return risk_table(self._choice, self._names, n)

    def plot_pseudo_risk(self, ax: Axes | None = None) -> Axes:
        """Draw estimates against pseudo-risks, one point a tuple.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib Axes
            Pseudo-risk on a logarithmic axis; the chosen tuple and the cross-validated one are
            marked.
        """
        check_is_fitted(self, "result_")
        choice = self._choice
        marks = {"out-of-fold losses": choice.cross_validated}
        marks |= {f"smallest {choice.criterion} risk": choice.best}
        return _plot.scatterplot(
            choice.ranking.ravel(),
            choice.estimate.ravel(),
            marks={
                label: (float(choice.ranking[t]), float(choice.estimate[t]))
                for label, t in marks.items()
            },
            xlabel=f"Pseudo-risk ({choice.criterion})",
            ylabel="ATE",
            ax=ax,
        )
