"""Thresholdout, reduced: stored accuracies, and the promise about chosen questions.

Full size: ``python benchmarks/private_holdout.py``.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from robuststat import ReusableHoldout
from robuststat.private._entropy import SeededEntropy
from robuststat.simulation import holdout_reuse, make_holdout_reuse

REPS = 25
KS = [10, 20, 50, 100, 200, 300, 400, 500]
# 5 standard errors: 48 comparisons of each study, one false alarm in 3e4 runs.
ERRORS = 5.0


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("signal", [0, 1])
def test_thresholdout_reproduces_the_stored_study(signal, reference):
    stored = json.loads((reference / "dp_robust" / "thresholdout.json").read_text())
    assert stored["ks"] == KS
    seeds = np.random.SeedSequence(30 + signal).spawn(REPS)
    tables = {"standard": [], "gaussian": []}
    for seed in seeds:
        design, noise = seed.spawn(2)
        data = make_holdout_reuse(1000, 1000, n_signal=20 * signal, random_state=design)
        for method, found in tables.items():
            found.append(holdout_reuse(data, method, ks=KS, random_state=noise))
    for method, name in [("standard", "standard"), ("gaussian", "thresholdout")]:
        stack = np.array([t[["train", "holdout", "fresh"]].to_numpy() for t in tables[method]])
        sd = np.array(stored[f"signal{signal}_{name}_sd"])
        error = sd * math.sqrt(1 / REPS + 1 / stored["reps"])
        gap = np.abs(stack.mean(axis=0) - np.array(stored[f"signal{signal}_{name}_mean"]))
        # 1e-4: stored means are rounded.
        assert (gap <= ERRORS * error + 1e-4).all()
    frame = pd.concat(tables["gaussian"]).query("k == 500")
    standard = pd.concat(tables["standard"]).query("k == 500")
    if not signal:
        # The point of it: the plain holdout reports .63 for coins, this one close to .50.
        assert standard["holdout"].mean() > 0.6
        assert frame["holdout"].mean() < 0.55


@pytest.mark.slow
def test_the_promise_holds_for_an_adversary():
    """Questions are chosen to be right on the holdout by the answers; the bound must cover."""
    n, d, reps = 2_000, 200, 120
    misses, widest = 0, 0.0
    for seed in range(reps):
        rng = np.random.default_rng(seed)
        train, rows = rng.integers(0, 2, size=(2, n, d)).astype(float)
        ask = ReusableHoldout(0.06, 0.01, budget=4, random_state=SeededEntropy(seed))
        ask.fit(train, rows)
        known = {}
        for j in range(0, d, 10):
            if ask.n_overfit_ == 4:
                break
            known[j] = ask.query(lambda X, j=j: X[:, j])
        # The question that all answers point to: agreement with the signs they showed.
        signs = {j: 1 if answer > 0.5 else 0 for j, answer in known.items()}
        chosen = np.mean([rows[:, j] == sign for j, sign in signs.items()])
        bound = ask.generalization_bound(level=0.9)
        widest = max(widest, abs(chosen - 0.5) / bound)
        misses += abs(chosen - 0.5) > bound
    assert misses <= binom.ppf(1 - 1e-6, reps, 0.1)
    assert widest < 1.0
    assert bound < 0.5


def test_designs_are_what_they_say():
    data = make_holdout_reuse(400, 30, n_signal=10, random_state=1)
    X, y = data.train
    assert set(y) == {-1.0, 1.0}
    link = y @ X / 400
    assert link[:10].mean() == pytest.approx(6 / 20, abs=5 / math.sqrt(4_000))
    assert abs(link[10:].mean()) < 5 / math.sqrt(20 * 400)
    found = holdout_reuse(data, "laplace", ks=[5, 10], budget=100, random_state=1)
    assert found["n_overfit"].is_monotonic_increasing
    assert (found["fresh"] > 0.6).all()
    plain = holdout_reuse(data, "standard", ks=[5])
    assert plain[["n_overfit", "epsilon"]].to_numpy().tolist() == [[0, math.inf]]
    assert 0 < found["epsilon"].iloc[-1] < math.inf
    with pytest.raises(ValueError, match="method must be"):
        holdout_reuse(data, "normal")
    with pytest.raises(ValueError, match="budget must be given"):
        holdout_reuse(data, "laplace")
