"""Station: rare failures with several causes, and which input matters."""

from __future__ import annotations

import numpy as np

from robuststat import FailureProbability, SobolIndices
from robuststat._tour._text import interval, paragraph
from robuststat.simulation import make_failure_modes, make_ishigami

N_RUNS, SEED = 4_000, 2026


def tour(number: int) -> str:
    """Estimate small probabilities and shares of variance with few model runs."""
    modes = make_failure_modes()
    rare = FailureProbability(N_RUNS, union=True, random_state=SEED).fit(modes.func, modes.law)
    limits = rare.confint().to_numpy()
    truth = 1_000.0 * np.append(modes.probabilities, modes.probability)
    rows = []
    for j, name in enumerate(rare.result_.names):
        numbers = 1_000.0 * np.array([rare.estimate_[j], *limits[j]])
        shown = interval(numbers, truth[j])
        plain = np.sqrt(1_000.0 * truth[j] / N_RUNS)
        rows.append(f"{name:12} {truth[j]:6.2f}  {shown:22} {plain:6.2f}")
    wave = make_ishigami()
    indices = SobolIndices(2_560, random_state=SEED).fit(wave.func, wave.law)
    worst = float(np.abs(indices.first_order_ - wave.first_order).max())
    question = paragraph(
        f"{number}. FEW MODEL RUNS. A system fails from any of four causes, each less often than "
        f"once in a thousand times. What are the probabilities, when the model can be "
        f"run {N_RUNS:,} times?"
    )
    head = f"{'per thousand':12} {'truth':>6}  one adaptive sample    std. error of plain runs"
    answer = paragraph(
        "* marks an interval that misses the truth. Every cause gets its own density, and all "
        "answers come from one sample, with one covariance. Which uncertain input matters? "
        f"SobolIndices finds the shares of Ishigami's function to {worst:.5f} with 2,560 runs."
    )
    return f"{question}\n\n{head}\n" + "\n".join(rows) + f"\n\n{answer}"
