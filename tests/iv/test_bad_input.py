"""Bad input of InvalidIVATE: which argument, which value or count, what to do.

The first part follows section 5 of the specification line by line.
"""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from robuststat import InvalidIVATE, WeakHeteroscedasticityWarning
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    IdentificationError,
    ParameterError,
    RobuststatError,
    RoleError,
    SmallClusterWarning,
)
from robuststat.simulation import make_invalid_iv, make_weak_iv

DRAW = make_invalid_iv(400, random_state=2)
FRAME = DRAW.X.assign(y=DRAW.y, a=DRAW.treatment, z=DRAW.instruments)
N = len(FRAME)
ROW = np.arange(N)
X, Y, A, Z = DRAW.X.to_numpy(), DRAW.y, DRAW.treatment, DRAW.instruments


def changed(column, row, value):
    frame = FRAME.copy()
    frame[column] = frame[column].astype(object if isinstance(value, str) else float)
    frame.loc[row, column] = value
    return frame


def fit(frame=FRAME, *, treatment="a", instruments="z", y="y", roles=None, **options):
    est = InvalidIVATE(**options)
    return est.fit(frame, y, treatment=treatment, instruments=instruments, **(roles or {}))


CASES = {
    "nan in X": (lambda: fit(changed("x2", 5, np.nan)), DataError, "'x2' has 1 missing"),
    "nan in y": (lambda: fit(changed("y", 5, np.nan)), DataError, "'y' has 1 missing"),
    "nan in treatment": (lambda: fit(changed("a", 5, np.nan)), DataError, "'a' has 1 missing"),
    "nan in instrument": (lambda: fit(changed("z", 5, np.nan)), DataError, "'z' has 1 missing"),
    "inf in X": (lambda: fit(changed("x2", 5, np.inf)), DataError, "'x2' of X holds infinity"),
    "inf in y": (lambda: fit(changed("y", 5, np.inf)), DataError, "y contains infinity"),
    "inf in treatment": (lambda: fit(changed("a", 5, np.inf)), DataError, "treatment holds inf"),
    "inf in instrument": (lambda: fit(changed("z", 5, np.inf)), DataError, "instruments holds inf"),
    "text treatment": (
        lambda: fit(FRAME.assign(a=np.where(A == 1, "yes", "no"))),
        DataError,
        "treatment must be numeric",
    ),
    "text instrument": (
        lambda: fit(FRAME.assign(z=np.where(Z == 1, "near", "far"))),
        DataError,
        "z must be numeric",
    ),
    "other codes of treatment": (
        lambda: fit(FRAME.assign(a=A + 1)),
        DataError,
        "treatment has the two values 1 and 2. Recode them as 0 and 1",
    ),
    "other codes of instrument": (
        lambda: fit(FRAME.assign(z=2 * Z)),
        DataError,
        "instruments has the two values 0 and 2",
    ),
    "constant treatment": (lambda: fit(FRAME.assign(a=1.0)), DataError, "treatment has one value"),
    "constant instrument": (
        lambda: fit(FRAME.assign(z=0.0)),
        DataError,
        "instruments has one value \\(0\\)",
    ),
    "three values of the instrument": (
        lambda: fit(FRAME.assign(z=ROW % 3)),
        DataError,
        "has 3 values; the ATE needs a 0/1 instrument.*GENIUS",
    ),
    "numeric instrument, linear effect": (
        lambda: fit(FRAME.assign(z=ROW % 3), estimand="overlap"),
        DataError,
        "effect_model='constant'",
    ),
    "treatment is the instrument": (
        lambda: fit(FRAME.assign(a=Z)),
        DataError,
        "instrument determines the exposure.*v_1 = v_0 = 0",
    ),
    "treatment mirrors the instrument": (
        lambda: fit(FRAME.assign(a=1 - Z)),
        DataError,
        "instrument determines the exposure",
    ),
    "too few rows": (
        lambda: fit(FRAME[:35]),
        DataError,
        "'treatment' has 8 parameters for n_samples=35 rows; 5 rows a parameter",
    ),
    "very few rows": (lambda: fit(FRAME[:9]), DataError, "n_samples=9 rows are too few"),
    "negative weights": (
        lambda: fit(roles={"sample_weight": np.where(ROW == 7, -1.0, 1.0)}),
        DataError,
        "sample_weight has 1 negative",
    ),
    "weights of another length": (
        lambda: fit(roles={"sample_weight": np.ones(7)}),
        RoleError,
        "sample_weight has 7 values but X has 400 rows",
    ),
    "roles of another length": (
        lambda: InvalidIVATE().fit(X, Y, treatment=A[:7], instruments=Z),
        RoleError,
        "treatment has 7 values",
    ),
    "no treatment": (lambda: fit(treatment=None), RoleError, "fit needs treatment="),
    "no instrument": (lambda: fit(instruments=None), RoleError, "fit needs instruments="),
    "unknown column": (lambda: fit(treatment="b"), RoleError, "'b' is not a column of X"),
    "two instruments": (
        lambda: fit(instruments=["z", "x3"]),
        RoleError,
        "takes one instrument; instruments has 2 columns.*TSHT",
    ),
    "no outcome": (lambda: fit(y=None), DataError, "target y is None"),
    "formula without a frame": (
        lambda: InvalidIVATE(formula="y ~ x1").fit(None, treatment=A, instruments=Z),
        DataError,
        "formula= needs a data frame",
    ),
    "estimand": (lambda: fit(estimand="late"), ParameterError, "estimand must be one of"),
    "effect_model": (lambda: fit(effect_model="spline"), ParameterError, "effect_model must be"),
    "targeted": (lambda: fit(targeted=1), ParameterError, "targeted must be True or False"),
    "vcov": (lambda: fit(vcov="HC1"), ParameterError, "vcov must be"),
    "clip_pi": (lambda: fit(clip_pi=0.5), ParameterError, "clip_pi must be a number"),
    "min_abs_d": (lambda: fit(min_abs_d=-1), ParameterError, "min_abs_d must be"),
    "min_abs_d with overlap": (
        lambda: fit(estimand="overlap", min_abs_d=0.1),
        ParameterError,
        "min_abs_d has no use",
    ),
    "tol": (lambda: fit(tol=0), ParameterError, "tol must be"),
    "max_iter": (lambda: fit(max_iter=0), ParameterError, "max_iter must be"),
    "clusters with another vcov": (
        lambda: fit(vcov="sandwich", roles={"clusters": ROW // 4}),
        ParameterError,
        "vcov='sandwich' and clusters=given do not fit",
    ),
    "cluster without clusters": (
        lambda: fit(vcov="cluster"),
        ParameterError,
        "vcov='cluster' and clusters=None",
    ),
    "one cluster": (
        lambda: fit(roles={"clusters": np.zeros(N)}),
        DataError,
        "clusters has 1 distinct",
    ),
    "sandwich of a numeric instrument": (
        lambda: fit(
            FRAME.assign(z=X[:, 0] + ROW % 3),
            estimand="overlap",
            effect_model="constant",
            vcov="sandwich",
        ),
        ParameterError,
        "vcov='sandwich' is for a 0/1 instrument",
    ),
    "clip of a numeric instrument": (
        lambda: fit(
            FRAME.assign(z=X[:, 0] + ROW % 3),
            estimand="overlap",
            effect_model="constant",
            clip_pi=0.1,
        ),
        ParameterError,
        "clip_pi has no use",
    ),
    "terms not a dict": (lambda: fit(terms="x1"), ParameterError, "terms must be None or a dict"),
    "terms key": (lambda: fit(terms={"outcome": "x1"}), ParameterError, "keys 'outcome'. Use"),
    "terms column": (
        lambda: fit(terms={"effect": "x9"}),
        ParameterError,
        "terms\\['effect'\\].*x9",
    ),
    "terms value": (
        lambda: fit(terms={"effect": 3}),
        ParameterError,
        "terms\\['effect'\\] must be",
    ),
    "terms syntax": (lambda: fit(terms={"effect": "x1 +"}), ParameterError, "cannot be read"),
    "terms left-hand side": (
        lambda: fit(terms={"effect": "y ~ x1"}),
        ParameterError,
        "terms\\['effect'\\].*",
    ),
    "terms instrument in effect": (
        lambda: fit(terms={"effect": "Z + x1"}),
        ParameterError,
        "uses Z, but this model is about covariates only",
    ),
    "terms without instrument": (
        lambda: fit(terms={"treatment": "x1"}),
        ParameterError,
        "does not use Z",
    ),
    "terms and constant effect": (
        lambda: fit(terms={"effect": "x1"}, effect_model="constant"),
        ParameterError,
        "contradict each other",
    ),
    "terms that are not finite": (
        lambda: fit(FRAME.assign(x1=0.0 + ROW % 7), terms={"effect": "np.log(x1)"}),
        DataError,
        "terms\\['effect'\\]: the term .* is not finite",
    ),
    "covariate called Z": (
        lambda: fit(FRAME.rename(columns={"x1": "Z"}), terms={"effect": "x2"}),
        ParameterError,
        "X has a covariate of that name",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", CASES)
def test_message(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, RobuststatError)
    assert isinstance(caught.value, ValueError)


def test_dropped_rows_are_counted():
    frame = changed("x2", 5, np.nan)
    with pytest.warns(DroppedRowsWarning, match="1 of 400 rows dropped"):
        est = fit(frame, missing="drop")
    assert est.result_.n_obs == 399
    assert "1 dropped: x2 1" in str(est.summary())
    assert_allclose(est.ate_, fit(FRAME.drop(index=5)).ate_, rtol=1e-8)


def test_no_difference_of_variances():
    # p_1 = 1 - p_0: the variances are equal.
    a, z = np.array([0, 0, 0, 1, 0, 1, 1, 1] * 20), np.array([0, 0, 0, 0, 1, 1, 1, 1] * 20)
    y = np.random.default_rng(0).standard_normal(160)
    with pytest.raises(IdentificationError, match="D = v_1 - v_0 is zero"):
        InvalidIVATE().fit(None, y, treatment=a, instruments=z)


def test_rows_without_a_difference():
    # Where x = 0 the variances are 3/16 in both arms, where x = 1 they are 3/16 and 1/4.
    z, x = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 40), np.repeat([0.0, 1.0], 160)
    a = np.concatenate(
        [np.tile([0, 0, 0, 1, 0, 1, 1, 1], 20), np.tile([0, 0, 0, 1, 0, 0, 1, 1], 20)]
    )
    y = np.random.default_rng(0).standard_normal(320)
    roles = {"treatment": a, "instruments": z}
    with pytest.raises(IdentificationError, match="basis of the effect is too large"):
        InvalidIVATE().fit(x[:, None], y, **roles)
    with pytest.raises(IdentificationError, match=r"zero in 160 rows.*estimand='overlap'"):
        InvalidIVATE(effect_model="constant").fit(x[:, None], y, **roles)
    with pytest.warns(WeakHeteroscedasticityWarning, match="close to zero"):
        est = InvalidIVATE("overlap", effect_model="constant").fit(x[:, None], y, **roles)
    assert np.isfinite(est.ate_)


def test_before_fit_and_few_clusters():
    for call in ("score_confint", "test_exclusion", "test_confounding", "test_heterogeneity"):
        with pytest.raises(NotFittedError):
            getattr(InvalidIVATE(), call)()
    with pytest.raises(NotFittedError):
        InvalidIVATE().predict(X)
    with pytest.warns(SmallClusterWarning, match="Only 8 clusters"):
        fit(roles={"clusters": ROW // 50})


def test_unbounded_sets_have_infinite_ends():
    kinds = set()
    for seed in range(12):
        draw = make_weak_iv(800, mean_d=0.005, random_state=seed)
        est = InvalidIVATE("overlap")
        with pytest.warns(WeakHeteroscedasticityWarning):
            est.fit(draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments)
        limits = est.score_confint()
        kinds.add(est.conf_set_type_)
        rows, infinite = {"interval": (1, 0), "complement": (2, 2), "line": (1, 2)}[
            est.conf_set_type_
        ]
        assert len(limits) == rows
        assert np.isinf(limits.to_numpy()).sum() == infinite
    assert {"complement", "line"} <= kinds


def test_data_are_left_alone():
    before = FRAME.copy()
    fit(targeted=True, terms={"effect": "x1"})
    pd.testing.assert_frame_equal(FRAME, before)
