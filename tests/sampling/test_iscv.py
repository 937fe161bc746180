"""AdaptiveISCV and ReweightedExpectation: estimates, and every edge of the specification."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robuststat import (
    AdaptiveISCV,
    DataError,
    LawImpact,
    OverlapWarning,
    ParameterError,
    ReweightedExpectation,
    as_law,
)
from robuststat._core.errors import ConvergenceWarning
from robuststat.sampling import _final, _tally
from robuststat.simulation import (
    make_beam_laws,
    make_flood,
    make_g_function,
    make_gaussian_moments,
    make_ishigami,
    make_rare_event,
)
from robuststat.simulation._sampling import _beam_law, beam_deflection

SIX = 6.0  # standard errors: each check fails by chance once in 1e8 runs
INPUT = {"a": stats.norm(), "b": stats.norm(1.0, 0.5)}
COPULA = ([stats.norm(), stats.norm(1.0, 0.5)], [[1.0, 0.5], [0.5, 1.0]])
LAWS = {
    "base": COPULA,
    "shift": [stats.norm(0.3), stats.norm(1.0, 0.5)],
    "free": list(INPUT.values()),
}


def four(X):
    a, b = X.T
    return np.column_stack([np.abs(a), a * b, np.exp(0.3 * b), np.ones(len(X))])


TRUTH = np.array([np.sqrt(2 / np.pi), 0.0, np.exp(0.3 + 0.09 / 8), 1.0])


def square(X):
    return X[:, 0] ** 2


@pytest.fixture
def quiet():
    """Let a fit talk about heavy tails: these tests look at its numbers."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverlapWarning)
        yield


def assert_near(est, truth):
    z = (est.estimate_ - truth) / np.where(est.std_error_ > 0, est.std_error_, 1e-9)
    assert (np.abs(z) < SIX).all(), z


OPTIONS = [
    {},
    {"preset": "paper"},
    {"sampler": "rqmc"},
    {"family": "diagonal"},
    {"family": "student"},
    {"family": "gmm", "n_batches": 2},
    {"controls": "all"},
    {"controls": "all", "cross_fit": 5},
    {"controls": "laws"},
    {"controls": "user", "user_controls": (lambda X: X, [0.0, 1.0])},
    {"controls": "surrogate"},
    {"controls": "surrogate", "learn_fraction": 0.3, "degree": 2},
    {"controls": "surrogate", "sampler": "rqmc"},
    {"defensive": 0.1},
    {"defensive": 0.1, "sampler": "rqmc"},
    {"alpha_min": 0.2},
    {"signed": "abs"},
    {"space": "physical"},
    {"stop": "none"},
    {"max_components": 2},
    {"weights": "relative"},
    {"weights": [1.0, 2.0, 3.0, 4.0]},
    {"learn_fraction": 0.0},
    {"learn_fraction": 0.0, "sampler": "rqmc"},
]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: ", ".join(f"{k}={v}" for k, v in o.items())[:40]
)
@pytest.mark.usefixtures("quiet")
def test_every_option_estimates_the_same(options):
    est = AdaptiveISCV(4000, random_state=1, **options).fit(four, INPUT)
    assert_near(est, TRUTH)
    assert est.n_used_ <= 4000
    assert est.cov_.shape == (4, 4)
    np.testing.assert_allclose(np.sqrt(np.diag(est.cov_)), est.std_error_)
    assert list(est.feature_names_in_) == ["a", "b"]
    share = 0.1 if not options.get("sampler") and options.get("preset") != "paper" else 0.0
    share = options.get("defensive", share)
    if est.alpha_.size:
        np.testing.assert_allclose(est.alpha_.sum(), 1.0 - share)
    else:
        assert est.components_.means.shape == (0, 2)


LAW_OPTIONS = [
    {},
    {"space": "normal"},
    {"controls": "laws"},
    {"sampler": "rqmc"},
    {"defensive": 0.2},
    {"controls": "user", "user_controls": (lambda X: X[:, 0], [[0.0], [0.3], [0.0]])},
    {"controls": "surrogate"},
]


