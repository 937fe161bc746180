"""SelectiveInvalidIVDML: what is chosen, what is estimated with it, and bad input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from robuststat import InvalidIVDML, OneSidedNoncomplianceWarning, SelectiveInvalidIVDML
from robuststat._core.errors import DataError, IdentificationError, ParameterError
from robuststat.iv._candidates import Learnt, rows_of, unit_weights
from robuststat.iv._choice import choose, repetition_of, split_rows
from robuststat.iv._crossfit import Sample
from robuststat.iv._scores import FUNCTIONALS, overlap_moments
from robuststat.iv._tuples import KEYS, Candidates
from robuststat.simulation import make_invalid_iv

pytestmark = pytest.mark.filterwarnings("ignore:Heteroscedasticity of the exposure")
SAME = 1e-10
ROLES = {"treatment": "a", "instruments": "z"}
LOGIT = make_pipeline(StandardScaler(), LogisticRegression(C=1e4))
TREE = DecisionTreeClassifier(min_samples_leaf=150)
CANDIDATES = {
    "instrument": [LOGIT, ("nothing", DummyClassifier(strategy="prior"))],
    "treatment": [LOGIT, TREE],
    "effect": ["constant", "linear"],
    "direct": [LinearRegression(), DecisionTreeRegressor(min_samples_leaf=150)],
    "confounding": [DummyRegressor(), LinearRegression()],
}
ONE = {key: entries[:1] for key, entries in CANDIDATES.items()}


def frame_of(draw):
    return draw.X.assign(y=draw.y, a=draw.treatment, z=draw.instruments)


FRAME = frame_of(make_invalid_iv(2400, random_state=5))
N = len(FRAME)


def fit(frame=FRAME, candidates=CANDIDATES, *, sample_weight=None, clusters=None, **options):
    options = {"cv": 3, "random_state": 0} | options
    est = SelectiveInvalidIVDML(candidates, **options)
    return est.fit(frame, "y", sample_weight=sample_weight, clusters=clusters, **ROLES)


BASE = fit(keep_influence=True)


def row_of(est, chosen):
    table = est.pseudo_risk()
    same = np.logical_and.reduce([table[key] == name for key, name in chosen.items()])
    (row,) = np.flatnonzero(same)
    return row, table.iloc[row]


def test_table_and_choice():
    table = BASE.pseudo_risk()
    assert len(table) == BASE.n_tuples_ == 32
    assert BASE.n_splits_ == 3
    assert not table[[*KEYS]].duplicated().any()
    assert table["mixed"].is_monotonic_increasing
    assert_allclose(table[["M1", "M2", "M3", "M4"]].sum(axis=1), table["mixed"], rtol=SAME)
    # No tuple can be farther from another than the diameter.
    assert (table["minimax"] <= table[["M1", "M2", "M3", "M4"]].max(axis=1) * (1 + SAME)).all()
    assert row_of(BASE, BASE.selected_)[0] == 0
    assert_allclose(BASE.ate_, table["estimate"][0], rtol=SAME)
    assert BASE.candidates_.groupby("nuisance")["selected"].sum().eq(1).all()
    assert_allclose(BASE.candidates_["risk"].min(), table["mixed"][0], rtol=SAME)
    assert BASE.candidates_["candidate"].tolist()[:2] == ["LogisticRegression", "nothing"]
    assert BASE.pseudo_risk(3).equals(table[:3])


@pytest.mark.parametrize("options", [{"criterion": "minimax"}, {"combine": "cv"}])
def test_other_choices_of_the_same_learners(options):
    est = fit(**options)
    wanted = est.cv_selected_ if "combine" in options else est.selected_
    assert est.selected_ == wanted
    _, row = row_of(est, wanted)
    assert_allclose(est.ate_, row["estimate"], rtol=SAME)
    # The same learners were fitted: the table holds the same numbers.
    again = BASE.pseudo_risk().sort_values([*KEYS], ignore_index=True)
    table = est.pseudo_risk().sort_values([*KEYS], ignore_index=True)
    assert_allclose(table["estimate"], again["estimate"], rtol=SAME)
    if "criterion" in options:
        assert row["minimax"] == table["minimax"].min()
    else:
        best = est.candidates_.loc[est.candidates_.groupby("nuisance")["loss"].idxmin()]
        assert best["selected"].all()


def test_softmax_averages_the_estimates():
    est = fit(combine="softmax", softmax_rate=5.0, keep_influence=True)
    table = est.pseudo_risk()
    assert_allclose(table["weight"].sum(), 1.0)
    assert table["weight"].is_monotonic_decreasing
    assert_allclose(est.ate_, table["weight"] @ table["estimate"], rtol=SAME)
    psi = est.influence_
    assert_allclose(psi.mean(axis=0), 0.0, atol=1e-10)
    assert_allclose(est.vcov_, psi.T @ psi / N**2, rtol=1e-8, atol=1e-14)
    sharp = fit(combine="softmax", softmax_rate=1e6)
    assert_allclose(sharp.result_.estimate, BASE.result_.estimate, rtol=SAME)
    assert_allclose(sharp.vcov_, BASE.vcov_, rtol=1e-8)


def small_problem(min_abs_d=0.02):
    """Sixty rows with random nuisance values of several candidates."""
    rng = np.random.default_rng(0)
    n, counts = 60, (2, 3, 2, 2, 2)
    probabilities = [rng.uniform(0.25, 0.75, (k, n)) for k in (2, 3, 3)]
    values = Candidates(*probabilities, *(rng.standard_normal((2, n)) for _ in range(4)))
    y, a, z = rng.standard_normal(n), (rng.random(n) < 0.5) * 1.0, (rng.random(n) < 0.5) * 1.0
    one = np.ones((n, 1))
    sample = Sample(one, one, y, a, z, None, None, (None, None), 0.01, min_abs_d)
    losses = {key: rng.random(k) for key, k in zip(KEYS, counts, strict=True)}
    return sample, Learnt(values, np.arange(n) % 2, losses)


def test_scores_of_a_mixture_are_averages_over_tuples():
    sample, learnt = small_problem()
    values, counts = learnt.values, learnt.values.shape
    choice = choose(sample, [learnt], criterion="mixed", combine="softmax", rate=3.0)
    rep = repetition_of(sample, learnt, choice)
    scores = [part.score for part in FUNCTIONALS.values()]
    scores += [lambda rows, j=j: overlap_moments(rows)[j] for j in (0, 1)]
    for score in scores:
        expected = sum(
            choice.weights[t] * score(rows_of(sample, values, unit_weights(values, t)))
            for t in np.ndindex(counts)
        )
        assert_allclose(rep.average(score), expected, rtol=1e-9, atol=1e-9)


def test_one_candidate_each_is_the_cross_fitted_estimator():
    # The same stages; folds and seeds of the trees aside, which linear learners do not have.
    draw = make_invalid_iv(8000, random_state=2)
    learners = {f"learner_{key}": entries[0] for key, entries in ONE.items() if key != "effect"}
    learners |= {"learner_outcome": ONE["direct"][0], "effect_model": "constant"}
    crossed = InvalidIVDML(cv=3, random_state=0, **learners).fit(frame_of(draw), "y", **ROLES)
    selected = fit(frame_of(draw), ONE)
    assert selected.n_tuples_ == 1
    assert selected.pseudo_risk_["mixed"][0] == 0.0
    gap = np.abs(selected.result_.estimate - crossed.result_.estimate)
    assert (gap < 0.3 * crossed.std_error_).all()
    assert_allclose(selected.std_error_, crossed.std_error_, rtol=0.1)


def test_seed_workers_and_repetitions():
    first, again = fit(n_rep=2), fit(n_rep=2, n_jobs=2)
    assert first.pseudo_risk_.equals(again.pseudo_risk_)
    assert_allclose(again.result_.estimate, first.result_.estimate, rtol=0)
    assert first.n_splits_ == 6
    assert first.repeat_params_.shape == (2, 4)
    assert_allclose(first.ate_, first.repeat_params_["ATE"].median(), rtol=SAME)
    assert fit(random_state=1).ate_ != BASE.ate_


@pytest.mark.parametrize("combine", ["select", "softmax"])
def test_honest_split_selects_on_other_rows(combine):
    est = fit(selection_split=0.4, combine=combine, keep_influence=True)
    assert est.n_selection_ == 960
    assert est.result_.n_obs == len(est.influence_) == 1440
    text = " ".join(str(est.summary()).split())
    assert "Learners were selected on 960 other rows." in text
    part = int(est.result_.diagnostics["counts"]["Z = 1"])
    assert abs(part - 0.6 * FRAME["z"].sum()) <= 3
    # The estimate does not come from the table of the selection.
    assert abs(est.ate_ - est.pseudo_risk_["estimate"][0]) > 1e-3


def test_split_keeps_cells_and_clusters():
    sample = Sample(
        np.zeros((N, 1)),
        np.ones((N, 1)),
        *(FRAME[name].to_numpy() for name in ("y", "a", "z")),
        *(None, np.arange(N) // 8, (None, None), 0.01, 0.01),
    )
    first, last = split_rows(sample, 0.5, np.random.default_rng(0))
    assert_allclose(np.sort(np.concatenate([first, last])), np.arange(N))
    assert np.intersect1d(first // 8, last // 8).size == 0
    assert abs(first.size - N / 2) <= 8
    with pytest.raises(DataError, match=r"selection_split=0\.001 leaves no rows"):
        split_rows(sample, 0.001, np.random.default_rng(0))


def test_weights_and_clusters():
    same = fit(sample_weight=np.full(N, 2.0))
    assert_allclose(same.result_.estimate, BASE.result_.estimate, rtol=1e-5)
    weighted = fit(sample_weight=1.0 + (FRAME["x1"] > 0))
    assert abs(weighted.ate_ - BASE.ate_) > 1e-3
    _, row = row_of(weighted, weighted.selected_)
    assert_allclose(weighted.ate_, row["estimate"], rtol=SAME)
    clustered = fit(clusters=np.arange(N) // 4, selection_split=0.5)
    assert clustered.result_.vcov_type == "CR0"
    assert clustered.result_.n_clusters == 300


def test_one_sided_noncompliance():
    draw = make_invalid_iv(6000, "one_sided", random_state=2)
    with pytest.warns(OneSidedNoncomplianceWarning):
        est = fit(frame_of(draw))
    assert est.selected_["confounding"] == "zero by assumption"
    assert est.n_tuples_ == 16
    gap = np.abs(est.result_.estimate - draw.truth.to_numpy()) / est.std_error_
    assert (gap < 4).all()


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    ax = BASE.plot_pseudo_risk()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["out-of-fold losses", "smallest mixed risk"]
    marked = ax.lines[-1].get_xydata()[0]
    assert_allclose(marked, BASE.pseudo_risk_.loc[0, ["mixed", "estimate"]].astype(float))
    ax.figure.clear()


CASES = {
    "not a dict": (lambda: fit(candidates=[LOGIT]), ParameterError, "candidates must be None or"),
    "unknown key": (
        lambda: fit(candidates={"z": [LOGIT]}),
        ParameterError,
        "no key 'z': the keys are instrument, treatment",
    ),
    "empty": (
        lambda: fit(candidates=CANDIDATES | {"direct": []}),
        ParameterError,
        r"candidates\['direct'\] must be a list of at least one",
    ),
    "not a list": (
        lambda: fit(candidates=CANDIDATES | {"direct": LinearRegression()}),
        ParameterError,
        r"candidates\['direct'\] must be a list",
    ),
    "a class": (
        lambda: fit(candidates=CANDIDATES | {"direct": [LinearRegression]}),
        ParameterError,
        r"candidates\['direct'\]\[0\] must be a scikit-learn estimator instance",
    ),
    "word for another nuisance": (
        lambda: fit(candidates=CANDIDATES | {"direct": ["linear"]}),
        ParameterError,
        r"candidates\['direct'\]\[0\] must be",
    ),
    "unknown word": (
        lambda: fit(candidates=CANDIDATES | {"effect": ["cubic"]}),
        ParameterError,
        "estimator instance, 'linear' or 'constant'; got 'cubic'",
    ),
    "classifier of numbers": (
        lambda: fit(candidates=CANDIDATES | {"confounding": [LOGIT]}),
        ParameterError,
        r"(?s)candidates\['confounding'\]\[0\]=.* is a classifier",
    ),
    "no probabilities": (
        lambda: fit(candidates=CANDIDATES | {"treatment": [RidgeClassifier()]}),
        ParameterError,
        "has no predict_proba",
    ),
    "too many": (
        lambda: fit(candidates={key: [DummyRegressor()] * 20 for key in KEYS}),
        ParameterError,
        "3,200,000 tuples; at most 2,000,000",
    ),
    "criterion": (lambda: fit(criterion="max"), ParameterError, "criterion must be one of"),
    "combine": (lambda: fit(combine="mean"), ParameterError, "combine must be one of"),
    "rate": (lambda: fit(softmax_rate=-1.0), ParameterError, "softmax_rate must be"),
    "split": (lambda: fit(selection_split=1.0), ParameterError, "selection_split must be"),
    "split and folds by row": (
        lambda: fit(selection_split=0.5, cv=[(np.arange(9), np.arange(9, N))]),
        ParameterError,
        "cv names rows of the whole sample",
    ),
    "numeric exposure": (
        lambda: fit(FRAME.assign(a=FRAME["x1"])),
        DataError,
        "SelectiveInvalidIVDML needs 0/1 treatment",
    ),
    "nan": (
        lambda: fit(FRAME.assign(x2=FRAME["x2"].where(FRAME.index != 5))),
        DataError,
        "'x2' has 1 missing values",
    ),
    "no difference of variances": (
        lambda: fit(
            candidates=CANDIDATES
            | {"treatment": [DummyRegressor(strategy="constant", constant=0.5)]}
        ),
        IdentificationError,
        "singular in a training part",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_message(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()


def test_zero_difference_for_some_candidate():
    sample, learnt = small_problem(min_abs_d=0.0)
    learnt.values.p1[1, :7] = learnt.values.p0[1, :7]
    with pytest.raises(IdentificationError, match=r"D\(x\) is zero in 7 rows for some candidate"):
        choose(sample, [learnt], criterion="mixed", combine="select", rate=1.0)


def test_regressors_of_probabilities_are_said():
    with pytest.warns(UserWarning, match=r"LinearRegression \(treatment\) predict probabilities"):
        fit(candidates=ONE | {"treatment": [LinearRegression()]})
