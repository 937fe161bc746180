"""Average effect with a valid binary instrument: several models, one right pair is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from robuststat._core.design import new_design_matrix
from robuststat._core.errors import (
    DataError,
    IdentificationError,
    OverlapWarning,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import Check, in_range, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat._core.vcov import meat, sandwich
from robuststat.iv._classical_base import EFFECT, IVEstimator
from robuststat.iv._classical_intake import (
    IVData,
    binary_values,
    dropped_rows,
    independence,
    variance_kind,
)
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import partial_out
from robuststat.iv._strength import first_stage, strength_lines, warn_weak
from robuststat.iv._valid_scores import ValidNuisances, fit_valid, influence, stacked_scores
from robuststat.result import InferenceResult

# Fitted probabilities of the instrument below this, or above one minus it, are called extreme.
_EXTREME = 0.01
_SMALL_GAP = 0.02
_ADVICE = "Read the Anderson-Rubin set of TwoStageLeastSquares, not this table."


@shared_parameters
class ValidIVATE(IVEstimator):
    """Average treatment effect with one binary instrument that satisfies exclusion.

    The estimand is the average over all rows of the effect delta(X) of the treatment, which may
    vary with the covariates. Use it beside an estimator that does not need exclusion: the gap
    between the two is what the assumption does to the answer.

    Parameters
    ----------
    effect_model : {"linear", "constant"}, default="linear"
        Whether delta(X) is linear in the covariates or one number.
    vcov : {"sandwich", "eif", "cluster"}, optional
        "sandwich" accounts for every estimated model and holds whichever of them is right; "eif"
        takes all models for right; "cluster" is the sandwich with clusters. None is "sandwich",
        or "cluster" when ``clusters`` are given.
    min_abs_gap : float, default=0.0
        Refuse when the instrument moves the treatment by less than this, in absolute value, at
        some row.
    keep_influence : bool, default=False
        Keep one influence value a row and term on the result.
    {shared}

    Attributes
    ----------
    {attributes}
    effect_coef_ : ndarray of shape (k,)
        Coefficients of delta(X), in the order of the design.
    strength_ : Bunch
        First stage, as in :class:`TwoStageLeastSquares`; ``mean_gap`` and ``min_abs_gap`` of
        E(A|Z=1,X) - E(A|Z=0,X), and ``share_negative``, the share of rows where it is negative.

    See Also
    --------
    TwoStageLeastSquares : Linear models throughout, any number of instruments.

    Notes
    -----
    delta(X) = {E(Y|Z=1,X) - E(Y|Z=0,X)} / {E(A|Z=1,X) - E(A|Z=0,X)} is the conditional effect when
    the instrument is valid and the effect does not depend on the unmeasured causes (Wang and
    Tchetgen Tchetgen 2018). With s = (2Z - 1)/P(Z|X) and h0 = E(Y - A delta | X), the estimate is
    the average of delta + s (Y - A delta - h0) / {E(A|1,X) - E(A|0,X)}: right when P(Z|X) and the
    gap are, or P(Z|X) and delta, or delta and h0. Here P(Z|X) is logit, the treatment is modelled
    in each arm of the instrument (logit when it is 0/1, else linear), delta and h0 are linear. The
    stacked sandwich for these models is derived here.

    References
    ----------
    Wang, L. and Tchetgen Tchetgen, E. (2018). Bounded, efficient and multiply robust estimation of
    average treatment effects using instrumental variables. Journal of the Royal Statistical
    Society B 80(3), 531-550.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import ValidIVATE
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.integers(0, 2, 2000), rng.normal(size=2000)
    >>> a = (0.3 + 1.5 * z + u + rng.normal(size=2000) > 1).astype(float)
    >>> y = 2.0 * a + u
    >>> est = ValidIVATE().fit(None, y, treatment=a, instruments=z)
    >>> low, high = est.conf_int_
    >>> bool(low < 2 < high)
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "effect_model": one_of("linear", "constant"),
        "vcov": optional(one_of("sandwich", "eif", "cluster")),
        "min_abs_gap": in_range(0, np.inf, closed="left"),
        "keep_influence": is_bool,
    }

    def __init__(
        self,
        effect_model: str = "linear",
        *,
        vcov: str | None = None,
        min_abs_gap: float = 0.0,
        keep_influence: bool = False,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.effect_model = effect_model
        self.vcov = vcov
        self.min_abs_gap = min_abs_gap
        self.keep_influence = keep_influence
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        kind = self._variance_kind(data)
        z = self._instrument(data)
        basis = data.X if self.effect_model == "linear" else np.ones((data.n_obs, 1))
        first, _ = first_stage(partial_out(data), kind)
        fit = fit_valid(data, z, basis)
        warn_weak(first, "use score_confint() of TwoStageLeastSquares")
        self._check_gap(fit, first)
        stack = stacked_scores(data, z, fit)
        values = influence(stack, eif=self.vcov == "eif")
        k = values.shape[1]
        B = meat(values, clusters=data.clusters).matrix
        names = (*data.covariates,) if self.effect_model == "linear" else (INTERCEPT,)
        words = {"HC0": "eif" if self.vcov == "eif" else "sandwich", "CR0": "CR0"}
        result = InferenceResult(
            estimate=np.concatenate([[stack.ate], fit.effect]),
            vcov=sandwich(-np.eye(k), B, data.n_obs),
            names=(EFFECT, *names),
            component=("average", *["conditional"] * len(names)),
            n_obs=data.n_obs,
            n_clusters=data.n_clusters,
            vcov_type=words[kind],
            estimand=f"average effect of {data.treatment} on {data.rows.outcome} over all rows, "
            "and how it varies with the covariates",
            method="Average effect with a valid instrument, multiply robust",
            outcome=data.rows.outcome,
            diagnostics=self._words(data, fit),
            influence=values if self.keep_influence else None,
            call=self._call(),
        )
        self._store(result, data.rows)
        self.effect_coef_ = np.array(fit.effect)
        first = 1 if names[0] == INTERCEPT else 0
        self.intercept_ = float(fit.effect[0]) if first else 0.0
        self.coef_ = np.array(fit.effect[first:])
        self._remember_effect()
        return self

    def _variance_kind(self, data: IVData) -> str:
        if self.vcov in ("sandwich", "eif") and data.clusters is not None:
            raise ParameterError(
                f"vcov={self.vcov!r} ignores clusters, which were given. Use vcov='cluster', or "
                "leave clusters out."
            )
        if self.vcov == "cluster" and data.clusters is None:
            raise ParameterError("vcov='cluster' needs clusters=. Pass them, or use 'sandwich'.")
        return variance_kind(None, data)

    def _instrument(self, data: IVData) -> Any:
        if data.Z.shape[1] != 1:
            raise RoleError(
                f"instruments has {data.Z.shape[1]} columns; ValidIVATE takes one binary "
                "instrument. Pass one of them, or use TwoStageLeastSquares or GENIUS."
            )
        z = binary_values(
            data.Z[:, 0],
            f"instruments ({data.instruments[0]})",
            "Recode it, or use TwoStageLeastSquares or GENIUS for other instruments.",
        )
        if INTERCEPT not in data.covariates:
            raise DataError("ValidIVATE needs an intercept: write no '- 1' in the formula.")
        return z

    def _check_gap(self, fit: ValidNuisances, first: Bunch) -> None:
        gap = fit.arms[1].mean - fit.arms[0].mean
        smallest = float(np.abs(gap).min())
        self.strength_ = Bunch(
            **first,
            mean_gap=float(gap.mean()),
            min_abs_gap=smallest,
            share_negative=float((gap < 0).mean()),
        )
        if smallest == 0.0 or smallest < self.min_abs_gap:
            raise IdentificationError(
                f"The instrument moves the treatment by only {smallest:.3g} at some row "
                f"(min_abs_gap={self.min_abs_gap:g}): the effect there is not identified. Use "
                "effect_model='constant' with TwoStageLeastSquares, or lower min_abs_gap."
            )
        crossing = 0.0 < self.strength_.share_negative < 1.0
        if crossing or smallest < _SMALL_GAP:
            rarer = min(int((gap < 0).sum()), int((gap > 0).sum()))
            what = (
                f"changes sign ({rarer} of {gap.size} rows have the rarer sign)"
                if crossing
                else f"is as small as {smallest:.3g}"
            )
            warn(
                f"The difference that the instrument makes to the treatment {what}: the average "
                "effect over all rows is hardly identified. Use TwoStageLeastSquares.",
                OverlapWarning,
            )
        extreme = int(((fit.pi < _EXTREME) | (fit.pi > 1.0 - _EXTREME)).sum())
        if extreme:
            warn(
                f"{extreme} rows have a probability of the instrument within {_EXTREME:g} of 0 or "
                f"1 (smallest {fit.pi.min():.2g}, largest {fit.pi.max():.2g}): few rows decide the "
                "answer. Restrict the sample to where both values occur.",
                OverlapWarning,
            )
        self._extreme = extreme

    def _words(self, data: IVData, fit: ValidNuisances) -> dict[str, Any]:
        found = self.strength_
        notes = list(fit.notes)
        if 0.0 < found.share_negative < 1.0:
            notes.append(
                f"the instrument lowers the treatment in {100 * found.share_negative:.1f} % of the "
                "rows and raises it in the others: the average effect is hardly identified"
            )
        elif found.min_abs_gap < _SMALL_GAP:
            notes.append(
                f"the instrument hardly moves the treatment in some rows ({found.min_abs_gap:.3g})"
            )
        if self._extreme:
            notes.append(f"{self._extreme} rows have extreme probabilities of the instrument")
        binary = bool(np.isin(data.a, (0.0, 1.0)).all())
        return {
            **dropped_rows(data),
            "leading": [
                *strength_lines(found, _ADVICE),
                f"The instrument {data.instruments[0]} moves the treatment by {found.mean_gap:.4f} "
                f"on average (smallest in absolute value {found.min_abs_gap:.4f})",
            ],
            "lines": [
                f"Models: instrument logit; treatment {'logit' if binary else 'linear'} in each "
                f"arm; effect {self.effect_model}; outcome linear"
            ],
            "notes": notes,
            "assumptions": [
                "exclusion: the instrument acts on the outcome through the treatment only",
                "the instrument is as good as random given the covariates",
                "the effect does not depend on the unmeasured causes, given the covariates",
                "right models: of instrument and treatment, or of instrument and effect, or of "
                "effect and outcome",
                independence(data),
            ],
        }

    def predict(self, X: Any) -> Array:
        """Effect of the treatment at covariates ``X``.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Effect, unit of y per unit of the treatment.
        """
        check_is_fitted(self, "result_")
        design = new_design_matrix(self, self.design_, X)
        if self.effect_model == "constant":
            return np.full(design.shape[0], self.effect_coef_[0])
        return np.asarray(design @ self.effect_coef_)