@pytest.mark.parametrize("options", LAW_OPTIONS)
@pytest.mark.usefixtures("quiet")
def test_one_function_many_laws(options):
    def model(X):
        return np.exp(0.4 * X[:, 0])

    est = AdaptiveISCV(4000, random_state=0, **options).fit(model, LAWS)
    assert_near(est, np.exp([0.08, 0.2, 0.08]))
    assert list(est.tidy()["term"]) == list(LAWS)
    # Differences profit from the common sample.
    difference = est.contrast("shift - base")
    assert abs(difference.estimate[0] - np.exp(0.2) + np.exp(0.08)) < SIX * difference.std_error[0]


@pytest.mark.usefixtures("quiet")
def test_functions_paired_with_laws():
    est = AdaptiveISCV(4000, random_state=0).fit(lambda X: X[:, [0, 0, 1]] ** 2, LAWS)
    assert_near(est, [1.0, 1.09, 1.25])
    assert list(est.tidy()["term"]) == ["phi1:base", "phi2:shift", "phi3:free"]
    with pytest.raises(ParameterError, match="2 outputs and there are 3 laws"):
        AdaptiveISCV(4000, random_state=0).fit(lambda X: X, LAWS)


@pytest.mark.usefixtures("quiet")
def test_bounded_law_never_leaves_its_support():
    seen = []

    def model(X):
        seen.append(X)
        return X[:, 0] ** 3

    for space in ("normal", "physical"):
        est = AdaptiveISCV(1000, space=space, random_state=0).fit(model, stats.uniform())
        assert_near(est, 0.25)
    X = np.vstack(seen)
    assert X.min() >= 0
    assert X.max() <= 1
    # In the input's own space, points outside are not run.
    assert est.n_runs_ < est.n_used_ == 1000


def test_start_law_reaches_what_the_law_does_not():
    def beyond(X):
        return (X[:, 0] > 4.0).astype(float)

    with pytest.raises(DataError, match=r"No mass seen: 1 of 1 .* output 0.* pass start="):
        AdaptiveISCV(2000, random_state=0).fit(beyond, stats.norm())
    est = AdaptiveISCV(2000, start=stats.norm(4.0, 1.0), random_state=0).fit(beyond, stats.norm())
    assert_near(est, stats.norm.sf(4.0))
    assert est.std_error_[0] < 0.1 * stats.norm.sf(4.0)


def test_thin_pilot_is_never_silent():
    event = make_rare_event("four_branches")
    with pytest.warns(ConvergenceWarning, match="Few points of the first batch saw mass of phi1"):
        est = AdaptiveISCV(6000, random_state=1).fit(
            lambda X: (event.func(X) <= 0).astype(float), event.law
        )
    assert "Few points of the first batch" in str(est.summary()).replace("\n  ", " ")


def test_missed_and_thin_mass_are_judged():
    from types import SimpleNamespace

    from robuststat.sampling._report import judge

    v = np.random.default_rng(0).uniform([0.8, 0.9], [1.0, 1.1], size=(1000, 2))
    sums = _tally.Diagnostics(2, 1)
    sums.update(np.ones((1000, 1)), v, v)
    pilot = SimpleNamespace(
        pilot_mass=np.ones(2), pilot_se=np.full(2, 0.01), pilot_hits=np.array([50.0, 9.0])
    )
    table = _tally.weight_table(sums, np.zeros(2, dtype=int))
    found = judge(pilot, SimpleNamespace(dead=np.zeros(2, dtype=bool)), table, sums)
    np.testing.assert_array_equal(found.missed, [True, False])
    np.testing.assert_array_equal(found.thin, [False, True])


def test_missed_mass_is_said():
    from robuststat.sampling._report import Judgement, tell

    flags = [np.array([True, False])] + [np.zeros(2, dtype=bool)] * 3
    heavy, missed, dead, thin = flags[1], flags[0], flags[2], flags[3]
    table = pd.DataFrame({"khat_values": [0.1, 0.2]})
    with pytest.warns(ConvergenceWarning, match="miss mass of u"):
        notes = tell(Judgement(heavy, missed, dead, thin), ["u", "v"], table, True)
    assert len(notes) == 1


