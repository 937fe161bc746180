"""Station: statistics of records that must stay secret."""

from __future__ import annotations

import numpy as np

from robuststat import DPLocation
from robuststat._tour._text import paragraph

N_ROWS, SEED, SHARE = 1_000, 2026, 0.1
TRUTH, OUTLIER = 1.0, 40.0
OPTIONS = {"epsilon": 0.5, "bounds": (-50.0, 50.0), "rho": 0.02}


def tour(number: int) -> str:
    """Release a mean and a median of records of which a tenth is wrong."""
    x = np.random.default_rng(SEED).normal(TRUTH, 2.0, size=N_ROWS)
    x[: int(SHARE * N_ROWS)] = OUTLIER
    # No seed: this is a release as anybody should make one, and differs from run to run.
    mean = DPLocation("mean", **OPTIONS).fit(x)
    median = DPLocation("median", ci="rank", **OPTIONS).fit(x)
    low, high = median.conf_int_
    question = paragraph(
        f"{number}. PRIVATE RECORDS. {N_ROWS:,} generated records around {TRUTH:g}, of which "
        f"{SHARE:.0%} are wrong and say {OUTLIER:g}. A number is to be published from which nobody "
        f"can tell what any one record was: privacy epsilon = {OPTIONS['epsilon']:g}."
    )
    rows = [
        f"{'mean, not private':24} {x.mean():6.2f}   reveals a record to who knows the others",
        f"{'mean, private':24} {mean.estimate_:6.2f}   private, and follows the wrong records",
        f"{'median, private':24} {median.estimate_:6.2f} [{low:.2f}, {high:.2f}]   private and "
        "robust",
    ]
    answer = paragraph(
        "The noise is from the operating system, so these numbers differ from run to run. The "
        "interval is for the median of all records, wrong ones included; its summary() says what "
        "was promised and what it assumes."
    )
    return f"{question}\n\n" + "\n".join(rows) + f"\n\n{answer}"
