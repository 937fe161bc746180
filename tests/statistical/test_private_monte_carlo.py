"""Private location by simulation: error and coverage beside the stored study.

`benchmarks/private_utility.py` runs the same designs at length. The seed is 0 throughout. Limits
are those of the Monte Carlo error of both studies: a coverage may fall short by four binomial
standard deviations, and a root mean squared error of R draws has a relative error of about
1/sqrt(2 R).
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from robuststat import DPLocation
from robuststat.private._entropy import SeededEntropy

pytestmark = pytest.mark.slow


def load(reference, name):
    return json.loads((reference / "dp_robust" / name).read_text())


def releases(est, draws):
    with warnings.catch_warnings(action="ignore"):  # too few records, on purpose
        return [est.fit(x) for x in draws]


@pytest.mark.parametrize("kind", ["step", "ramp"])
def test_error_of_the_median(reference, kind):
    """400 stored and 150 own draws: clean and contaminated, feasible and not."""
    reps = 150
    for row in load(reference, "utility.json"):
        n, rng = row["n"], np.random.default_rng(0)
        est = DPLocation(
            epsilon=row["eps"],
            bounds=(-50, 50),
            rho=0.02,
            kind=kind,
            random_state=SeededEntropy(0),
        )
        values = []
        for _ in range(reps):
            x = rng.normal(1, 2, n)
            x[: round(row["cont"] * n)] = 40.0
            values += [fit.estimate_ for fit in releases(est, [x])]
        found = np.sqrt(np.mean((np.array(values) - 1) ** 2))
        # The squared error is not normal: kurtosis up to 6 where the release is mostly noise.
        limit = 4 * np.sqrt(1 / (2 * reps) + 1 / (2 * 400)) * 1.5
        assert found == pytest.approx(row[kind], rel=limit), row


def test_coverage_of_rank_intervals(reference):
    reps = 150
    for row in load(reference, "ci_coverage.json")["rank_adjusted_median_ci"]:
        rng, truth = np.random.default_rng(0), float(row["dist"] == "lognorm")
        est = DPLocation(
            epsilon=row["eps"],
            bounds=(-20, 20),
            rho=0.005,
            grid=2.0**-12,
            ci="rank",
            ci_share=1.0,
            random_state=SeededEntropy(0),
        )
        draw = rng.normal if row["dist"] == "norm" else rng.lognormal
        found = np.array([est.fit(draw(size=row["n"])).conf_int_ for _ in range(reps)])
        covered = np.mean((found[:, 0] <= truth) & (truth <= found[:, 1]))
        assert covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / reps)
        # The bound is conservative; widths have a relative spread of a third, and one rank differs
        # with the ball of the grid.
        width = np.mean(found[:, 1] - found[:, 0])
        assert width == pytest.approx(row["mean_width"], rel=4 / 3 / np.sqrt(reps) + 0.03)


def test_coverage_of_normal_intervals(reference):
    reps = 400
    for row in load(reference, "ci_coverage.json")["normal_mean_known_sigma"]:
        rng = np.random.default_rng(0)
        est = DPLocation(
            "mean",
            epsilon=row["eps"],
            bounds=(-50, 50),
            rho=0.001,
            scale=1.0,
            ci="normal",
            random_state=SeededEntropy(0),
        )
        found = np.array([est.fit(rng.normal(size=row["n"])).conf_int_ for _ in range(reps)])
        covered = np.mean((found[:, 0] <= 0) & (found[:, 1] >= 0))
        assert abs(covered - 0.95) <= 4 * np.sqrt(0.95 * 0.05 / reps)
        # Rounding to the grid of 2**-10 widens the interval by a step at most.
        width = np.mean(found[:, 1] - found[:, 0])
        assert width == pytest.approx(row["width"], abs=1.5 * 2**-10 + 1e-3)


@pytest.mark.parametrize("estimator", ["median", "trimmed"])
def test_coverage_of_bootstrap_intervals(estimator):
    """Asymptotic: no more than four standard deviations below, at n = 1,000."""
    reps, rng = 120, np.random.default_rng(0)
    est = DPLocation(
        estimator,
        epsilon=1.0,
        bounds=(-50, 50),
        rho=0.02,
        scale=2.0,
        ci="bootstrap",
        n_boot=150,
        random_state=SeededEntropy(0),
    )
    found = np.array([est.fit(rng.normal(1, 2, 1000)).conf_int_ for _ in range(reps)])
    covered = np.mean((found[:, 0] <= 1) & (found[:, 1] >= 1))
    assert covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / reps)
    assert np.mean(np.diff(found)) < 0.45