def test_a_law_without_weight_is_nan_and_said():
    laws = [as_law(stats.norm()), as_law(stats.uniform(50.0, 1.0))]
    est = AdaptiveISCV(4000, learn_fraction=0.0, random_state=0).fit(square, laws)
    assert np.isfinite(est.estimate_).all()
    log_f = np.column_stack([np.zeros(50), np.full(50, -np.inf)])
    with pytest.warns(ConvergenceWarning, match="No point .* law of law2: the estimate is NaN"):
        given = ReweightedExpectation().fit(np.arange(50.0), log_f, np.zeros(50))
    np.testing.assert_array_equal(np.isnan(given.estimate_), [False, True])
    assert np.isnan(given.std_error_[1])
    assert list(given.tidy()["term"]) == ["law1"]
    with pytest.warns(ConvergenceWarning), pytest.raises(DataError, match="No expectation has"):
        ReweightedExpectation().fit(np.arange(50.0), log_f[:, 1], np.zeros(50))


def test_constant_function_has_variance_zero():
    est = AdaptiveISCV(1000, random_state=0).fit(lambda X: np.ones(len(X)), stats.norm())
    assert est.estimate_[0] == pytest.approx(1.0, abs=1e-12)
    assert est.std_error_[0] == pytest.approx(0.0, abs=1e-12)
    assert est.beta_[0] == 0.0


BAD = [
    ({"n_budget": 50}, r"batches of 5 runs; with 2 inputs they need 6. Use n_budget >= 60"),
    ({"n_budget": 79}, r"n_budget=79 for 4 expectations; at least 80 are needed"),
    ({"weights": [1.0, 2.0]}, r"weights has shape \(2,\) for 4 expectations"),
    ({"weights": [1.0, -1.0, 0.0, 1.0]}, "weights has 2 values that are not positive"),
    ({"weights": "loss"}, "weights must be one of 'equal', 'relative'"),
    ({"sampler": "rqmc", "controls": "all"}, "controls='all' regresses on the final sample"),
    ({"cross_fit": 5}, "cross_fit is for controls='all', 'laws' or 'user'"),
    ({"controls": "user"}, r"controls='user' and user_controls=\(function, means\) go together"),
    ({"controls": "user", "user_controls": (square, [[0.0], [1.0]])}, r"shape \(2, 1\); expected"),
    ({"controls": "user", "user_controls": (square, [0.0, 1.0])}, "2 known means"),
    ({"degree": 2}, "degree is for controls='surrogate'"),
    ({"stop": "target"}, "stop='target' and tol= go together"),
    ({"tol": 0.1}, "stop='target' and tol= go together"),
    ({"learn_fraction": 0.0, "defensive": 0.1}, "with learn_fraction=0 there is none"),
    ({"preset": "paper", "alpha_min": 0.1}, "preset='paper' is the published method"),
    ({"checkpoint": "x", "random_state": None}, "checkpoint needs random_state to be an integer"),
    ({"start": stats.norm(), "learn_fraction": 0.0}, "start= is the law of the first learning"),
    ({"start": stats.norm()}, "start has dimension 1, law has 2"),
    ({"family": "t"}, "family must be one of"),
    ({"backend": 3}, "backend must be .* a joblib backend's name or an object with map"),
    ({"callback": 3}, "callback must be .* a function"),
    ({"n_budget": 60, "n_batches": 2, "learn_fraction": 0.2, "sampler": "rqmc"}, "n_budget >= 120"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "match"), BAD, ids=lambda v: str(v)[:45])
def test_bad_options(options, match):
    options = {"n_budget": 1000, "random_state": 0} | options
    with pytest.raises((ParameterError, DataError), match=match):
        AdaptiveISCV(**options).fit(four, INPUT)


