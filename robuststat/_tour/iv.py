"""Station: an instrument that acts on the outcome by a way of its own."""

from __future__ import annotations

from robuststat import InvalidIVATE, TwoStageLeastSquares, ValidIVATE
from robuststat._tour._text import interval, paragraph
from robuststat.iv import compare_iv
from robuststat.simulation import make_invalid_iv

N_ROWS, SEED = 8_000, 2026
SHOWN = {
    "least squares": "no unmeasured confounding",
    "two-stage least squares": "no direct effect",
    "ValidIVATE": "no direct effect",
    "InvalidIVATE": "neither of these",
}


def tour(number: int) -> str:
    """Compare answers that trust the instrument with one that does not."""
    data = make_invalid_iv(N_ROWS, random_state=SEED)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    truth = float(data.truth["ATE"])
    robust = InvalidIVATE()
    table = compare_iv(
        data.X,
        data.y,
        **roles,
        estimators={
            "two-stage least squares": TwoStageLeastSquares(),
            "ValidIVATE": ValidIVATE(),
            "InvalidIVATE": robust,
        },
    ).table.set_index("estimator")
    numbers = table[["estimate", "conf_low", "conf_high"]].to_numpy(float)
    rows = [
        f"{name:24} {interval(values, truth)}   assumes {SHOWN[name]}"
        for name, values in zip(table.index.astype(str), numbers, strict=True)
    ]
    fit = robust.fit(data.X, data.y, **roles)
    question = paragraph(
        f"{number}. INVALID INSTRUMENT. {N_ROWS:,} generated people, because only generated data "
        "have a known answer here: something unmeasured moves both exposure and outcome, and the "
        "only instrument also acts on the outcome directly. The true mean effect of the exposure "
        f"is {truth:.2f}."
    )
    direct = fit.direct_effect_
    answer = paragraph(
        "* marks an interval that misses the truth. InvalidIVATE takes the effect from a "
        "difference in the variance of the exposure between the values of the instrument, and "
        f"estimates the violation itself: a direct effect of {direct.estimate:.2f} "
        f"[{direct.conf_low:.2f}, {direct.conf_high:.2f}], truth "
        f"{data.truth['direct effect of Z']:.2f}. Its summary() says when that variance differs "
        "too little to answer."
    )
    return f"{question}\n\n" + "\n".join(rows) + f"\n\n{answer}"
