"""What a fit says about itself: estimands, strength, tests, assumptions."""

from __future__ import annotations

from sklearn.utils import Bunch

from robuststat.iv._guardrails import Spread
from robuststat.iv._score_set import RatioMoments, ScoreSet

ATE = "ATE"
OVERLAP_ATE = "overlap ATE"
DIRECT = "direct effect of Z"
CONFOUNDING = "confounding covariance"
EFFECT_NAMES = {"ate": ATE, "overlap": OVERLAP_ATE, "direct": DIRECT, "confounding": CONFOUNDING}

ESTIMANDS = {
    "ate": "mean effect of the exposure on the outcome over all rows, E beta(X)",
    "overlap": (
        "effect of the exposure averaged with weights pi (1 - pi) D, which never divides by D(x)"
    ),
}
METHOD = "Effect of an exposure with an invalid instrument, multiply robust"
METHOD_NUMERIC = "Effect of an exposure with an invalid numeric instrument, constant effect"

ASSUMPTIONS = (
    "Given the covariates and what is unmeasured, exposure and instrument are as good as random; "
    "every covariate pattern has rows with Z = 0 and Z = 1.",
    "The instrument may act on the outcome directly; exclusion is not assumed.",
    "The covariance of exposure and outcome due to unmeasured causes is the same for Z = 0 and "
    "Z = 1 given the covariates (no interaction of Z and the unmeasured on either scale).",
    "The effect of the exposure does not interact with Z, nor with the unmeasured causes that "
    "drive the exposure.",
    "The variance of the exposure given the covariates differs between Z = 0 and Z = 1 (D != 0).",
    "Right models of {pi, p}, or {pi, beta, h}, or {p, beta, omega}, or {beta, omega, h}.",
)
NUMERIC_ASSUMPTIONS = (
    "Given the covariates and what is unmeasured, exposure and instrument are as good as random.",
    ASSUMPTIONS[1],
    "The covariance of exposure and outcome due to unmeasured causes does not vary with the "
    "instrument, given the covariates.",
    "The effect is the same for everybody and for every value of the instrument.",
    "The conditional variance of the exposure varies with the instrument.",
    "Right linear models of E(Z | X) and of the outcome, and a right model of the exposure's mean.",
)


def strength_line(spread: Spread | None, moments: RatioMoments) -> str:
    """How much the variance of the exposure differs between the values of the instrument."""
    text = f"Strength: mean f_D = {moments.mean[1]:.4g}, z = {moments.strength:.3g}"
    if spread is None:
        return text
    range_ = f"D(x) from {spread.low:.3g} to {spread.high:.3g}"
    return f"{text}; {range_}, negative in {100 * spread.share_negative:.1f}% of rows"


def set_line(found: ScoreSet, level: float) -> str:
    """Score set of the overlap effect."""
    return f"Score set of the overlap effect ({100 * level:g}%): {found.words()}"


def lead_line(overlap: Bunch) -> str:
    """Which number to report where the strength is low."""
    return (
        f"Lead with the overlap effect and its score set: {overlap.estimate:.4g} "
        f"(std. error {overlap.std_error:.3g})."
    )


def test_line(what: str, part: Bunch) -> str:
    """One line about a test that an estimate is zero."""
    return f"{what}: z = {part.statistic:.3g}, p-value = {part.p_value:.3g}"


def exclusion_line(imposed: Bunch, difference: Bunch) -> str:
    """Say what imposing exclusion would have given."""
    return (
        f"Imposing exclusion: ATE {imposed.estimate:.4g} (std. error {imposed.std_error:.3g}); "
        f"difference z = {difference.statistic:.3g}, p-value = {difference.p_value:.3g}"
    )
