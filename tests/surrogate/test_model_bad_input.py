"""Bad input of the row models: which argument, which value or count, what to do.

Style and helpers as in `test_bad_input.py`, which covers what all estimators share.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from robuststat import DSLClassifier, DSLMean, DSLMoment, DSLRegressor
from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    DataError,
    IdentificationError,
    ParameterError,
    RobuststatError,
    RoleError,
)

N = 120
NAMES = ["x1", "x2"]


def make_frame():
    rng = np.random.default_rng(0)
    f = pd.DataFrame(rng.normal(size=(N, 2)), columns=NAMES)
    f["full"] = f["x1"] + rng.normal(size=N)
    f["s"] = f["full"] + rng.normal(size=N)
    f["ts"] = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
    f["bs"], f["cs"] = (f["s"] > 0).astype(float), rng.poisson(2, N).astype(float)
    f["R"] = rng.random(N) < 0.5
    f["y"], f["b"] = f["full"].where(f["R"]), (f["full"] > 0).astype(float).where(f["R"])
    f["c"] = f["cs"].where(f["R"])
    f["t"] = f["ts"].where(f["R"], None)
    return f


FRAME = make_frame()
X = FRAME[NAMES].to_numpy()
R = FRAME["R"].to_numpy()
Y, S = FRAME["y"].to_numpy(), FRAME["s"].to_numpy()
T, TS = FRAME["t"].to_numpy(), FRAME["ts"].to_numpy()
ONE = np.column_stack([np.ones(N), X])
TWO = FRAME[["x1", "y", "b", "s", "bs"]]
PAIRS = {"y": "s", "b": "bs"}


def refused(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call()
    assert isinstance(caught.value, RobuststatError)
    assert isinstance(caught.value, ValueError)


def table(*cases):
    return pytest.mark.parametrize(
        ("call", "error", "match"), [c[1:] for c in cases], ids=[c[0] for c in cases]
    )


def multi(**options):
    return DSLClassifier("multinomial", **({"learner": "passthrough"} | options))


def reg(model="linear", **options):
    return DSLRegressor(model, **({"learner": "passthrough"} | options))


def moments(moment=None, jacobian=None, **options):
    return DSLMoment(moment or ols, jacobian, **({"learner": "passthrough"} | options))


def ols(theta, X, y):
    return X * (y - X @ theta)[:, None]


def labelled(values):
    return np.where(R, values, None)


@table(
    (
        "one class",
        lambda: multi().fit(X, labelled("a"), prediction=TS),
        DataError,
        r"The labels of 'y' hold one class only \('a'\); at least two are needed\. Label more",
    ),
    (
        "measurements",
        lambda: multi().fit(X, Y, prediction=TS),
        DataError,
        r"continuous\. 'y' must hold classes, but holds numbers such as -?\d.*Cut them into",
    ),
    (
        "three classes for a logit model",
        lambda: DSLClassifier(learner="passthrough").fit(X, T, prediction=TS),
        DataError,
        "Only binary classification is supported.*they take 3 values: 'a', 'b', 'c'",
    ),
    (
        "surrogate of another class",
        lambda: multi().fit(X, T, prediction=np.where(TS == "a", "z", TS)),
        DataError,
        r"holds \d+ values that no expert used \(first: 'z'\); the experts' classes are a, b, c",
    ),
    (
        "surrogate of numbers",
        lambda: multi().fit(X, T, prediction=S),
        DataError,
        r"holds 120 values that no expert used \(first: -?\d\.\d+\).*Recode them, or use a learner",
    ),
    (
        "probabilities that do not add up",
        lambda: multi().fit(X, T, prediction=np.full((N, 3), 0.2)),
        DataError,
        r"3 columns predicted for 'y' must be .* add up to 1; in 120 rows they do not \(row 0: 0.6",
    ),
    (
        "negative probabilities",
        lambda: multi().fit(X, T, prediction=np.tile([-0.5, 0.5, 1.0], (N, 1))),
        DataError,
        r"must be probabilities; in 120 rows one is negative \(row 0: -0\.5\)",
    ),
    (
        "two columns for three classes",
        lambda: multi().fit(X, T, prediction=np.full((N, 2), 0.5)),
        ParameterError,
        r"uses one surrogate as it is, but 'y' has 2 \(prediction0, prediction1\)",
    ),
    (
        "missing probability",
        lambda: multi().fit(X, T, prediction=np.full((N, 3), [np.nan, 0.5, 0.5])),
        DataError,
        "'prediction0' has 120 missing values",
    ),
    (
        "several outcomes",
        lambda: multi().fit(
            FRAME[["x1", "t", "ts", "b", "bs"]], ["t", "b"], prediction={"t": "ts", "b": "bs"}
        ),
        DataError,
        r"model='multinomial' takes one outcome; y holds 2 \(t, b\)\. Fit them one by one",
    ),
    (
        "model of another class",
        lambda: DSLClassifier("quantile").fit(X, T, prediction=TS),
        ParameterError,
        "model must be one of 'logit', 'multinomial'; got 'quantile'",
    ),
    (
        "few labels",
        lambda: multi().fit(X, np.where(np.arange(N) < 3, TS, None), prediction=TS),
        DataError,
        "3 labelled rows .* cannot support 3 coefficients; at least 4 are needed",
    ),
    (
        "collinear",
        lambda: multi().fit(np.column_stack([X, X[:, 0]]), T, prediction=TS),
        CollinearityError,
        "The design is collinear: column 'x2' is a linear combination of 'x0'",
    ),
    (
        "shares of numbers",
        lambda: DSLMean(learner="passthrough").fit(None, T, prediction=S),
        DataError,
        "holds 120 values that no expert used",
    ),
)
def test_classes(call, error, match):
    refused(call, error, match)


@table(
    (
        "matrix of weights",
        lambda: reg("quantile", tuning="matrix").fit(X, Y, prediction=S),
        ParameterError,
        r"tuning='matrix' has no loss to minimise with model='quantile'.*Use tuning='scalar'",
    ),
    *[
        (
            f"quantile {value!r}",
            lambda value=value: reg("quantile", quantile=value).fit(X, Y, prediction=S),
            ParameterError,
            rf"quantile must be a number in \(0, 1\); got {value!r}",
        )
        for value in (0, 1.0, -0.1, np.nan, "0.5", None)
    ],
    (
        "several outcomes",
        lambda: reg("quantile").fit(TWO, ["y", "b"], prediction=PAIRS),
        ParameterError,
        r"model='quantile' takes one outcome; y holds 2 \(y, b\)\. Fit them one by one",
    ),
    (
        "absorbed effects",
        lambda: reg("quantile", absorb="ts").fit(FRAME, "y", prediction="s"),
        ParameterError,
        "absorb needs model='linear'; got model='quantile'",
    ),
    (
        "constant labels",
        lambda: reg("quantile").fit(X, labelled(1.0).astype(float), prediction=np.ones(N)),
        IdentificationError,
        r"The \d+ labelled residuals of the quantile regression have no spread.*use model='linear'",
    ),
    (
        "labels that a covariate determines",
        lambda: reg("quantile").fit(
            X, labelled(0.1 + X[:, 0] / 3).astype(float), prediction=X[:, 0]
        ),
        IdentificationError,
        "have no spread: expert labels lie on the fitted plane.*Remove covariates that determine",
    ),
    (
        "collinear",
        lambda: reg("quantile").fit(np.column_stack([X, X[:, 0]]), Y, prediction=S),
        CollinearityError,
        "The design is collinear: column 'x2' is a linear combination of 'x0'",
    ),
    (
        "no variation among labels",
        lambda: reg("quantile").fit(np.column_stack([X, ~R]), Y, prediction=S),
        IdentificationError,
        "Only 3 of 4 coefficients of the quantile regression are determined",
    ),
    (
        "classifier",
        lambda: reg("quantile", learner=LogisticRegression(), n_rep=1).fit(X, Y, prediction=S),
        ParameterError,
        "is a classifier, but 'y' is not 0/1",
    ),
    (
        "infinite surrogate",
        lambda: reg("quantile").fit(X, Y, prediction=np.where(S > 1, np.inf, S)),
        DataError,
        r"prediction of 'y' holds infinity \(inf\) in \d+ rows",
    ),
)
@pytest.mark.filterwarnings("ignore:no expert label informs")
def test_quantiles(call, error, match):
    refused(call, error, match)


def test_point_masses_are_said():
    y = np.where(R, (S > 1.5) * 1.0, np.nan)
    est = reg("quantile").fit(X, y, prediction=(S > 1.4) * 1.0)
    text = " ".join(str(est.summary()).split())
    assert "expert labels lie exactly on the fitted plane" in text
    assert "standard errors, which assume a density, are rough" in text
    assert "lie exactly" not in str(reg("quantile").fit(X, Y, prediction=S).summary())


@table(
    (
        "one array of surrogates",
        lambda: reg().fit(X, np.column_stack([Y, Y]), prediction=S),
        RoleError,
        r"With 2 outcomes prediction must say which .*: \{'y1': \.\.\., 'y2': \.\.\.\}",
    ),
    (
        "one column a surrogate",
        lambda: reg().fit(TWO, ["y", "b"], prediction=["s", "bs"]),
        RoleError,
        r"With 2 outcomes prediction must say which .*: \{'y': \.\.\., 'b': \.\.\.\}",
    ),
    (
        "outcome twice",
        lambda: reg().fit(TWO, ["y", "y"], prediction={"y": "s"}),
        RoleError,
        r"y names an outcome twice: y, y\. Name each once",
    ),
    (
        "outcome that does not exist",
        lambda: reg().fit(TWO, ["y", "q"], prediction={"y": "s"}),
        RoleError,
        r"y names 'q', which is not a column of X\. Its columns are x1, y, b, s, bs",
    ),
    (
        "left-hand side as well",
        lambda: reg(formula="y ~ x1").fit(TWO, ["y", "b"], prediction=PAIRS),
        RoleError,
        r"y holds 2 outcomes \(y, b\), but the formula has a left-hand side\. Write '~",
    ),
    (
        "own prediction",
        lambda: reg().fit(TWO, ["y", "b"], prediction={"y": "y", "b": "bs"}),
        RoleError,
        "prediction names 'y', which is the outcome",
    ),
    (
        "unknown column",
        lambda: reg().fit(TWO, ["y", "b"], prediction={"y": "s", "zz": "bs"}),
        RoleError,
        "prediction names 'zz', which is neither the outcome",
    ),
    (
        "missing values of an observed outcome",
        lambda: reg().fit(TWO, ["y", "b"], prediction={"y": "s"}),
        DataError,
        r"Column 'b' has \d+ missing values",
    ),
    (
        "absorbed effects",
        lambda: reg(absorb="ts").fit(TWO.assign(ts=TS), ["y", "b"], prediction=PAIRS),
        ParameterError,
        r"absorb takes one outcome; y holds 2 \(y, b\)",
    ),
    (
        "negative counts",
        lambda: reg("poisson").fit(
            FRAME[["x1", "c", "y", "cs", "s"]], ["c", "y"], prediction={"c": "cs", "y": "s"}
        ),
        DataError,
        r"model='poisson' needs outcomes >= 0, but 'y' has \d+ negative values",
    ),
    (
        "measurements for logit models",
        lambda: DSLClassifier(learner="passthrough").fit(TWO, ["b", "y"], prediction=PAIRS),
        DataError,
        "continuous.*The expert labels of 'y' must be 0/1",
    ),
    (
        "text for logit models",
        lambda: DSLClassifier(learner="passthrough").fit(
            TWO[["x1", "b", "bs"]].assign(u=labelled(np.where(S > 0, "n", "z")), us="n"),
            ["b", "u"],
            prediction={"b": "bs", "u": "us"},
        ),
        DataError,
        "With several outcomes each must be 0/1; 'u' holds 'n' and 'z'. Recode it",
    ),
    (
        "rows",
        lambda: reg().fit(X, np.column_stack([Y, Y])[:50], prediction={"y1": S, "y2": S}),
        DataError,
        "X has 120 rows, y has 50",
    ),
    (
        "labels that contradict the flag",
        lambda: reg().fit(
            TWO.assign(b=TWO["b"].where(np.arange(N) % 2 == 0), L=R * 1),
            ["y", "b"],
            prediction=PAIRS,
            labeled="L",
        ),
        RoleError,
        r"labeled is 1 but 'b' is missing in \d+ rows",
    ),
)
def test_several_outcomes(call, error, match):
    refused(call, error, match)


def topic(frame=FRAME, formula="full ~ x1 + t", prediction=None, **options):
    est = DSLRegressor(formula=formula, **({"learner": "passthrough"} | options))
    return est.fit(frame, prediction=prediction or {"t": "ts"})


@table(
    (
        "one level",
        lambda: topic(FRAME.assign(t=labelled("a"))),
        DataError,
        r"The labels of 't' hold one class only \('a'\)",
    ),
    (
        "unknown level",
        lambda: topic(FRAME.assign(ts="zz")),
        DataError,
        r"surrogate of 't' holds 120 values that no expert used \(first: 'zz'\)",
    ),
    (
        "level that no expert used, of two",
        lambda: topic(FRAME.assign(t=FRAME["t"].where(FRAME["t"] != "c", None))),
        DataError,
        r"surrogate of 't' holds \d+ values that no expert used \(first: 'c'\).* are a, b\.",
    ),
    (
        "numbers",
        lambda: topic(prediction={"t": "s"}),
        DataError,
        r"surrogate of 't' holds 120 values that no expert used",
    ),
    (
        "two surrogates",
        lambda: topic(prediction={"t": ["ts", "bs"]}),
        ParameterError,
        r"uses one surrogate as it is, but 't' has 2 \(ts, bs\)",
    ),
    (
        "groups",
        lambda: DSLMean(by="t", learner="passthrough").fit(FRAME, "full", prediction={"t": "ts"}),
        ParameterError,
        r"prediction names 't', but a mean \(by t\) has a predicted outcome only",
    ),
    (
        "categories of predicted numbers",
        lambda: topic(formula="full ~ x1 + C(b)", prediction={"b": "s"}),
        ParameterError,
        r"A term makes categories from b, whose predictions are numbers\. Write a 0/1 column",
    ),
)
def test_predicted_categories(call, error, match):
    refused(call, error, match)


@table(
    (
        "no moment",
        lambda: DSLMoment().fit(ONE, Y, prediction=S),
        ParameterError,
        r"moment must be a function of \(theta, X, y\); got None",
    ),
    (
        "two arguments",
        lambda: moments(lambda theta, X: X).fit(ONE, Y, prediction=S),
        ParameterError,
        r"moment must take three arguments \(theta, X, y\); it takes 2 \(theta, X\)",
    ),
    (
        "four arguments",
        lambda: moments(lambda theta, X, y, z: X).fit(ONE, Y, prediction=S),
        ParameterError,
        r"moment must take three arguments \(theta, X, y\); it takes 4 \(theta, X, y, z\)",
    ),
    (
        "one dimension",
        lambda: moments(lambda theta, X, y: y - theta[0], n_params=1).fit(ONE, Y, prediction=S),
        ParameterError,
        r"shape \(m, q\) for m rows; for 2 rows it returned \(2,\)\. Give a single moment",
    ),
    (
        "averages",
        lambda: moments(lambda theta, X, y: ols(theta, X, y).mean(0)[None]).fit(
            ONE, Y, prediction=S
        ),
        ParameterError,
        r"shape \(m, q\) for m rows; for 2 rows it returned \(1, 3\)",
    ),
    (
        "text",
        lambda: moments(lambda theta, X, y: [["a"] * 3] * len(y)).fit(ONE, Y, prediction=S),
        ParameterError,
        "moment must return an array of numbers; it returned list",
    ),
    (
        "too few moments",
        lambda: moments(lambda theta, X, y: (y - X @ theta)[:, None]).fit(ONE, Y, prediction=S),
        ParameterError,
        r"moment returns 1 moments for 3 parameters\. Return at least 3 columns, or set n_params",
    ),
    (
        "not finite at the start",
        lambda: moments(lambda theta, X, y: X / theta[0] * y[:, None]).fit(ONE, Y, prediction=S),
        ParameterError,
        r"at the first value \[0\.0, 0\.0, 0\.0\]\. Pass start= where it is finite",
    ),
    (
        "not finite for predictions",
        lambda: moments(lambda theta, X, y: np.log(y)[:, None] - theta, n_params=1).fit(
            ONE, np.abs(Y), prediction=S
        ),
        DataError,
        r"moment is not finite at the first value \[0\.0\] in \d+ rows in which predictions",
    ),
    (
        "parameter without effect",
        lambda: moments(lambda theta, X, y: X * (y - theta[0])[:, None]).fit(ONE, Y, prediction=S),
        IdentificationError,
        r"do not determine x1 \(moves none\), x2 \(moves none\) at .*Add moments",
    ),
    (
        "two parameters in one",
        lambda: moments(
            lambda theta, X, y: X[:, :2] * (y - theta[0] - theta[1])[:, None],
            n_params=2,
            param_names=["a", "b"],
        ).fit(ONE, Y, prediction=S),
        IdentificationError,
        r"do not determine b \(moves them as a does\)",
    ),
    (
        "parameter without effect, over-identified",
        lambda: moments(lambda theta, X, y: X * (y - theta[0])[:, None], n_params=2).fit(
            ONE, Y, prediction=S
        ),
        IdentificationError,
        r"do not determine theta1 \(moves none\)",
    ),
    (
        "moment twice",
        lambda: moments(lambda theta, X, y: ols(theta, X, y)[:, [0, 1, 2, 2]]).fit(
            ONE, Y, prediction=S
        ),
        IdentificationError,
        r"The moments are linearly dependent: moment 4 follows from moment 3\. Return each once",
    ),
    (
        "jacobian that is no function",
        lambda: moments(jacobian=3).fit(ONE, Y, prediction=S),
        ParameterError,
        r"jacobian must be None or a function of \(theta, X, y\); got 3",
    ),
    (
        "jacobian of another shape",
        lambda: moments(jacobian=lambda theta, X, y: X).fit(ONE, Y, prediction=S),
        ParameterError,
        r"jacobian must return shape \(m, 3, 3\) for m rows; for 2 rows it returned \(2, 3\)",
    ),
    (
        "jacobian that is not finite",
        lambda: moments(jacobian=lambda theta, X, y: np.full((len(y), 3, 3), np.nan)).fit(
            ONE, Y, prediction=S
        ),
        DataError,
        "the Jacobian has 9 non-finite entries",
    ),
    (
        "names",
        lambda: moments(param_names=["a"]).fit(ONE, Y, prediction=S),
        ParameterError,
        r"param_names holds 1 names for 3 parameters\. Give one each",
    ),
    (
        "names twice",
        lambda: moments(param_names=["a", "b", "a"]).fit(ONE, Y, prediction=S),
        ParameterError,
        "param_names holds 'a' twice",
    ),
    (
        "length of start",
        lambda: moments(start=[1.0]).fit(ONE, Y, prediction=S),
        ParameterError,
        r"start must be 3 finite numbers, one a parameter; got \[1\.0\]",
    ),
    (
        "text as start",
        lambda: moments(start="here").fit(ONE, Y, prediction=S),
        ParameterError,
        "start must be 3 finite numbers, one a parameter; got 'here'",
    ),
    (
        "tuning of more moments than parameters",
        lambda: moments(
            lambda theta, X, y: X * (y - X[:, :2] @ theta)[:, None], n_params=2, tuning="scalar"
        ).fit(ONE, Y, prediction=S),
        ParameterError,
        "tuning='scalar' is for as many moments as parameters; here are 3 for 2",
    ),
    (
        "finite corpus with more moments than parameters",
        lambda: moments(
            lambda theta, X, y: X * (y - X[:, :2] @ theta)[:, None],
            n_params=2,
            population="finite",
        ).fit(ONE, Y, prediction=S),
        ParameterError,
        "population='finite' is for as many moments as parameters; here are 3 for 2",
    ),
    (
        "no labels",
        lambda: moments().fit(ONE, np.full(N, np.nan), prediction=S),
        DataError,
        r"No row has both 'y' and all covariates\. Label some rows",
    ),
    (
        "few labels",
        lambda: moments().fit(ONE, np.where(np.arange(N) < 3, S, np.nan), prediction=S),
        DataError,
        "3 labelled rows .* cannot support 3 coefficients",
    ),
    (
        "no covariates",
        lambda: moments().fit(None, Y, prediction=S),
        DataError,
        r"DSLMoment\.fit got X=None",
    ),
    (
        "two outcomes",
        lambda: moments().fit(ONE, np.column_stack([Y, Y]), prediction=S),
        DataError,
        r"DSLMoment takes one outcome; y holds 2 \(y1, y2\)\. Fit them one by one",
    ),
    (
        "fitted values",
        lambda: moments().fit(ONE, Y, prediction=S).augment(ONE),
        ParameterError,
        "DSLMoment knows moments, not fitted values",
    ),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_moments(call, error, match):
    refused(call, error, match)


def effects(variables=None, **options):
    frame = FRAME[[*NAMES, "t", "ts"]]
    return multi().fit(frame, "t", prediction="ts").margins(frame, variables=variables, **options)


@table(
    *[
        (
            f"variables {value!r}",
            lambda value=value: effects(value),
            ParameterError,
            match,
        )
        for value, match in [
            ("age", "variables names 'age'; the covariates are x1, x2"),
            (["x1", "(Intercept)"], r"variables names '\(Intercept\)'"),
            ([], r"variables must name different covariates \(x1, x2\); got \[\]"),
            (["x1", "x1"], r"variables must name different covariates .* got \['x1', 'x1'\]"),
            (3, "variables must name different covariates .* got 3"),
        ]
    ],
    ("dummy", lambda: effects(dummy="x1"), ParameterError, "dummy must be True or False; got 'x1'"),
    (
        "no covariates",
        lambda: reg(formula="y ~ 1").fit(FRAME, prediction="s").margins(FRAME),
        ParameterError,
        r"variables must name different covariates \(none here\)",
    ),
    (
        "arrays are not kept",
        lambda: multi().fit(X, T, prediction=TS).margins(X),
        ParameterError,
        "fit was given y, prediction as arrays, which are not kept. Pass y=, prediction= again",
    ),
)
def test_margins(call, error, match):
    refused(call, error, match)


def test_separated_classes_do_not_converge():
    design = np.column_stack([X, TS == "a"])
    with pytest.warns(ConvergenceWarning, match="1 of 1 fits did not converge"):
        est = multi().fit(design, T, prediction=TS)
    assert not est.converged_
    assert np.isfinite(est.std_error_).all()
    assert str(est.summary()).startswith("NOT CONVERGED")


def test_moments_without_root_do_not_converge():
    with pytest.warns(ConvergenceWarning, match="fits did not converge"):
        est = moments(
            lambda theta, X, y: np.column_stack([1 + (theta[0] - y) ** 2]), n_params=1, start=[3.0]
        ).fit(ONE, Y, prediction=S)
    assert not est.converged_
