"""Monte Carlo of PRESTO: coverage of debiased intervals, errors of the rare probability."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools.tools import add_constant

from robuststat import PrestoClassifier, presto_path
from robuststat.simulation import make_presto

pytestmark = pytest.mark.slow


def test_coverage_of_debiased_intervals():
    n_rep = 150
    inside, risk_inside, misses, errors = [], [], [], []
    point = np.full((1, 5), 0.5)
    for seed in np.random.SeedSequence(7).generate_state(n_rep):
        data = make_presto(n_features=5, design="dense", thresholds=(0.0, 3.0), random_state=seed)
        X, truth = data.X.to_numpy(), data.truth.to_numpy()
        top = float(presto_path(X, data.y, n_lambdas=1).lambdas[0])
        est = PrestoClassifier(lam=0.1 * top).fit(X, data.y)
        limits = est.confint().to_numpy()
        target = np.concatenate([truth[:, 0], truth[:, 1:].ravel()])
        inside.append((limits[:, 0] <= target) & (target <= limits[:, 1]))
        misses.append(est.result_.estimate - target)
        errors.append(est.std_error_)
        _, low, high = est.predict_rare(point, return_ci=True)
        rare = 1.0 - expit(truth[-1, 0] - truth[-1, 1:] @ point[0])
        risk_inside.append(bool(low[0] <= rare <= high[0]))
    hits = np.append(np.sum(inside, axis=0), np.sum(risk_inside))
    # Thirteen intervals at once: each may be off by what chance does in one of 1e4 repetitions.
    assert (hits >= stats.binom.ppf(0.5e-4, n_rep, 0.95)).all()
    # The count of so few intervals has no useful upper bound: errors must have the right size too.
    ratio = np.mean(errors, axis=0) / np.std(misses, axis=0, ddof=1)
    assert (np.abs(ratio - 1.0) < 4.0 / np.sqrt(2 * n_rep)).all(), ratio


def test_rare_probability_is_better_than_logit_and_proportional_odds():
    n_rep, errors = 14, []
    for seed in np.random.SeedSequence(11).generate_state(n_rep):
        data = make_presto(design="sparse", share=0.5, thresholds=(0, 3, 5), random_state=seed)
        X, y, truth = data.X.to_numpy(), data.y, np.asarray(data.probability)[:, -1]
        presto = PrestoClassifier(inference="none", random_state=int(seed)).fit(X, y)
        po = PrestoClassifier(lam=1e6, first_block_penalty=0.0, inference="none").fit(X, y)
        with warnings.catch_warnings(action="ignore"):
            logit = Logit((y == 4).astype(float), add_constant(X)).fit(disp=False).predict()
        risks = (presto.predict_rare(X), logit, po.predict_rare(X))
        errors.append([np.mean((p - truth) ** 2) for p in risks])
    logs = np.log(np.array(errors))
    for other in (1, 2):
        gain = logs[:, other] - logs[:, 0]
        # One-sided paired t test: the published median ratios are 0.75 and 0.65.
        assert gain.mean() > 0
        assert stats.ttest_1samp(gain, 0.0, alternative="greater").pvalue < 0.01
