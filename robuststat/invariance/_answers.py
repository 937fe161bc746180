"""What a fitted InvarianceTest answers: intervals, certificates, predictions, plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from scipy import special
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import check_parameters, in_range, one_of
from robuststat._core.rng import check_rng
from robuststat._core.table import to_float
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.base import InferenceEstimator
from robuststat.invariance import _fit as steps
from robuststat.invariance import _plots
from robuststat.invariance._certificate import CertificateKind, CertificateResult, Cloud, certify
from robuststat.invariance._gap import CoefTest, EnvModel, Measure, make_basis, roots
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._options import CERTIFICATE_CHECKS, refuse_without_effect
from robuststat.invariance._rows import read_rows

PlotKind: TypeAlias = Literal["pooled", "env", "ball", "without", "residuals"]


class InvarianceAnswers(InferenceEstimator):
    """Methods of a fitted test; the attributes are described in InvarianceTest."""

    chow_: CoefTest
    moments_: EnvMoments
    n_env_: int
    psi_: float
    eps: float
    representation: Any
    pooled_coef_: Array
    env_coef_: pd.DataFrame
    env_stderr_: pd.DataFrame
    _model: EnvModel
    _env_vcov: Any

    def conf_int(
        self, level: float = 0.95, side: Literal["both", "upper", "lower"] = "both"
    ) -> tuple[float, float]:
        """Confidence interval of psi.

        Parameters
        ----------
        level : float
            Confidence level.
        side : {"both", "upper", "lower"}
            Two-sided, or a one-sided bound with 0 or infinity at the other end.

        Returns
        -------
        tuple of float
        """
        check_is_fitted(self, "chow_")
        checks = {
            "level": in_range(0, 1, closed="neither"),
            "side": one_of("both", "upper", "lower"),
        }
        check_parameters("conf_int", checks, {"level": level, "side": side})
        if side == "upper":
            return 0.0, self.chow_.bound(1 - level)
        if side == "lower":
            return self.chow_.bound(level), math.inf
        return self.chow_.interval(level)

    def certificate(
        self,
        delta: float = 0.05,
        kind: CertificateKind = "scenario",
        candidates: int = 1,
        d1: float = 0.1,
        *,
        measure: Measure = "coef",
        intercept: bool = True,
        scale: Any = None,
        centre: Any = None,
        radius: float | None = None,
        eta: float | None = None,
        random_state: Any = None,
    ) -> CertificateResult:
        """Say what holds in new environments drawn like those seen.

        Parameters
        ----------
        delta : float
            Chance that the statement is false.
        kind : {"scenario", "split", "wait_judge", "random_effects"}
            Smallest ball around all environments; ball fixed beforehand (``centre`` and
            ``radius``) or found on a random half and judged on the other; smallest ball judged by
            the number of environments at its edge; or sampling noise taken out of the spread.
        candidates : int
            Representations that were searched on these data.
        d1 : float
            Miss probability of the confidence set of each environment.
        measure : {"coef", "risk", "grad"}
            Gap; ``"random_effects"`` has ``"coef"`` only.
        intercept : bool
            Whether the intercept belongs to the gap (``measure="coef"``).
        scale : array of shape (k,), optional
            Units of the coefficients, fixed before looking at the data; None: as they are.
        centre, radius : array of shape (k,) and float, optional
            Ball fixed beforehand, for ``kind="split"``.
        eta : float, optional
            Share outside asked for, for ``kind="random_effects"``; None: that of "scenario", at
            most 0.2.
        random_state : int, Generator or None
            Seed of the halves of ``kind="split"``; None: the first half of a fixed shuffle.

        Returns
        -------
        CertificateResult

        Raises
        ------
        ParameterError
            For values outside their range or options without effect.
        DataError
            When an environment does not identify all coefficients.
        """
        check_is_fitted(self, "moments_")
        values: dict[str, Any] = {"delta": delta, "kind": kind, "candidates": candidates, "d1": d1}
        values |= {"measure": measure, "intercept": intercept, "radius": radius, "eta": eta}
        check_parameters("certificate", CERTIFICATE_CHECKS, values)
        refuse_without_effect(kind, measure, intercept, scale, centre, radius, eta, random_state)
        cloud, names, back = self._cloud(measure, intercept, scale)
        fixed = None
        if centre is not None and radius is not None:
            point = to_float(np.atleast_1d(centre), "centre")
            if point.shape != (len(names),) or not np.isfinite(point).all():
                raise ParameterError(
                    f"centre must have {len(names)} finite values ({', '.join(names)}); got "
                    f"{centre!r}."
                )
            fixed = (back @ point, math.sqrt(radius) if measure == "risk" else radius)
        seed = 0 if random_state is None else random_state
        found = certify(
            cloud,
            kind=kind,
            measure=measure,
            delta=delta,
            candidates=candidates,
            d1=d1,
            names=names,
            fixed=fixed,
            order=check_rng(seed).permutation(cloud.n_env),
            eta=eta,
            fixed_scale=measure != "coef" or scale is not None,
        )
        return replace(
            found,
            centre=np.linalg.solve(back, found.centre),
            centre_estimates=np.linalg.solve(back, found.centre_estimates),
        )

    def _cloud(
        self, measure: Measure, intercept: bool, scale: Any
    ) -> tuple[Cloud, tuple[str, ...], Any]:
        """Estimates, errors and norms; names; and the matrix from the user's units."""
        model = self._model
        lost = model.fits.rank < model.n_coef
        if lost.any():
            levels = [repr(v) for v, on in zip(model.moments.levels, lost, strict=True) if on]
            raise ParameterError(
                f"A certificate compares all coefficients, but {len(levels)} environments do not "
                f"identify them: {', '.join(levels[:8])}. Use a smaller representation."
            )
        names = steps.coefficient_names(model)
        raw = make_basis(model.moments.pooled(), intercept=model.intercept, standardize=False)
        back = model.basis.matrix if measure == "risk" else raw.matrix
        if scale is not None:
            units = to_float(np.atleast_1d(scale), "scale")
            if units.shape != (len(names),) or not ((units > 0) & np.isfinite(units)).all():
                raise ParameterError(
                    f"scale must hold {len(names)} positive numbers; got {scale!r}."
                )
            back = np.diag(1 / units)
        coef, vcov = model.fits.coef @ back.T, back @ self._env_vcov @ back.T
        gram = model.moments.normal_equations(intercept=model.intercept)[0]
        second = model.gram if measure == "risk" else gram
        norms = roots(measure, second / model.moments.weight[:, None, None])
        if model.intercept and not intercept:
            names, back = names[1:], back[1:, 1:]
            coef, vcov, norms = coef[:, 1:], vcov[:, 1:, 1:], norms[:, 1:, 1:]
        free = np.asarray(model.moments.n_rows - model.fits.rank, dtype=np.float64)
        return Cloud(coef, vcov, np.ascontiguousarray(norms), free), names, back

    def leave_one_env_out(self) -> pd.DataFrame:
        """Predict each environment from the others.

        Returns
        -------
        DataFrame
            ``env, n_obs``; mean squared error in the environment of the fit on the others
            (``mse_out``), of the common fit and of its own fit, unit of y squared; and
            ``psi_without``, psi of the others (NaN when only one is left).
        """
        check_is_fitted(self, "moments_")
        return steps.leave_one_out(self._model, steps.predictions_without(self._model))

    def plot(self, kind: PlotKind = "pooled", **options: Any) -> Any:
        """Plot the common coefficients, those of the environments, or what they do to psi.

        Parameters
        ----------
        kind : {"pooled", "env", "ball", "without", "residuals"}
            "pooled": the common coefficients with intervals. "env": one coefficient by environment
            with intervals, and the ball of a certificate as a band. "ball": two coefficients of
            each environment in the ball of a certificate. "without": psi when one environment is
            left out. "residuals": boxes of the residuals of the common fit by environment.
            Beyond 30 environments a selection is drawn: evenly spaced ones by size ("env",
            "residuals"), or those that change psi most ("without").
        **options : object
            ``ax`` for all; those of ``coefplot`` for "pooled"; ``term``, ``level`` and
            ``certificate`` (a CertificateResult with ``measure="coef"``; none without) for "env";
            ``terms`` (two names) and ``certificate`` (that of ``certificate()`` by default) for
            "ball"; the data ``X``, ``y`` and ``env`` as in ``fit`` for "residuals", because the
            fit keeps no rows.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ParameterError
            For an unknown kind, coefficient, or a certificate for another gap.
        """
        check_is_fitted(self, "moments_")
        check_parameters("plot", {"kind": one_of(*get_args(PlotKind))}, {"kind": kind})
        if kind == "pooled":
            return super().plot(**options)
        return getattr(self, f"_plot_{kind}")(**options)

    def _plot_env(
        self,
        term: str | None = None,
        level: float = 0.95,
        certificate: CertificateResult | None = None,
        ax: Any = None,
    ) -> Any:
        from robuststat.plot import coefplot

        name = self._term(self.env_coef_.columns[-1] if term is None else term)
        table = self.env_table(name, level)
        if certificate is None and len(table) <= _plots.ROWS:
            return coefplot(table, null=None, xlabel=name, ax=ax)
        band = None
        if certificate is not None:
            centre, radius, words = self._ball(certificate, [name])
            band = float(centre[0]), radius, words
        return _plots.plot_interval(table, name, band, ax)

    def _plot_ball(
        self,
        terms: Sequence[str] | None = None,
        certificate: CertificateResult | None = None,
        ax: Any = None,
    ) -> Any:
        names = list(self.env_coef_.columns)
        if terms is None:
            terms = names[-2:]
        if len(terms) != 2 or len(names) < 2:
            raise ParameterError(
                f"kind='ball' draws two coefficients; got terms={list(terms)!r}, of "
                f"{', '.join(names)}. With one coefficient use kind='env'."
            )
        shown = [self._term(term) for term in terms]
        found = self.certificate() if certificate is None else certificate
        return _plots.plot_ball(self.env_coef_[shown], *self._ball(found, shown), ax)

    def _plot_without(self, ax: Any = None) -> Any:
        if self.n_env_ < 3:
            raise ParameterError(
                f"kind='without' needs three environments; there are {self.n_env_}."
            )
        return _plots.plot_without(self.leave_one_env_out(), self.psi_, self.eps, ax)

    def _plot_residuals(self, X: Any, y: Any = None, env: Any = None, ax: Any = None) -> Any:
        rows = read_rows(clone(self).set_params(representation=None), X, y, env, None, None)
        design: Any = self.design_
        Z = rows.design() if self.representation is None else design.matrix(rows.X)
        return _plots.plot_residuals(rows.y - Z @ self.pooled_coef_, rows.codes, rows.levels, ax)

    def _term(self, term: str) -> str:
        if term not in self.env_coef_:
            raise ParameterError(
                f"term={term!r} is none of {', '.join(map(str, self.env_coef_.columns))}."
            )
        return term

    def _ball(
        self, certificate: CertificateResult, names: Sequence[str]
    ) -> tuple[Array, float, str]:
        """Centre and radius on some coefficients, and words."""
        missing = [name for name in names if name not in certificate.names]
        if certificate.measure != "coef" or missing:
            what = f"it does not have {missing[0]!r}" if missing else "it is not one"
            raise ParameterError(
                f"certificate= must be for measure='coef' with the coefficients drawn; {what}."
            )
        index = [certificate.names.index(name) for name in names]
        share = 100 * (1 - certificate.eta_coefficients)
        words = f"at least {share:.0f} % of new environments" if share > 0 else "certifies nothing"
        return certificate.centre[index], certificate.radius, words

    def env_table(self, term: str, level: float = 0.95) -> pd.DataFrame:
        """One coefficient by environment with intervals.

        Parameters
        ----------
        term : str
            Coefficient.
        level : float
            Confidence level.

        Returns
        -------
        DataFrame
            ``term`` (the environment), ``estimate, std_error, conf_low, conf_high``.
        """
        check_is_fitted(self, "moments_")
        check_level(level)
        term = self._term(term)
        estimate, error = self.env_coef_[term].to_numpy(), self.env_stderr_[term].to_numpy()
        free = self.moments_.n_rows - self._model.fits.rank
        reach = special.stdtrit(free, 0.5 + level / 2) * error
        return pd.DataFrame(
            {
                "term": [str(v) for v in self.env_coef_.index],
                "estimate": estimate,
                "std_error": error,
                "conf_low": estimate - reach,
                "conf_high": estimate + reach,
            }
        )
