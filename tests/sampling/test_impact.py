"""LawImpact: means, differences and ratios of one model under several laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robuststat import AdaptiveISCV, DataError, LawImpact, ParameterError
from robuststat.sampling._impact import impact

LAWS = {
    "low": [stats.norm(0.8, 0.3)],
    "mid": [stats.norm(1.0, 0.3)],
    "high": [stats.norm(1.2, 0.3)],
}
MEANS = np.array([0.8, 1.0, 1.2]) ** 2 + 0.09


def square(X):
    return X[:, 0] ** 2


@pytest.mark.parametrize("reference", ["mid", 1])
def test_means_differences_ratios(reference):
    est = LawImpact(6000, reference=reference, random_state=0).fit(square, LAWS)
    others = MEANS[[0, 2]]
    truth = np.concatenate([MEANS, others - MEANS[1], others / MEANS[1]])
    assert (np.abs(est.estimate_ - truth) < 6 * est.std_error_).all()
    assert est.reference_ == "mid"
    table = est.tidy()
    assert list(table["component"]) == ["mean"] * 3 + ["difference"] * 2 + ["ratio"] * 2
    assert list(table["term"]) == ["low", "mid", "high", "low", "high", "low", "high"]
    # The common sample pays: as if independent, a difference would be less precise.
    apart = np.hypot(est.std_error_[0], est.std_error_[1])
    assert est.std_error_[3] < apart
    assert est.contrast("difference:high - difference:low").estimate[0] == pytest.approx(
        est.estimate_[4] - est.estimate_[3]
    )
    assert len(est.khat_) == len(est.diagnostics_) == 3


def test_slopes_equal_central_differences():
    est = LawImpact(2000, random_state=1).fit(square, LAWS)
    by_hand = est.sampler_.transform_estimate(
        lambda m: np.concatenate([m, m[1:] - m[0], m[1:] / m[0]])
    )
    np.testing.assert_allclose(est.std_error_, by_hand.std_error, rtol=1e-5)
    np.testing.assert_allclose(est.estimate_, by_hand.estimate, rtol=1e-12)


def test_ratio_to_a_mean_near_zero_is_left_out():
    laws = {"zero": [stats.norm()], "one": [stats.norm(0.2)]}
    plain = AdaptiveISCV(10, learn_fraction=0.0)
    est = LawImpact(2000, estimator=plain, random_state=0).fit(lambda X: X[:, 0], laws)
    assert "ratio" not in set(est.tidy()["component"])
    assert "ratios are left out" in str(est.summary()).replace("\n  ", " ")


def test_options_of_the_sampler():
    sampler = AdaptiveISCV(10, controls="surrogate", sampler="rqmc")
    est = LawImpact(2000, estimator=sampler, random_state=0).fit(square, LAWS)
    assert est.sampler_.controls == "surrogate"
    assert sampler.n_budget == 10
    np.testing.assert_allclose(est.estimate_[:3], MEANS, rtol=1e-8)  # a square is in the basis


def test_refusals():
    with pytest.raises(ParameterError, match=r"1 outputs and 1 laws\. A list of one-dimensional"):
        LawImpact(2000, random_state=0).fit(square, [stats.norm()])
    with pytest.raises(ParameterError, match="3 outputs and 3 laws"):
        LawImpact(2000, random_state=0).fit(lambda X: X[:, [0, 0, 0]] ** 2, LAWS)
    with pytest.raises(ParameterError, match="reference='top' is no law; the laws are low, mid"):
        LawImpact(2000, reference="top", random_state=0).fit(square, LAWS)
    with pytest.raises(ParameterError, match="reference=3, but there are 3 laws"):
        LawImpact(2000, reference=3, random_state=0).fit(square, LAWS)
    with pytest.raises(ParameterError, match="estimator must be None or an AdaptiveISCV"):
        LawImpact(2000, estimator=3).fit(square, LAWS)
    est = LawImpact(2000, random_state=0).fit(square, LAWS)
    est.reference = "high"
    est.sampler_.result_ = est.sampler_.contrast(np.eye(3)[:2], names=["low", "mid"])
    with pytest.raises(DataError, match="The reference 'high' has no estimate"):
        est._compare(est.sampler_)
    assert impact(est.sampler_.result_, 0, "").names[:2] == ("low", "mid")
