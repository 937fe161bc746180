"""InvalidIVDML: what is out of fold, what is estimated from it, and bad input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from robuststat import (
    InvalidIVATE,
    InvalidIVDML,
    OneSidedNoncomplianceWarning,
    WeakHeteroscedasticityWarning,
)
from robuststat._core.errors import (
    CollinearityError,
    DataError,
    IdentificationError,
    ParameterError,
    RobuststatError,
)
from robuststat.iv._crossfit import Repetition
from robuststat.iv._dml_report import effects
from robuststat.iv._scores import make_rows
from robuststat.simulation import make_invalid_iv, make_weak_iv

SAME = 1e-10  # the same arithmetic on the same numbers
ROLES = {"treatment": "a", "instruments": "z"}
LOGIT = make_pipeline(StandardScaler(), LogisticRegression(C=1e4))
LINEAR = {
    "learner_instrument": LOGIT,
    "learner_treatment": LOGIT,
    "learner_outcome": LinearRegression(),
    "learner_direct": LinearRegression(),
    "learner_confounding": LinearRegression(),
}


def frame_of(draw):
    return draw.X.assign(y=draw.y, a=draw.treatment, z=draw.instruments)


FRAME = frame_of(make_invalid_iv(2000, random_state=5))
N = len(FRAME)


def fit(frame=FRAME, *, sample_weight=None, clusters=None, y="y", **options):
    options = {"cv": 2, "random_state": 0} | LINEAR | options
    est = InvalidIVDML(**options)
    return est.fit(frame, y, sample_weight=sample_weight, clusters=clusters, **ROLES)


BASE = fit(keep_influence=True)


def test_estimate_is_the_mean_of_the_score():
    v = {name: column.to_numpy() for name, column in BASE.nuisances_.items()}
    y, a, z = (FRAME[name].to_numpy() for name in ("y", "a", "z"))
    p, h = (np.where(z == 1, v[f"{name}1"], v[f"{name}0"]) for name in ("p", "h"))
    s = np.where(z == 1, 1 / v["pi"], -1 / (1 - v["pi"]))
    residual = (a - p) * (y - v["beta"] * a - h) - v["omega"]
    phi = v["beta"] + s / v["D"] * residual
    assert_allclose(BASE.ate_, phi.mean(), rtol=SAME)
    assert_allclose(BASE.std_error_[0], phi.std() / np.sqrt(N), rtol=SAME)
    direct = (
        v["h1"]
        - v["h0"]
        + s * (y - v["beta"] * a - h)
        - (v["p1"] - v["p0"]) * s / v["D"] * residual
    )
    assert_allclose(BASE.direct_effect_.estimate, direct.mean(), rtol=SAME)
    psi = BASE.influence_
    assert_allclose(psi.T @ psi / N**2, BASE.vcov_, rtol=1e-8, atol=1e-14)
    # beta(X) is shown by its best linear approximation: least squares of the score.
    design = np.column_stack([np.ones(N), FRAME[["x1", "x2", "x3"]]])
    coef, *_ = np.linalg.lstsq(design, phi, rcond=None)
    assert_allclose(BASE.effect_.estimate, coef, rtol=1e-8)
    assert_allclose(BASE.predict(FRAME[:3]), design[:3] @ coef, rtol=1e-8)


def test_nothing_of_a_fold_reaches_its_own_predictions():
    half = N // 2
    rows = np.arange(N)
    folds = [(rows[half:], rows[:half]), (rows[:half], rows[half:])]
    spoilt = FRAME.copy()
    rng = np.random.default_rng(0)
    spoilt.loc[: half - 1, "y"] = 50.0 * rng.standard_normal(half)
    spoilt.loc[: half - 1, "a"] = (rng.random(half) < 0.2 + 0.3 * spoilt["z"][:half]).astype(float)
    before, after = (fit(frame, cv=folds, keep_influence=True) for frame in (FRAME, spoilt))
    assert_allclose(after.nuisances_[:half], before.nuisances_[:half], rtol=1e-9)
    gap = np.abs(after.nuisances_[half:] - before.nuisances_[half:]).max()
    assert (gap[["p1", "beta", "omega", "h1"]] > 1e-3).all()


@pytest.mark.parametrize("effect_model", ["linear", "constant", DecisionTreeRegressor(max_depth=2)])
def test_seed_and_workers(effect_model):
    first = fit(effect_model=effect_model, n_rep=2)
    again = fit(effect_model=effect_model, n_rep=2, n_jobs=2)
    assert_allclose(again.result_.estimate, first.result_.estimate, rtol=0)
    other = fit(effect_model=effect_model, n_rep=2, random_state=1)
    assert (other.result_.estimate != first.result_.estimate).all()


def test_repetitions_are_medians():
    est = fit(n_rep=3)
    assert est.repeat_params_.shape == (3, 4)
    assert_allclose(est.result_.estimate, est.repeat_params_.median(), rtol=SAME)
    assert len(est.losses_) == 3
    assert list(est.losses_) == ["pi", "p0", "m0", "p1", "m1"]
    assert est.glance()["n_rep"][0] == 3
    spread = (est.repeat_params_["ATE"] - est.ate_).abs().median()
    assert est.std_error_[0] >= spread


@pytest.mark.filterwarnings("ignore:Heteroscedasticity of the exposure")
@pytest.mark.parametrize(
    ("design", "learners"), [("standard", LINEAR), ("nonlinear", {}), ("strong", {})]
)
def test_truth_is_covered(design, learners):
    draw = make_invalid_iv(8000, design, random_state=2)
    est = InvalidIVDML(cv=3, random_state=0, **learners).fit(
        draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments
    )
    table = est.tidy().set_index("term")
    for term, value in draw.truth.items():
        gap = abs(table.loc[term, "estimate"] - value) / table.loc[term, "std_error"]
        assert gap < 4, f"{term}: {gap:.1f} standard errors off"


def test_right_parametric_learners_give_the_parametric_answer():
    # Both estimate the same effect with the same influence function; folds cost a few per cent.
    draw = make_invalid_iv(8000, random_state=2)
    frame = frame_of(draw)
    closed = InvalidIVATE(vcov="eif").fit(frame, "y", **ROLES)
    crossed = fit(frame, cv=5)
    gap = np.abs(crossed.result_.estimate - closed.result_.estimate)
    assert (gap < 0.5 * closed.std_error_).all()
    assert_allclose(crossed.std_error_, closed.std_error_, rtol=0.15)


def test_one_sided_noncompliance():
    draw = make_invalid_iv(6000, "one_sided", random_state=2)
    with pytest.warns(OneSidedNoncomplianceWarning):
        est = fit(frame_of(draw))
    assert list(est.result_.names) == ["ATE", "overlap ATE", "direct effect of Z"]
    gap = np.abs(est.result_.estimate - draw.truth.to_numpy()) / est.std_error_
    assert (gap < 4).all()


def test_overlap_alone():
    alone = fit(estimand="overlap")
    assert alone.result_.names == ("overlap ATE",)
    assert_allclose(alone.ate_, BASE.overlap_effect_.estimate, rtol=SAME)
    assert_allclose(alone.predict(FRAME[:2]), np.full(2, alone.ate_))
    assert_allclose(alone.score_confint(), BASE.score_confint(), rtol=SAME)


def test_weights_and_clusters():
    same = fit(sample_weight=np.full(N, 2.0))
    assert_allclose(same.result_.estimate, BASE.result_.estimate, rtol=1e-6)
    assert_allclose(same.vcov_, BASE.vcov_, rtol=1e-5, atol=1e-9)
    weighted = fit(sample_weight=1.0 + (FRAME["x1"] > 0))
    assert abs(weighted.ate_ - BASE.ate_) > 1e-3
    groups = np.arange(N) // 4
    clustered = fit(clusters=groups)
    assert clustered.result_.vcov_type == "CR0"
    assert clustered.result_.n_clusters == 500


def test_weakness_and_regressors_are_said():
    with pytest.warns(WeakHeteroscedasticityWarning):
        est = fit(frame_of(make_weak_iv(2000, random_state=1)), min_abs_d=0.009)
    text = " ".join(str(est.summary()).split())
    assert "Lead with the overlap effect" in text
    assert f"raised to min_abs_d=0.009 in {est.result_.diagnostics['n_d_bounded']} rows" in text
    with pytest.warns(UserWarning, match="learner_treatment predict probabilities"):
        est = fit(learner_treatment=LinearRegression(), keep_influence=True)
    assert est.nuisances_[["p0", "p1"]].to_numpy().min() >= 0
    assert "Learners: LogisticRegression for instrument; LinearRegression for" in str(est.summary())


CASES = {
    "numeric exposure": (
        lambda: fit(FRAME.assign(a=FRAME["x1"])),
        DataError,
        "needs 0/1 treatment. Use InvalidIVATE",
    ),
    "numeric instrument": (
        lambda: fit(FRAME.assign(z=FRAME["x1"])),
        DataError,
        "needs 0/1 instruments",
    ),
    "instrument is exposure": (
        lambda: fit(FRAME.assign(a=FRAME["z"])),
        DataError,
        "determines the exposure",
    ),
    "nan": (
        lambda: fit(FRAME.assign(x2=FRAME["x2"].where(FRAME.index != 5))),
        DataError,
        "'x2' has 1 missing values",
    ),
    "inf": (
        lambda: fit(FRAME.assign(x2=FRAME["x2"].where(FRAME.index != 5, np.inf))),
        DataError,
        "'x2' of X holds infinity",
    ),
    "no covariates": (lambda: fit(FRAME[["y", "a", "z"]]), DataError, "nothing to learn"),
    "collinear": (
        lambda: fit(FRAME.assign(x4=FRAME["x1"])),
        CollinearityError,
        "columns x4 of X are linear combinations",
    ),
    "classifier of numbers": (
        lambda: fit(learner_direct=LogisticRegression()),
        ParameterError,
        "learner_direct=.* is a classifier",
    ),
    "classifier of the effect": (
        lambda: fit(effect_model=LogisticRegression()),
        ParameterError,
        "effect_model=.* is a classifier",
    ),
    "no probabilities": (
        lambda: fit(learner_instrument=RidgeClassifier()),
        ParameterError,
        "has no predict_proba",
    ),
    "learner by name": (
        lambda: fit(learner_outcome="forest"),
        ParameterError,
        "learner_outcome must be None or a scikit-learn estimator",
    ),
    "effect_model": (lambda: fit(effect_model="spline"), ParameterError, "effect_model must be"),
    "vcov": (lambda: fit(vcov="sandwich"), ParameterError, "vcov must be"),
    "eif with clusters": (
        lambda: fit(vcov="eif", clusters=np.arange(N) // 2),
        ParameterError,
        "vcov='eif' and clusters=given",
    ),
    "cluster without": (lambda: fit(vcov="cluster"), ParameterError, "clusters=None do not fit"),
    "cv": (lambda: fit(cv=1), ParameterError, "cv must be"),
    "a cell too small": (
        lambda: fit(FRAME.assign(a=np.where(FRAME["z"] == 0, np.arange(N) < 2, FRAME["a"]))),
        DataError,
        "'p0' has one class only .*Use fewer folds",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_message(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, RobuststatError)


def test_no_difference_of_variances():
    constant = DummyRegressor(strategy="constant", constant=0.5)
    with pytest.raises(IdentificationError, match="singular in a training part"):
        fit(learner_treatment=constant, min_abs_d=0.0)
    one, half = np.ones(4), np.full(4, 0.5)
    z = np.array([0.0, 1.0, 0.0, 1.0])
    values = {name: one for name in ("y", "a", "beta", "omega", "h0", "h1")}
    values |= {name: half for name in ("pi", "p0", "p1", "v0", "v1")}
    rows = make_rows(**values, z=z, D=np.array([0.1, 0.0, 0.1, 0.1]))
    with pytest.raises(IdentificationError, match=r"D\(x\) is zero in 1 rows\. Set min_abs_d"):
        effects(Repetition(rows, rows.D, half, {}), ("ate",), None, None)
