"""Bad input of the classical instrumental-variable estimators: which argument, value, remedy."""

import numpy as np
import pandas as pd
import pytest

from robuststat import (
    CIIV,
    GENIUS,
    TSHT,
    CollinearityError,
    DataError,
    IdentificationError,
    IVSensitivity,
    ParameterError,
    PlausiblyExogenousIV,
    RobuststatError,
    RoleError,
    SisVIVE,
    TwoStageLeastSquares,
    ValidIVATE,
    compare_iv,
)
from robuststat._core.errors import NotFittedError
from robuststat.simulation import make_genius, make_many_iv

N = 80
FEW, REST = np.arange(3), np.arange(3, N)


def make_frame():
    rng = np.random.default_rng(0)
    f = pd.DataFrame(rng.normal(size=(N, 5)), columns=["x1", "x2", "z1", "z2", "z3"])
    f["b"] = (np.arange(N) % 2).astype(float)
    f["three"] = (np.arange(N) % 3).astype(float)
    noise = rng.normal(size=N)
    f["a"] = f[["z1", "z2", "z3"]].sum(axis=1) + 2 * f["b"] * (1 + noise) + noise
    f["not_b"] = 1 - f["b"]
    f["y"] = f["a"] + f["x1"] + rng.normal(size=N)
    f["w"], f["g"], f["one"] = rng.uniform(1, 2, N), np.arange(N) // 4, 1.0
    f["word"] = np.array(["u", "v"])[np.arange(N) % 2]
    return f


F = make_frame()
X = F[["x1", "x2"]]


def run(est, X=X, y="y", treatment="a", instruments="b", **roles):
    def column(value):
        return F[value] if isinstance(value, str | list) else value

    return est.fit(
        X,
        column(y),
        treatment=column(treatment),
        instruments=column(instruments),
        **{k: column(v) for k, v in roles.items()},
    )


def at(name, row, value):
    changed = F[name].to_numpy().copy()
    changed[row] = value
    return changed


def table(*cases):
    return pytest.mark.parametrize(
        ("call", "error", "match"), [c[1:] for c in cases], ids=[c[0] for c in cases]
    )


