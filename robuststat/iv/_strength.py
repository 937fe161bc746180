"""How strong the instruments are, and whether the treatment needs them."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from robuststat._core.errors import warn
from robuststat._core.vcov import meat, sandwich, small_sample
from robuststat.iv._linear import Partialled, ReducedForm, reduced_form
from robuststat.report import format_p
from robuststat.result import InferenceResult, WaldTest

# Below this effective F a 95 % Wald interval is not to be trusted.
WEAK_F = 10.0


def strength(part: Partialled, form: ReducedForm, level: float = 0.95) -> Bunch:
    """First-stage statistics.

    Returns
    -------
    Bunch
        ``estimate, std_error, conf_low, conf_high`` (J,) of the first-stage coefficients;
        ``statistic, df, df_denom, p_value`` of the F test that all are zero; ``effective_f`` of
        Montiel Olea and Pflueger; ``partial_r2``.
    """
    J = part.n_instruments
    V = form.blocks()[1]
    first = InferenceResult(
        estimate=form.treatment,
        vcov=V,
        names=tuple(f"z{j}" for j in range(J)),
        n_obs=part.n_obs,
        df=form.df,
    )
    limits = first.confint(level=level)
    # c_a = R pi, so that the variance of c_a is R V R'.
    spread = part.R @ V @ part.R.T
    explained = float(part.ca @ part.ca)
    exact = not spread.any()
    F = np.inf if exact else float(part.ca @ np.linalg.solve(spread, part.ca)) / J
    p = stats.chi2.sf(J * F, J) if np.isinf(form.df) else stats.f.sf(F, J, form.df)
    return Bunch(
        estimate=np.array(first.estimate),
        std_error=np.array(first.std_error),
        conf_low=limits["conf_low"].to_numpy(),
        conf_high=limits["conf_high"].to_numpy(),
        statistic=F,
        df=J,
        df_denom=form.df,
        p_value=float(p),
        effective_f=np.inf if exact else explained / float(np.trace(spread)),
        partial_r2=explained / float(part.a @ part.a),
    )


def strength_lines(
    found: Bunch, advice: str = "Read the Anderson-Rubin set, not the table."
) -> list[str]:
    """First stage in words, with a warning when it is weak."""
    denominator = f", {found.df_denom:.6g}" if np.isfinite(found.df_denom) else ""
    lines = [
        f"First stage: F({found.df}{denominator}) = {found.statistic:.2f}, p-value "
        f"{format_p(found.p_value)}; effective F {found.effective_f:.2f}, partial R2 "
        f"{found.partial_r2:.4f}"
    ]
    if found.effective_f < WEAK_F:
        lines.append(f"WEAK INSTRUMENTS: effective F below {WEAK_F:g}. {advice}")
    return lines


def warn_weak(found: Bunch, advice: str) -> None:
    """Warn when the first stage is too weak for the usual intervals."""
    if found.effective_f < WEAK_F:
        warn(
            f"Weak instruments: effective F {found.effective_f:.2f} (below {WEAK_F:g}). Standard "
            f"errors and intervals are unreliable; {advice}."
        )


def exogeneity_test(part: Partialled, kind: str) -> WaldTest | None:
    """Test that least squares would have the same limit, by the residual of the first stage.

    None when the instruments determine the treatment, so that nothing can be compared.
    """
    rest = part.a - part.Q @ part.ca
    if np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(part.a):
        return None
    D = np.column_stack([part.a, rest])
    coef = np.linalg.lstsq(D, part.y, rcond=None)[0].astype(np.float64)
    resid = part.y - D @ coef
    n, n_params = part.n_obs, part.n_covariates + 2
    jacobian = -D.T @ D / n
    df, factor, B = np.inf, 1.0, -jacobian * float(resid @ resid) / n
    if kind != "iid":
        small = small_sample(kind, n_obs=n, n_params=n_params, n_clusters=part.n_clusters)  # type: ignore[arg-type]
        df, factor = small.df, small.factor
        B = meat(D * resid[:, None], clusters=part.clusters).matrix
    V = sandwich(jacobian, B, n, factor)
    names = ("effect", "least squares minus instruments")
    result = InferenceResult(estimate=coef, vcov=V, names=names, n_obs=n, df=df)
    return result.wald_test(np.array([0.0, 1.0]))


def first_stage(part: Partialled, kind: str) -> tuple[Bunch, ReducedForm]:
    """Strength of the instruments and the reduced forms it comes from."""
    form = reduced_form(part, kind)
    return strength(part, form), form
