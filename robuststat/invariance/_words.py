"""Sentences of the invariance family: assumptions, certificates, what a gap means."""

from __future__ import annotations

from typing import Any

_WEAK = 20  # environments below which a certificate is called weak
_SIZES = ((0.01, "negligible"), (0.05, "small"), (0.15, "moderate"))


def size_word(psi: float) -> str:
    """Word for a gap, in shares of the noise variance (a convention: .01, .05, .15)."""
    return next((word for bound, word in _SIZES if psi < bound), "large")


def psi_assumptions(kind: str) -> tuple[str, ...]:
    """Say what the interval and the tests of psi rest on."""
    rows = {
        "homo": "errors are independent, Gaussian, with one variance in all environments",
        "welch": "errors are independent, with one variance within each environment",
        "HC3": "rows are independent; variances may differ (HC3)",
        "cluster": "clusters are independent; the number of clusters is large",
    }[kind]
    exact = "exact" if kind == "homo" else "approximate"
    return (
        f"psi, its interval and its tests are {exact}: {rows}; the covariates are taken as given",
        "the environments in the data are the ones of interest (certificate() is about new ones)",
    )


def psi_lines(
    psi: float,
    interval: tuple[float, float],
    eps: float,
    p_equal: float,
    p_relevant: float,
    p_equivalent: float,
    alpha: float,
) -> list[str]:
    """How far from invariant, and whether that matters."""
    lines = [
        f"How far from invariant: psi = {psi:.4f} of the noise variance ({size_word(psi)})",
        f"  95% interval [{interval[0]:.4f}, {interval[1]:.4f}]; coefficients exactly equal: "
        f"p = {p_equal:.3g}",
    ]
    if p_equivalent <= alpha:
        verdict = f"no, psi is below eps = {eps:g} (equivalence p = {p_equivalent:.3g})"
    elif p_relevant <= alpha:
        verdict = f"yes, psi is above eps = {eps:g} (relevant violation p = {p_relevant:.3g})"
    else:
        verdict = (
            f"undecided at eps = {eps:g} (equivalence p = {p_equivalent:.3g}, relevant "
            f"p = {p_relevant:.3g})"
        )
    return [*lines, f"Does it matter: {verdict}"]


def certificate_assumptions(
    kind: str, candidates: int, d1: float, *, fixed_scale: bool
) -> tuple[str, ...]:
    """Say what a certificate rests on."""
    words = ["environments to come are drawn independently from the population of those seen"]
    if kind == "random_effects":
        words.append(
            "coefficients vary over environments without heavier tails than a t(4) or an "
            "exponential, independently of the precision of their estimates (simulated, not a "
            "theorem)"
        )
    else:
        words.append(
            f"the confidence set of an environment holds its coefficients with probability "
            f"{1 - d1:g} (Gaussian errors; needed for radius, not for radius_estimates)"
        )
        words.append("numbers of rows are drawn with the environments")
    if kind == "split":
        words.append("the ball does not depend on the environments that judge it")
    if candidates > 1:
        words.append(f"at most {candidates} representations were searched (union bound)")
    if not fixed_scale:
        words.append("units of the covariates were not chosen from these data")
    return tuple(words)


def certificate_text(found: Any) -> str:
    """Return the statement of a certificate, its reservations and assumptions."""
    confidence = f"With {100 * (1 - found.delta):g}% confidence"
    what = {
        "coef": "coefficients within {r:.4g} of the common ones",
        "risk": "an excess squared error of at most {r:.4g} at the common coefficients",
        "grad": "a gradient of the squared error of at most {r:.4g} at the common coefficients",
    }[found.measure]
    if found.eta_coefficients >= 1 and found.eta >= 1:
        lines = [
            f"{found.n_env} environments certify nothing: at least {found.n_free} are needed to "
            "determine the ball, and more to judge it (eta = 1)."
        ]
    else:
        share = 100 * (1 - found.eta_coefficients)
        lines = [
            f"{confidence}, at least {share:.1f}% of new environments from the same population "
            f"have {what.format(r=found.radius)}."
        ]
        if found.kind != "random_effects":
            lines.append(
                f"Of their estimates from equally large samples at least "
                f"{100 * (1 - found.eta):.1f}% are within {found.radius_estimates:.4g} by the same "
                "measure."
            )
        else:
            lines.append(
                f"Sampling noise was taken out: the coefficients themselves vary by "
                f"{found.spread:.4g} (root mean square); estimates reach "
                f"{found.radius_estimates:.4g}."
            )
    if found.n_env < _WEAK:
        lines.append(
            f"Weak: {found.n_env} environments only; {found.n_env_needed} would bring eta to 0.1."
        )
    return "\n".join([*lines, "Assumes:", *(f"  - {text}" for text in found.assumptions)])


def diagnostics_of_test(
    est: Any, null: Any, data: Any, dropped: tuple[Any, ...], deficient: list[Any]
) -> dict[str, Any]:
    """Diagnostics of InvarianceTest: the answer in words above the table, notes below it."""
    chow = est.chow_
    lines = psi_lines(
        est.psi_,
        est.psi_conf_int_,
        est.eps,
        chow.p_value,
        est.pvalue_relevant_,
        est.pvalue_equivalence_,
        est.alpha,
    )
    verdict = "rejected" if null.p_value <= est.alpha else "not rejected"
    lines.append(
        f"Strong invariance (test {est.test_!r}, error variance included): "
        f"p = {null.p_value:.3g}, {verdict} at {est.alpha:g}"
    )
    if (est.measure, est.aggregate) != ("risk", "average"):
        lines.append(f"Gap ({est.measure}, {est.aggregate}): {est.gap_:.4g}")
    lines.append(
        f"Noise variance {est.sigma2_:.4g}, largest over smallest environment "
        f"{est.sigma2_ratio_:.3g}"
        + ("" if est.variance_pvalue_ != est.variance_pvalue_ else _spread_words(est))
    )
    notes = []
    if est.error == "homo" and est.variance_pvalue_ <= est.alpha:
        notes.append(
            "error variances differ between environments (Brown-Forsythe): error='welch' allows "
            "for that. The choice should not depend on this test."
        )
    if dropped:
        notes.append(f"{len(dropped)} environments with too few rows were left out.")
    if deficient:
        notes.append(
            f"{len(deficient)} environments do not identify all coefficients; degrees of freedom "
            "are those of the identified ones."
        )
    if est.n_env_ >= 3:
        notes.append("what to expect in the next environment: certificate().")
    return {
        "n_dropped": data.n_dropped,
        "n_dropped_by": data.n_dropped_by,
        "counts": {"Environments": est.n_env_},
        "leading": lines,
        "notes": notes,
        "assumptions": list(psi_assumptions(est.error)),
        "se_note": "valid for the common coefficients if they are common",
        "glance": {"n_env": est.n_env_, "sigma": est.sigma2_**0.5, "f_statistic": chow.statistic},
    }


def _spread_words(est: Any) -> str:
    return f" (Brown-Forsythe p = {est.variance_pvalue_:.3g})"