def refused(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call()
    assert isinstance(caught.value, RobuststatError)
    assert isinstance(caught.value, ValueError)


TSLS = TwoStageLeastSquares


@table(
    (
        "no treatment",
        lambda: TSLS().fit(X, F["y"], instruments=F["b"]),
        RoleError,
        r"TwoStageLeastSquares.fit needs treatment=\. Pass an array of 80 values",
    ),
    (
        "no instruments",
        lambda: TSLS().fit(X, F["y"], treatment=F["a"]),
        RoleError,
        r"needs instruments=",
    ),
    ("no outcome", lambda: run(TSLS(), y=None), DataError, "requires y to be passed"),
    (
        "missing treatment",
        lambda: run(TSLS(), treatment=at("a", 3, np.nan)),
        DataError,
        r"Column 'treatment' has 1 missing values \(NaN\), first at row 3",
    ),
    (
        "missing instrument",
        lambda: run(TSLS(), instruments=at("b", 4, np.nan)),
        DataError,
        r"Column 'instruments' has 1 missing values \(NaN\), first at row 4",
    ),
    (
        "infinite instrument",
        lambda: run(TSLS(), instruments=at("b", 5, np.inf)),
        DataError,
        r"instruments \(instruments\) holds infinity \(inf\) in 1 rows, first at row 5",
    ),
    (
        "infinite treatment",
        lambda: run(TSLS(), treatment=at("a", 5, np.inf)),
        DataError,
        r"treatment holds infinity \(inf\) in 1 rows",
    ),
    (
        "infinite outcome",
        lambda: run(TSLS(), y=at("y", 5, np.inf)),
        DataError,
        "Input y contains infinity",
    ),
    (
        "words as treatment",
        lambda: run(TSLS(), treatment="word"),
        DataError,
        r"treatment must be numeric, but row 0 holds 'u'",
    ),
    (
        "words as instrument",
        lambda: run(TSLS(), instruments="word"),
        DataError,
        r"instruments \(word\) must be numeric, but row 0 holds 'u' \(80 such values\)",
    ),
    (
        "constant treatment",
        lambda: run(TSLS(), treatment="one"),
        DataError,
        "treatment is 1 in all 80 rows",
    ),
    (
        "constant instrument",
        lambda: run(TSLS(), instruments=["b", "one"]),
        DataError,
        r"instruments \(one\) is 1 in all 80 rows",
    ),
    (
        "constant where weighted",
        lambda: run(TSLS(), sample_weight=F["b"]),
        DataError,
        r"instruments \(b\) is 1 in all 40 rows",
    ),
    (
        "unknown column",
        lambda: TSLS().fit(F, "y", treatment="a", instruments="zz"),
        RoleError,
        "instruments='zz' is not a column of X",
    ),
    (
        "treatment as instrument",
        lambda: TSLS().fit(F, "y", treatment="a", instruments=["a", "b"]),
        RoleError,
        "The column 'a' is both treatment and one of the instruments",
    ),
    (
        "outcome as instrument",
        lambda: TSLS().fit(F, "y", treatment="a", instruments="y"),
        RoleError,
        "The column 'y' is both y and one of the instruments",
    ),
    (
        "outcome as treatment",
        lambda: TSLS().fit(F, "y", treatment="y", instruments="b"),
        RoleError,
        "The column 'y' is both outcome and treatment",
    ),
    (
        "repeated instrument",
        lambda: TSLS().fit(F[["x1", "y", "a", "b"]], "y", treatment="a", instruments=["b", "b"]),
        RoleError,
        "instruments names b more than once",
    ),
    (
        "repeated column of an array",
        lambda: run(TSLS(), instruments=F[["b", "b"]].to_numpy()),
        CollinearityError,
        "instruments are collinear, given the covariates: column 'instruments1'",
    ),
    (
        "collinear instruments",
        lambda: run(TSLS(), instruments=F[["b", "z1"]].assign(c=F["b"] + F["z1"])),
        CollinearityError,
        "instruments are collinear, given the covariates: column 'c' is a linear combination",
    ),
    (
        "instrument among the covariates",
        lambda: run(TSLS(), instruments=F[["x1"]]),
        CollinearityError,
        r"instruments: x1 is a linear combination of the covariates \(Intercept\), x1, x2",
    ),
    (
        "treatment among the covariates",
        lambda: run(TSLS(), X=F[["x1", "a"]]),
        CollinearityError,
        "The treatment 'a' is a linear combination of the covariates",
    ),
    (
        "collinear covariates",
        lambda: run(TSLS(), X=X.assign(x3=X["x1"] - X["x2"])),
        CollinearityError,
        "The covariates are collinear: column 'x3' is a linear combination",
    ),
    (
        "too few rows",
        lambda: TSLS().fit(X[:5], F["y"][:5], treatment=F["a"][:5], instruments=F["b"][:5]),
        DataError,
        r"5 sample\(s\) cannot estimate 5 coefficients \(1 instruments, 3 covariates",
    ),
    (
        "wrong length",
        lambda: run(TSLS(), instruments=F["b"][:10]),
        RoleError,
        "instruments has 10 rows but X has 80",
    ),
    (
        "wrong length of treatment",
        lambda: run(TSLS(), treatment=F["a"][:10]),
        RoleError,
        "treatment has 10 values but X has 80 rows",
    ),
    (
        "negative weights",
        lambda: run(TSLS(), sample_weight=-F["w"]),
        DataError,
        "sample_weight has 80 negative or infinite values",
    ),
    (
        "weights with iid",
        lambda: run(TSLS(vcov="iid"), sample_weight="w"),
        ParameterError,
        "vcov='iid' takes all errors for equally variable, which sampling weights contradict",
    ),
    (
        "clusters ignored",
        lambda: run(TSLS(vcov="HC0"), clusters="g"),
        ParameterError,
        "vcov='HC0' ignores clusters, which were given",
    ),
    (
        "clusters needed",
        lambda: run(TSLS(vcov="CR1")),
        ParameterError,
        r"vcov='CR1' needs clusters=",
    ),
    (
        "one cluster",
        lambda: run(TSLS(), clusters="one"),
        DataError,
        "clusters has 1 distinct values",
    ),
    (
        "formula without frame",
        lambda: run(TSLS(formula="y ~ x1"), X=None),
        DataError,
        "formula= needs a data frame as X; got X=None",
    ),
    (
        "unknown method",
        lambda: run(TSLS("3sls")),
        ParameterError,
        "TwoStageLeastSquares: method must be one of '2sls', 'liml', 'fuller'; got '3sls'",
    ),
    (
        "effect to test",
        lambda: run(TSLS()).test_effect(np.nan),
        ParameterError,
        "effect must be a finite number, got nan",
    ),
    (
        "level of a set",
        lambda: run(TSLS()).score_confint(95),
        ParameterError,
        "level must lie strictly between 0 and 1, got 95",
    ),
    (
        "fitted outcomes",
        lambda: run(TSLS()).augment(X),
        ParameterError,
        r"has no fitted outcomes .* Use predict\(X\)",
    ),
    (
        "nothing to compare with least squares",
        lambda: run(TSLS(), instruments=F["a"].rename("copy")).test_exogeneity(),
        ParameterError,
        "The instruments determine the treatment",
    ),
    (
        "fewer clusters than instruments",
        lambda: run(TSLS(), instruments=["b", "z1", "z2"], clusters=np.repeat([0, 1], 40)),
        DataError,
        "2 clusters cannot weight 3 moments",
    ),
)
@pytest.mark.filterwarnings("ignore:Only 2 clusters:UserWarning")
def test_intake_and_two_stage_least_squares(call, error, match):
    refused(call, error, match)


@table(
    (
        "three values",
        lambda: run(ValidIVATE(), instruments="three"),
        DataError,
        r"instruments \(three\) must be 0 or 1, but has 3 distinct values \(0, 1, 2\)\. Recode it, "
        "or use TwoStageLeastSquares or GENIUS",
    ),
    (
        "two instruments",
        lambda: run(ValidIVATE(), instruments=["b", "z1"]),
        RoleError,
        "instruments has 2 columns; ValidIVATE takes one binary instrument",
    ),
    (
        "no intercept",
        lambda: ValidIVATE(formula="y ~ x1 - 1").fit(F, treatment="a", instruments="b"),
        DataError,
        "ValidIVATE needs an intercept",
    ),
    (
        "instrument without effect",
        lambda: run(ValidIVATE(min_abs_gap=50.0)),
        IdentificationError,
        r"moves the treatment by only .* at some row \(min_abs_gap=50\)",
    ),
    (
        "tiny arm",
        lambda: run(ValidIVATE(), instruments=(np.arange(N) < 2).astype(float)),
        DataError,
        "model of the treatment at instrument = 1: 2 rows cannot determine 3 coefficients",
    ),
    (
        "clusters ignored",
        lambda: run(ValidIVATE(vcov="eif"), clusters="g"),
        ParameterError,
        "vcov='eif' ignores clusters, which were given. Use vcov='cluster'",
    ),
    (
        "clusters needed",
        lambda: run(ValidIVATE(vcov="cluster")),
        ParameterError,
        r"vcov='cluster' needs clusters=\. Pass them, or use 'sandwich'",
    ),
)
def test_valid_instrument(call, error, match):
    refused(call, error, match)


SEVERAL = ["b", "z1", "z2"]


def counts():
    data = make_genius(n=200, model="mult_outcome", random_state=0)
    return data.y, {"treatment": data.treatment, "instruments": data.instruments}


def no_root():
    y, roles = counts()
    GENIUS("mult_outcome", bracket=(5, 6)).fit(
        None, y, treatment=roles["treatment"], instruments=roles["instruments"][["g1"]]
    )


def at_the_edge():
    y, roles = counts()
    GENIUS("mult_outcome", bracket=(-9, -8)).fit(None, y, **roles)


@table(
    (
        "unknown model",
        lambda: run(GENIUS("log")),
        ParameterError,
        "GENIUS: model must be one of 'additive', 'mult_outcome', 'mult_exposure'; got 'log'",
    ),
    (
        "treatment determined",
        lambda: run(GENIUS(), treatment=F["b"] * 2),
        DataError,
        r"The instruments determine 'b' \(its variance given them is zero\)",
    ),
    (
        "logit of a number",
        lambda: run(GENIUS(exposure_link="logit")),
        ParameterError,
        "exposure_link='logit' needs a 0/1 treatment, but 'a' has other values",
    ),
    (
        "negative treatment",
        lambda: run(GENIUS("mult_exposure"), X=None),
        DataError,
        r"treatment has \d+ negative values \(min .*\)\. A multiplicative exposure model",
    ),
    (
        "covariates with a multiplicative exposure",
        lambda: run(GENIUS("mult_exposure")),
        ParameterError,
        "model='mult_exposure' takes no covariates, but there are 2",
    ),
    (
        "collinear instruments of a multiplicative exposure",
        lambda: run(
            GENIUS("mult_exposure"), X=None, treatment=np.exp(F["a"]), instruments=["b", "not_b"]
        ),
        CollinearityError,
        "instruments are collinear: column 'not_b' is a linear combination",
    ),
    (
        "collinear instruments",
        lambda: run(GENIUS(), instruments=["b", "not_b"]),
        CollinearityError,
        "model of the treatment: the design is collinear: column 'not_b'",
    ),
    (
        "link with a multiplicative exposure",
        lambda: run(GENIUS("mult_exposure", exposure_link="identity"), X=None),
        ParameterError,
        "exposure_link='identity' has no effect with model='mult_exposure'",
    ),
    (
        "continuous updating on the log scale",
        lambda: run(GENIUS("mult_outcome", gmm="cue")),
        ParameterError,
        "gmm='cue' is for models that are linear in the effect",
    ),
    (
        "bracket",
        lambda: run(GENIUS(bracket=(1, -1))),
        ParameterError,
        r"bracket must be two finite numbers in increasing order, got \(1, -1\)",
    ),
    ("no root", no_root, IdentificationError, r"has no root in bracket=\(5, 6\)"),
    ("edge", at_the_edge, IdentificationError, r"smallest at the edge of bracket=\(-9, -8\)"),
    (
        "variance",
        lambda: run(GENIUS(vcov="HC1")),
        ParameterError,
        "vcov must be None or one of 'HC0', 'CR0'; got 'HC1'",
    ),
)
def test_genius(call, error, match):
    refused(call, error, match)


@table(
    (
        "bounds reversed",
        lambda: run(PlausiblyExogenousIV(gamma_min=1, gamma_max=0)),
        ParameterError,
        "gamma_min must not exceed gamma_max",
    ),
    (
        "bounds of another length",
        lambda: run(PlausiblyExogenousIV(gamma_max=[1, 2, 3]), instruments=["b", "z1"]),
        ParameterError,
        "gamma_max must be a finite number or 2 of them, one an instrument",
    ),
    (
        "bounds that are words",
        lambda: run(PlausiblyExogenousIV(gamma_max="large")),
        ParameterError,
        "gamma_max must be a finite number or 1 of them",
    ),
    (
        "prior with bounds",
        lambda: run(PlausiblyExogenousIV(prior_cov=1.0)),
        ParameterError,
        "prior_cov has no effect with method='uci'. Leave it out, or use method='ltz'",
    ),
    (
        "bounds with a prior",
        lambda: run(PlausiblyExogenousIV("ltz", gamma_max=1.0)),
        ParameterError,
        "gamma_max has no effect with method='ltz'",
    ),
    (
        "negative variance",
        lambda: run(PlausiblyExogenousIV("ltz", prior_cov=-1.0)),
        ParameterError,
        r"prior_cov must be a variance or a covariance matrix of shape \(1, 1\), got -1.0",
    ),
    (
        "covariance of another shape",
        lambda: run(PlausiblyExogenousIV("ltz", prior_cov=np.eye(2))),
        ParameterError,
        "prior_cov must be a variance or a covariance matrix",
    ),
    (
        "covariance that is a word",
        lambda: run(PlausiblyExogenousIV("ltz", prior_cov="wide")),
        ParameterError,
        "prior_cov must be",
    ),
    (
        "many instruments",
        lambda: run(
            PlausiblyExogenousIV(), instruments=np.random.default_rng(0).normal(size=(N, 13))
        ),
        ParameterError,
        "instruments has 13 columns; all 2\\^J corners are looked at, so at most 12",
    ),
    (
        "simultaneous union",
        lambda: run(PlausiblyExogenousIV()).confint(kind="simultaneous"),
        ParameterError,
        "kind='simultaneous' has no meaning for the union",
    ),
    (
        "two instruments",
        lambda: run(IVSensitivity(), instruments=["b", "z1"]),
        RoleError,
        "instruments has 2 columns; IVSensitivity takes one",
    ),
    (
        "weights",
        lambda: run(IVSensitivity(), sample_weight="w"),
        ParameterError,
        "sample_weight was given, but the robustness values are about regressions with equal",
    ),
    (
        "clusters",
        lambda: run(IVSensitivity(), clusters="g"),
        ParameterError,
        "clusters was given, but",
    ),
    (
        "unknown benchmark",
        lambda: run(IVSensitivity(benchmarks=["x9"])),
        ParameterError,
        "benchmarks names 'x9'; the covariates are x1, x2",
    ),
    (
        "benchmark that explains everything",
        lambda: run(IVSensitivity(benchmarks="x1", benchmark_k=1e4)),
        ParameterError,
        "A variable 10000 times as strong as 'x1' would explain more than everything",
    ),
    (
        "benchmarks by number",
        lambda: run(IVSensitivity(benchmarks=3)),
        ParameterError,
        "benchmarks must be None or a covariate name or a list of them; got 3",
    ),
    (
        "share above one",
        lambda: run(IVSensitivity()).sensitivity_confint(1.5),
        ParameterError,
        r"r2_instrument must lie in \[0, 1\) and r2_outcome in \[0, 1\]; got 1.5 and 1.0",
    ),
)
def test_sensitivity(call, error, match):
    refused(call, error, match)


@table(
    (
        "one instrument, votes",
        lambda: run(TSHT()),
        DataError,
        "instruments has 1 column; TSHT compares instruments with each other and needs at least 2",
    ),
    ("one instrument, intervals", lambda: run(CIIV()), DataError, "CIIV compares"),
    (
        "two instruments, lasso",
        lambda: run(SisVIVE(), instruments=["b", "z1"]),
        DataError,
        "SisVIVE compares instruments with each other and needs at least 3",
    ),
    (
        "more instruments than rows",
        lambda: run(TSHT(), instruments=np.random.default_rng(0).normal(size=(N, 90))),
        DataError,
        r"80 sample\(s\) cannot estimate 94 coefficients \(90 instruments",
    ),
    (
        "voting",
        lambda: run(TSHT("plurality"), instruments=SEVERAL),
        ParameterError,
        "voting must be one of 'clique', 'majority'; got 'plurality'",
    ),
    (
        "tuning",
        lambda: run(CIIV(tuning=1.5), instruments=SEVERAL),
        ParameterError,
        r"tuning must be None or a number in \(0, 1\); got 1.5",
    ),
    (
        "penalty",
        lambda: run(SisVIVE(lam=-1.0), instruments=SEVERAL),
        ParameterError,
        r"lam must be one of 'cv' or a number in \[0, inf\); got -1.0",
    ),
    (
        "folds",
        lambda: run(SisVIVE(cv=[(FEW, REST), (REST, FEW)]), instruments=SEVERAL),
        DataError,
        "cv leaves fewer than 5 training rows for 3 instruments",
    ),
)
def test_selection(call, error, match):
    refused(call, error, match)


def test_every_instrument_with_a_direct_effect():
    data = make_many_iv(n=300, n_instruments=4, n_invalid=3, direct=2.0, random_state=0)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    est = SisVIVE(lam=0.0).fit(data.X, data.y, **roles)
    # At penalty zero one instrument is left: nothing can be compared, and one can be estimated.
    assert len(est.valid_set_) == 1
    assert "Over-identification" not in str(est.summary())


@table(
    (
        "no estimators",
        lambda: compare_iv(X, F["y"], treatment=F["a"], instruments=F["b"], estimators=[]),
        ParameterError,
        r"estimators must be a mapping of names to estimators, or a list of them; got \[\]",
    ),
    (
        "something else",
        lambda: compare_iv(X, F["y"], treatment=F["a"], instruments=F["b"], estimators=["2sls"]),
        ParameterError,
        "estimators must be a mapping",
    ),
    (
        "a word",
        lambda: compare_iv(X, F["y"], treatment=F["a"], instruments=F["b"], estimators="2sls"),
        ParameterError,
        "estimators must be a mapping",
    ),
    (
        "no instruments",
        lambda: compare_iv(X, F["y"], treatment=F["a"]),
        RoleError,
        "needs instruments=",
    ),
)
def test_compare(call, error, match):
    refused(call, error, match)


@pytest.mark.parametrize("cls", [TSLS, ValidIVATE, GENIUS, PlausiblyExogenousIV, TSHT, CIIV])
def test_not_fitted(cls):
    for method in ("summary", "tidy", "confint", "glance"):
        with pytest.raises(NotFittedError):
            getattr(cls(), method)()


@table(
    ("n", lambda: make_many_iv(n=3), ParameterError, "n must be an integer of at least 10"),
    ("invalid", lambda: make_many_iv(n_invalid=11), ParameterError, "n_invalid"),
    ("model", lambda: make_genius(model="x"), ParameterError, "model must be one of 'additive'"),
    ("effect", lambda: make_genius(effect=np.inf), ParameterError, "effect must be a finite"),
)
def test_designs(call, error, match):
    refused(call, error, match)