BAD_MODELS = [
    (lambda X: X.sum(), r"func returned shape \(\) for 64 rows .* vectorized=False"),
    (lambda X: np.ones(3), r"func returned shape \(3,\) for 64 rows"),
    (lambda X: np.where(X[:, 0] > 1, np.nan, 1.0), r"NaN or infinite values in \d+ of 64 runs"),
    (lambda X: np.where(X[:, 0] > 1, np.inf, 1.0), r"on_error='nan_drop'"),
    (lambda X: np.ones((len(X), 1 + len(X) // 100)), "func returned 8 outputs a row where it"),
    (lambda X: np.zeros(len(X)), "No mass seen"),
]


@pytest.mark.parametrize(("model", "match"), BAD_MODELS)
def test_bad_models(model, match):
    with pytest.raises(DataError, match=match):
        AdaptiveISCV(8000, random_state=0, batch_size=736).fit(model, stats.norm())


def test_fit_says_what_it_takes():
    with pytest.raises(ParameterError, match=re.escape("fit(func, law); got ndarray and ndarray")):
        AdaptiveISCV(100).fit(np.ones(3), np.ones(3))
    with pytest.raises(ParameterError, match="law is 3, which is not understood"):
        AdaptiveISCV(100).fit(square, 3)


def test_loops_over_rows():
    est = AdaptiveISCV(1000, vectorized=False, random_state=0).fit(
        lambda x: x[0] ** 2, stats.norm()
    )
    same = AdaptiveISCV(1000, random_state=0).fit(square, stats.norm())
    np.testing.assert_allclose(est.estimate_, same.estimate_, rtol=1e-12)


def test_failed_runs():
    def fails(X):
        if (X[:, 0] > 2.5).any():
            raise RuntimeError("diverged")
        return X[:, 0] ** 2

    with pytest.raises(RuntimeError, match="diverged"):
        AdaptiveISCV(2000, random_state=0).fit(fails, stats.norm())
    with pytest.raises(DataError, match="after 2 retries"):
        AdaptiveISCV(2000, on_error="retry", random_state=0).fit(fails, stats.norm())
    est = AdaptiveISCV(2000, on_error="nan_drop", random_state=0).fit(fails, stats.norm())
    assert est.n_failed_ > 0
    assert f"{est.n_failed_} runs failed and were left out" in str(est.summary()).replace(
        "\n  ", " "
    )
    assert est.glance()["n_dropped"][0] == est.n_final_ - est.result_.n_obs

    def flaky(X):
        return np.where(len(X) > 1, np.nan, X[:, 0] ** 2)

    retried = AdaptiveISCV(2000, on_error="retry", random_state=0).fit(flaky, stats.norm())
    plain = AdaptiveISCV(2000, random_state=0).fit(square, stats.norm())
    np.testing.assert_array_equal(retried.estimate_, plain.estimate_)


def test_everything_failed():
    def never(X):
        raise RuntimeError

    for options in ({}, {"learn_fraction": 0.0}):
        with pytest.raises(DataError, match=r"func failed at every"):
            AdaptiveISCV(500, on_error="nan_drop", random_state=0, **options).fit(
                never, stats.norm()
            )


@pytest.mark.usefixtures("quiet")
def test_results_do_not_depend_on_who_runs_the_model():
    def model(X):
        return np.column_stack([X[:, 0] ** 2, X[:, 0] ** 4])

    options = {"random_state": 3, "batch_size": 300}
    one = AdaptiveISCV(2000, **options).fit(model, stats.norm())
    two = AdaptiveISCV(2000, n_jobs=2, backend="threading", **options).fit(model, stats.norm())
    with ThreadPoolExecutor(2) as pool:
        mapped = AdaptiveISCV(2000, backend=pool, **options).fit(model, stats.norm())

    class Client:
        def map(self, call, blocks):
            return [(call, block) for block in blocks]

        def gather(self, futures):
            return [call(block) for call, block in futures]

    gathered = AdaptiveISCV(2000, backend=Client(), **options).fit(model, stats.norm())
    for other in (two, mapped, gathered):
        np.testing.assert_array_equal(other.estimate_, one.estimate_)
        np.testing.assert_array_equal(other.cov_, one.cov_)
    other = AdaptiveISCV(2000, batch_size=300, random_state=4).fit(model, stats.norm())
    assert (other.estimate_ != one.estimate_).all()


def test_unpicklable_function_says_use_threads(monkeypatch):
    import joblib

    class Pool:
        def __init__(self, **options):
            pass

        def __call__(self, tasks):
            raise pickle.PicklingError("Could not pickle the task")

    monkeypatch.setattr(joblib, "Parallel", Pool)
    with pytest.raises(ParameterError, match="Use backend='threading'"):
        AdaptiveISCV(2000, n_jobs=2, batch_size=50, random_state=0).fit(square, stats.norm())


def test_checkpoint_resumes_without_calls(tmp_path):
    path = tmp_path / "runs.ckpt"
    calls = []

    def model(X):
        calls.append(len(X))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return X[:, 0] ** 2

    options = {"random_state": 0, "batch_size": 200, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        AdaptiveISCV(2000, **options).fit(model, stats.norm())
    # A block that was half written when the run died is dropped.
    with path.open("ab") as file:
        file.write(b"\x93NUMPY half a block")
    before = sum(calls[:3])
    est = AdaptiveISCV(2000, **options).fit(model, stats.norm())
    assert est.n_runs_ == 2000 - before
    again = AdaptiveISCV(2000, **options).fit(model, stats.norm())
    assert again.n_runs_ == 0
    plain = AdaptiveISCV(2000, random_state=0, batch_size=200).fit(square, stats.norm())
    np.testing.assert_array_equal(again.estimate_, plain.estimate_)
    with pytest.raises(ParameterError, match="belongs to a run with other options"):
        AdaptiveISCV(2000, **(options | {"random_state": 1})).fit(square, stats.norm())
    with pytest.raises(ParameterError, match="belongs to a run with other options"):
        AdaptiveISCV(2000, **options).fit(square, stats.norm(0.1))
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(ParameterError, match="is not a checkpoint file"):
        AdaptiveISCV(2000, **(options | {"checkpoint": tmp_path / "other"})).fit(
            square, stats.norm()
        )
    path.write_bytes(_swapped(path.read_bytes()))
    with pytest.raises(DataError, match="holds other points for block 0"):
        AdaptiveISCV(2000, **options).fit(square, stats.norm())


def _swapped(blob):
    """Change one coordinate of the first block."""
    start = blob.index(b"\n", blob.index(b"NUMPY", blob.index(b"NUMPY") + 5)) + 1
    return blob[:start] + bytes([blob[start] ^ 1]) + blob[start + 1 :]


def test_callback_and_progress(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm", None)
    seen = []
    AdaptiveISCV(
        600, random_state=0, callback=lambda used, total: seen.append((used, total)), verbose=1
    ).fit(square, stats.norm())
    assert seen[-1] == (600, 600)
    assert "Model runs [" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "options", [{}, {"sampler": "rqmc"}, {"controls": "laws", "keep_sample": True}]
)
def test_partial_fit_adds_to_the_final_sample(options):
    est = AdaptiveISCV(2000, random_state=0, **options).fit(square, stats.norm())
    n, se = est.n_final_, est.std_error_[0]
    est.partial_fit(20_000)
    assert est.n_final_ > n + 18_000
    assert_near(est, 1.0)
    assert est.std_error_[0] < 0.7 * se
    back = pickle.loads(pickle.dumps(est))
    with pytest.raises(ParameterError, match="after unpickling, call fit"):
        back.partial_fit(10)


def test_partial_fit_refusals():
    est = AdaptiveISCV(2000, controls="laws", random_state=0).fit(square, stats.norm())
    with pytest.raises(ParameterError, match="keep_sample=True"):
        est.partial_fit(100)
    est = AdaptiveISCV(2000, sampler="rqmc", random_state=0).fit(square, stats.norm())
    with pytest.raises(ParameterError, match="n_extra=3 is less than one scramble of 128 points"):
        est.partial_fit(3)
    with pytest.raises(ParameterError, match="n_extra must be an integer"):
        est.partial_fit(2.5)


@pytest.mark.parametrize("sampler", ["mc", "rqmc"])
def test_target(sampler):
    est = AdaptiveISCV(20_000, stop="target", tol=0.02, sampler=sampler, random_state=0)
    est.fit(square, stats.norm())
    low, high = est.confint().iloc[0]
    assert est.status_ == "target reached"
    assert high - low <= 2 * 0.02 * est.estimate_[0] * (1 + 1e-9)
    assert est.n_used_ < 20_000
    short = AdaptiveISCV(800, stop="target", tol=1e-6, sampler=sampler, random_state=0)
    short.fit(square, stats.norm())
    assert short.status_ == "budget used up before the target"


def test_sample_is_kept_on_request_only():
    est = AdaptiveISCV(1000, random_state=0).fit(square, stats.norm())
    assert not hasattr(est, "X_")
    assert len(pickle.dumps(est)) < 50_000
    kept = AdaptiveISCV(1000, keep_sample=True, random_state=0).fit(square, stats.norm())
    assert kept.X_.shape == (kept.n_final_, 1)
    np.testing.assert_allclose(kept.Y_[:, 0], kept.X_[:, 0] ** 2)
    weights = np.exp(kept.log_weights_)
    again = ReweightedExpectation().fit(
        kept.Y_[:, 0], kept.log_weights_[:, 0], np.zeros(len(weights))
    )
    assert abs(again.estimate_[0] - 1.0) < SIX * again.std_error_[0]


def test_transform_and_tables():
    est = AdaptiveISCV(4000, random_state=0).fit(lambda X: X[:, [0, 0]] ** [2, 4], stats.norm())
    kurtosis = est.transform_estimate(lambda m: m[1] / m[0] ** 2, names=["kurtosis"])
    by_hand = est.transform_estimate(
        lambda m: m[1] / m[0] ** 2, lambda m: np.array([-2 * m[1] / m[0] ** 3, 1 / m[0] ** 2])
    )
    np.testing.assert_allclose(kurtosis.std_error, by_hand.std_error, rtol=1e-5)
    assert abs(kurtosis.estimate[0] - 3.0) < SIX * kurtosis.std_error[0]
    with pytest.raises(ParameterError, match=r"derivative has shape \(1, 1\)"):
        est.transform_estimate(lambda m: m[0], lambda m: [1.0])
    with pytest.raises(DataError, match="not finite"):
        est.transform_estimate(lambda m: m * np.nan)
    frame = est.to_frame()
    assert {"term", "estimate", "khat_values", "ess", "max_share"} <= set(frame)
    joint, single = est.confint(kind="simultaneous"), est.confint()
    assert (joint["conf_high"] > single["conf_high"]).all()


def test_plots():
    est = AdaptiveISCV(4000, random_state=0).fit(lambda X: X ** [2, 4, 6], stats.norm())
    ax = est.plot_weights()
    assert "k-hat" in ax.get_xlabel()
    assert len(ax.get_yticks()) == 3
    assert est.plot_history().get_yscale() == "log"
    many = AdaptiveISCV(2000, learn_fraction=0.0, random_state=0)
    many.fit(lambda X: X ** np.arange(1, 31).clip(max=3), stats.norm())
    assert "k-hat" in many.plot_weights().get_ylabel()
    with pytest.raises(ParameterError, match="Nothing was learnt"):
        many.plot_history()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("sampler", ["mc", "rqmc"])
def test_more_expectations_than_covariances(monkeypatch, sampler):
    for module in (_final, _tally):
        monkeypatch.setattr(module, "MAX_COVARIANCE", 50)
    rates = np.linspace(0.5, 2.0, 60)

    def waves(X):
        return 2.0 + np.sin(X * rates)

    options = {"sampler": sampler, "max_components": 10, "random_state": 0}
    est = AdaptiveISCV(4000, **options).fit(waves, stats.norm())
    assert est.cov_.shape == (60,)
    assert_near(est, 2.0)
    assert len(est.alpha_) == 10
    assert "60 expectations share 10 components" in str(est.summary()).replace("\n  ", " ")
    with pytest.raises(ParameterError, match="Only the variances of these 60"):
        est.transform_estimate(lambda m: m[0])


def test_names_of_a_frame():
    est = AdaptiveISCV(500, random_state=0).fit(
        lambda X: pd.DataFrame({"cost": X[:, 0] ** 2, "loss": X[:, 0] ** 4}), stats.norm()
    )
    assert list(est.tidy()["term"]) == ["cost", "loss"]


def test_laws_without_density():
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    est = AdaptiveISCV(2000, learn_fraction=0.0, random_state=0).fit(lambda X: X[:, 0], rows)
    assert_near(est, 2.0)
    plain = AdaptiveISCV(2000, learn_fraction=0.0, random_state=0)
    assert_near(plain.fit(lambda X: X[:, 0], stats.poisson(3.0)), 3.0)
    for law, kind in ((rows, "a data frame of draws"), (stats.poisson(3.0), "discrete marginals")):
        with pytest.raises(ParameterError, match=f"{kind} has no density.*learn_fraction=0"):
            AdaptiveISCV(2000, random_state=0).fit(lambda X: X[:, 0], law)


def test_rqmc_needs_transforms_and_room():
    pair = (lambda n, rng: rng.normal(size=(n, 1)), lambda X: stats.norm.logpdf(X[:, 0]))
    with pytest.raises(ParameterError, match=r"needs laws with a transform"):
        AdaptiveISCV(2000, sampler="rqmc", learn_fraction=0.0).fit(square, pair)
    est = AdaptiveISCV(4000, sampler="rqmc", random_state=0).fit(square, pair)
    assert_near(est, 1.0)
    with pytest.raises(ParameterError, match=r"has 40 points left .* needs at least 64"):
        AdaptiveISCV(40, sampler="rqmc", learn_fraction=0.0).fit(square, stats.norm())
    with pytest.raises(ParameterError, match="space='normal' needs"):
        AdaptiveISCV(2000, space="normal").fit(square, pair)
    with pytest.raises(ParameterError, match="controls='surrogate' needs exact expectations"):
        AdaptiveISCV(2000, controls="surrogate").fit(square, pair)


def test_reweighting():
    rng = np.random.default_rng(0)
    x = rng.normal(size=3000)
    Y = pd.DataFrame({"second": x**2, "third": x**3})
    log_f, log_q = stats.norm(0.3, 0.9).logpdf(x), stats.norm().logpdf(x)
    truth = [0.9, 0.027 + 3 * 0.3 * 0.81]
    for options in ({}, {"normalise": True}, {"controls": True}):
        est = ReweightedExpectation(**options).fit(Y, log_f, log_q)
        assert_near(est, truth)
        assert list(est.tidy()["term"]) == ["second", "third"]
    # Constants of the densities cancel, in the estimate and in its error.
    shifted = ReweightedExpectation(normalise=True).fit(Y, log_f - 900.0, log_q + 3.0)
    own = ReweightedExpectation(normalise=True).fit(Y, log_f, log_q)
    np.testing.assert_allclose(shifted.estimate_, own.estimate_, rtol=1e-10)
    np.testing.assert_allclose(shifted.std_error_, own.std_error_, rtol=1e-10)
    with pytest.warns(OverlapWarning, match="Draw from a law nearer to the target"):
        ReweightedExpectation().fit(Y, stats.norm(4.0).logpdf(x), log_q)


def test_reweighting_bad_input():
    fit = ReweightedExpectation().fit
    with pytest.raises(ParameterError, match=re.escape("fit(Y, log_f, log_q)")):
        fit(np.ones(3), np.ones(3))
    with pytest.raises(DataError, match=r"outputs have 1 rows with NaN.*first: 1"):
        fit([1.0, np.nan, 2.0], np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="outputs have 3 rows, the targets 2, log_q 3"):
        fit(np.ones(3), np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="log_q is not finite in 1 rows"):
        fit(np.ones(3), np.zeros(3), [0.0, -np.inf, 0.0])
    with pytest.raises(ParameterError, match="Choose one"):
        ReweightedExpectation(normalise=True, controls=True).fit(np.ones(3), np.ones(3), np.ones(3))
    with pytest.raises(ParameterError, match="1 laws as controls for 3 rows"):
        ReweightedExpectation(controls=True).fit(np.ones(3), np.ones(3), np.ones(3))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("make", [make_ishigami, make_g_function])
def test_designs_have_their_means(make):
    data = make()
    est = AdaptiveISCV(4096, learn_fraction=0.0, sampler="rqmc", random_state=0)
    est.fit(lambda X: np.column_stack([data.func(X), data.func(X) ** 2]), data.law)
    assert_near(est, [data.mean, data.variance + data.mean**2])


def test_flood_and_beam_designs():
    flood = make_flood()
    est = AdaptiveISCV(4096, learn_fraction=0.0, sampler="rqmc", random_state=0)
    est.fit(flood.func, flood.law)
    assert_near(est, -10.944493825168626)
    beam = make_beam_laws(4, n_truth=2**12, random_state=0)
    est = AdaptiveISCV(4000, controls="surrogate", random_state=0).fit(beam.func, beam.law)
    z = (est.estimate_ - beam.truth) / np.hypot(est.std_error_, beam.truth_se)
    assert (np.abs(z) < SIX).all()
    assert make_gaussian_moments(3).truth.tolist() == [1.0, 3.0, 15.0]
    for event, dim in (("linear", 3), ("parabola", 2)):
        rare = make_rare_event(event, dim)
        X = rare.law.rvs(200_000, np.random.default_rng(0))
        share = (rare.func(X) <= 0).mean()
        assert abs(share - rare.probability) < SIX * np.sqrt(rare.probability / 200_000)


AUTHORS_LAWS = Path(__file__).parents[3] / "shared/reference/multi_expectation/beam_laws100.csv"


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.skipif(not AUTHORS_LAWS.exists(), reason="the authors' laws may not be distributed")
@pytest.mark.parametrize("sampler", ["mc", "rqmc"])
def test_authors_hundred_laws(sampler):
    rows = np.genfromtxt(AUTHORS_LAWS, delimiter=",", skip_header=1)
    laws, truth = [_beam_law(row[:9]) for row in rows], rows[:, 9]
    est = AdaptiveISCV(20_000, controls="surrogate", sampler=sampler, random_state=0)
    est.fit(beam_deflection, laws)
    # Published method: 4.40e-6.
    assert ((est.estimate_ - truth) ** 2).sum() < 2e-7
    low, high = est.confint().to_numpy().T
    # One sample serves all laws, so that misses come together.
    assert ((low <= truth) & (truth <= high)).mean() > 0.7


def test_starting_points_outside_the_support_have_no_weight():
    law, start = stats.lognorm(0.5), stats.norm(1.0, 2.0)
    est = AdaptiveISCV(3000, start=start, random_state=0).fit(lambda X: X[:, 0] ** 2, law)
    assert abs(est.estimate_[0] - law.moment(2)) < 5 * est.std_error_[0]


def test_no_call_of_the_function_has_more_rows_than_asked_for():
    seen = []

    def count(X):
        seen.append(len(X))
        return X[:, 0] ** 2

    AdaptiveISCV(1000, batch_size=10, random_state=0).fit(count, stats.norm())
    AdaptiveISCV(1000, batch_size=10, learn_fraction=0.0, random_state=0).fit(count, stats.norm())
    assert max(seen) == 10


@pytest.mark.parametrize(
    ("law", "match"),
    [
        (stats.norm, "scipy.stats.norm without parameters"),
        ([stats.norm, stats.norm], "without parameters"),
        ((lambda n, rng: rng.normal(size=(n, 1)), lambda X: np.zeros(3)), "logpdf returned shape"),
    ],
)
def test_laws_that_cannot_be_used_are_named(law, match):
    with pytest.raises(ValueError, match=match):
        AdaptiveISCV(1000, random_state=0).fit(lambda X: X[:, 0], law)


def test_a_wrong_reference_costs_no_run():
    calls = []
    laws = {"now": [stats.norm()], "later": [stats.norm(0.2)]}
    with pytest.raises(ParameterError, match="typo"):
        LawImpact(1000, reference="typo").fit(lambda X: calls.append(1) or X[:, 0], laws)
    assert not calls
