# %% [markdown]
# # Rare events: borrow strength from the classes next to them
#
# Few people are in poor health, few loans default, few conflicts become wars. A logistic regression
# of such an event learns from the few rows that have it. Often the event is the last step of a
# scale, and the steps before it are not rare: fair health comes before poor health. PRESTO
# (Faletto and Bien 2023) learns the boundary of the rare class from the boundaries next to it, as
# far as the data allow. This page shows what it does, beside the two answers it lies between:
#
# - *proportional odds*: every boundary has the same slopes, so everything is borrowed;
# - *logistic regression* of the rare class: nothing is borrowed.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from robuststat import (
    OrdinalClassifier,
    PrestoClassifier,
    RareEventClassifier,
    SeparationError,
    brant_test,
    calibration,
    plot_calibration,
    presto_path,
)
from robuststat.datasets import load_health
from robuststat.simulation import make_presto, make_rare_events

# %% tags=["remove-input"]


class Prose(str):
    """Text with computed numbers: a paragraph in a notebook, silent in a plain run."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


# The fits are small: several threads would only wait for each other.
_ = threadpool_limits(1)

# %% [markdown]
# ## Data
#
# `load_health` has participants of the RAND Health Insurance Experiment, who rated their health
# excellent, good, fair or poor. `physlm` is 1 with a physical limitation, `disea` an index of
# chronic diseases; the other columns describe the insurance plan, which was drawn at random.

# %%
health = load_health()
X, y = health.data, health.target
poor = (y == "poor").to_numpy()
pd.DataFrame(
    {
        "people": y.value_counts(sort=False),
        "share": y.value_counts(sort=False, normalize=True).round(4),
        "with a limitation": X["physlm"].groupby(y, observed=True).mean().round(3),
    }
)

# %% [markdown]
# ## Proportional odds, and a test of it
#
# The signs are those of R's `clm` and `polr`: a positive coefficient moves people to the higher
# class, here to worse health.

# %%
po = OrdinalClassifier().fit(X, y)
test = brant_test(X, y)
print(po.summary())
print(test)

# %% tags=["remove-input"]
worst = test.table.loc[test.table["p_value"].idxmin()]
Prose(
    f"""Brant's test compares the slopes of separate logistic regressions, one a boundary. Taken
together they differ (p = {test.p_value:.3f}), and one column is responsible: `{worst["term"]}`
(p = {worst["p_value"]:.4f}). A test gives only the choice of using proportional odds for a column
or not. PRESTO shrinks the differences instead, and keeps those that the data insist on."""
)

# %% [markdown]
# ## The path: which columns leave proportional odds
#
# PRESTO penalises the slopes of the first boundary and the *differences* between neighbouring
# boundaries. With a large penalty everything is zero; as it falls, slopes enter, and later the
# differences.

# %%
path = presto_path(X, y)
ax = path.plot()
plt.show()

# %% [markdown]
# ## The penalty by cross-validation
#
# Five folds, each with its share of the rare class, and the log-likelihood of held-out rows.

# %%
presto = PrestoClassifier(random_state=0).fit(X, y)
print(presto.summary())

# %% tags=["remove-input"]
left = [name for name, move in zip(X.columns, presto.psi_[1:].T, strict=True) if move.any()]
slopes = presto.coef_[:, list(X.columns).index("physlm")]
Prose(
    f"""Of {X.shape[1]} columns, {", ".join(f"`{name}`" for name in left) or "none"} may change from
boundary to boundary; all others keep one slope. A limitation raises the log-odds of being above the
boundary by {slopes[0]:.2f}, {slopes[1]:.2f} and {slopes[2]:.2f} at the three boundaries, where
proportional odds says {po.coef_[0, 0]:.2f} at each. The lower part of the summary has *debiased*
estimates: shrunken coefficients have no standard errors, one Newton step from them does. The line
*Optimality* certifies that the optimum was found, and *Crossing* that no probability is negative
anywhere in the range of the columns."""
)

# %% [markdown]
# ## The risk of the rare class, and how good it is
#
# Half of the people, drawn class by class, are kept for the comparison. "Firth" is a logistic
# regression for rare events: its penalty takes the bias off the coefficients, and FLIC, a second
# step, makes the mean risk right.

# %%
rng = np.random.default_rng(0)
held = np.zeros(len(y), dtype=bool)
for level in y.cat.categories:
    rows = rng.permutation(np.flatnonzero(y == level))
    held[rows[: len(rows) // 2]] = True
train = ~held

fits = {
    "PRESTO": PrestoClassifier(random_state=0).fit(X[train], y[train]),
    "proportional odds": OrdinalClassifier().fit(X[train], y[train]),
    "logistic": RareEventClassifier("ml", intervals="wald").fit(X[train], poor[train]),
    "Firth, FLIC": RareEventClassifier(flic="flic").fit(X[train], poor[train]),
}
risk = pd.DataFrame({name: fit.predict_rare(X[held]) for name, fit in fits.items()})
loss = -np.log(risk.where(poor[held, None] & (risk > 0), 1.0 - risk))

# The same people are drawn for all methods, so that their differences are compared.
draws = np.array([loss.iloc[rng.integers(0, len(loss), len(loss))].mean() for _ in range(400)])
gain = draws - draws[:, [0]]
pd.DataFrame(
    {
        "log-loss": loss.mean(),
        "more than PRESTO": loss.mean() - loss["PRESTO"].mean(),
        "low": np.quantile(gain, 0.025, axis=0),
        "high": np.quantile(gain, 0.975, axis=0),
        "observed / expected": [calibration(risk[m], poor[held]).ratio for m in risk],
        "calibration slope": [calibration(risk[m], poor[held]).slope for m in risk],
    },
    index=risk.columns,
).round(4)

# %% [markdown]
# An interval that holds zero means that these people cannot tell the two methods apart: with a few
# dozen events that is the usual outcome, and the reason to prefer a method for how it behaves over
# many data sets (below). A calibration slope below 1 means risks that are too extreme, a slope
# above 1 risks that are too much alike: shrinking costs some of the spread.

# %%
found = {
    name: calibration(risk[name], poor[held], bins=5, strategy="events")
    for name in ("PRESTO", "logistic")
}
ax = plot_calibration(found)
plt.show()

# %% [markdown]
# The risk of single people comes with an interval. It is centred at the debiased estimate, so that
# the shrunken risk can lie close to one end.

# %%
people = pd.DataFrame({"physlm": [0.0, 1.0, 1.0], "disea": [5.0, 5.0, 30.0]})
people = people.join(
    pd.DataFrame([X.median()] * 3)[["lncoins", "idp", "lpi", "fmde"]].reset_index(drop=True)
)
chance, low, high = presto.predict_rare(people, return_ci=True)
people[["physlm", "disea"]].assign(risk=chance, low=low, high=high).round(4)

# %% [markdown]
# ## Over many data sets
#
# Here the truth is known: ten draws of a design of the PRESTO study, in which a third of the slopes
# change from boundary to boundary and 0.6 % of the rows are in the last class. The error is the
# mean squared error of the risk of that class.

# %%
errors = []
for seed in range(10):
    data = make_presto(thresholds=(0.0, 3.5, 5.5), random_state=seed)
    rare = (data.y == 4).astype(int)
    rivals = {
        "PRESTO": PrestoClassifier(random_state=0, inference="none").fit(data.X, data.y),
        "proportional odds": OrdinalClassifier().fit(data.X, data.y),
        "Firth, FLIC": RareEventClassifier(flic="flic", intervals="wald").fit(data.X, rare),
    }
    truth = data.probability[:, -1]
    errors.append({m: np.mean((f.predict_rare(data.X) - truth) ** 2) for m, f in rivals.items()})
errors = pd.DataFrame(errors)
pd.DataFrame(
    {
        "mean error x 1e5": 1e5 * errors.mean(),
        "ratio to PRESTO": errors.mean() / errors["PRESTO"].mean(),
        "PRESTO is better in": [(errors["PRESTO"] < errors[m]).sum() for m in errors],
    }
).round(2)

# %% [markdown]
# ## When boundaries cross
#
# With slopes that differ, two boundaries can cross, and the class between them gets a negative
# probability. The likelihood does not see it: a row only says something about the boundaries of
# its own class. `crossing="box"`, the default, keeps all probabilities valid in the whole range of
# the columns; `crossing="allow"` does not.

# %%
data = make_presto(thresholds=(0.0, 4.0, 6.0), share=0.5, random_state=3)
corners = rng.uniform(-1.0, 1.0, size=(10_000, 10))
points = pd.DataFrame(corners, columns=data.X.columns)
truth = data.probability[:, -1]
rows = {}
for crossing in ("allow", "box"):
    fit = PrestoClassifier(lam=0.0005, crossing=crossing, inference="none").fit(data.X, data.y)
    rows[crossing] = {
        "rows of 10,000 with a negative probability": fit.count_crossings(points),
        "error x 1e5": 1e5 * np.mean((fit.predict_rare(data.X) - truth) ** 2),
    }
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# ## Cases and controls
#
# To save money one often collects all events and a few of the others. Slopes of a logistic
# regression survive that; the intercept does not. `tau` says how rare the event is in the
# population.

# %%
sample = make_rare_events(2000, share=0.01, controls_per_case=4, random_state=1)
as_drawn = RareEventClassifier().fit(sample.X, sample.y)
corrected = RareEventClassifier(tau=sample.tau).fit(sample.X, sample.y)
pd.DataFrame(
    {
        "truth": sample.truth,
        "as drawn": as_drawn.tidy().set_index("term")["estimate"],
        "tau = .01": corrected.tidy().set_index("term")["estimate"],
        "low": corrected.confint()["conf_low"],
        "high": corrected.confint()["conf_high"],
    }
).round(2)

# %% [markdown]
# ## A column that decides alone
#
# If nobody with some property has the event, maximum likelihood wants a coefficient of minus
# infinity. Software often returns a large number instead. Here it is an error that names the
# column; Firth's estimate is finite, and its profile interval says how little is known on one side.

# %%
small = make_rare_events(300, share=0.06, coef=(1.0, -6.0), random_state=0)
try:
    RareEventClassifier("ml").fit(small.X, small.y)
except SeparationError as error:
    print(error)
firth = RareEventClassifier().fit(small.X, small.y)
pd.concat(
    {"profile": firth.confint().loc["d"], "Wald": firth.confint(kind="wald").loc["d"]}, axis=1
).T.round(2)

# %% [markdown]
# ## A million rows
#
# Firth's estimate with 10 columns, standard errors, and the search for separation:

# %%
rng = np.random.default_rng(0)
big = rng.normal(size=(1_000_000, 10))
event = (rng.random(len(big)) < expit(big[:, 0] - 6.0)).astype(int)
start = time.perf_counter()
large = RareEventClassifier(intervals="wald").fit(big, event)
seconds = time.perf_counter() - start
print(f"{large.n_events_:,} events, {large.n_iter_} steps, {seconds:.1f} s")

# %% [markdown]
# ## A note on the published data analyses
#
# The simulations of the paper are right in kind, and the section above repeats one. Its two data
# analyses should not be aimed at: the published code makes two mistakes that do not show when
# columns have mean zero, as in the simulations, but do with data like these. It takes the means out
# of the intercepts with the differences instead of the slopes, and predicts with the differences in
# the place of the slopes. What the first one does to the fit above:

# %%
means = X.mean().to_numpy()
wrong = presto.intercept_ - presto.coef_ @ means + presto.psi_ @ means
eta = wrong - X.to_numpy() @ presto.coef_.T
classes = np.diff(np.column_stack([np.zeros(len(X)), expit(eta), np.ones(len(X))]), axis=1)
mean_risk = pd.Series(
    {
        "observed": poor.mean(),
        "fitted": presto.predict_rare(X).mean(),
        "with the intercepts of the published code": classes[:, -1].mean(),
    }
)
mean_risk.round(4)

# %% tags=["remove-input"]
Prose(
    f"""The mean risk of poor health would be {mean_risk.iloc[2]:.1%} instead of
{mean_risk.iloc[0]:.1%}. The score by which that code compares methods sorts predictions to form
bins and then compares the unsorted ones, which is no measure of calibration."""
)

# %% [markdown]
# ## When not to use it
#
# - The classes before the rare one have other causes: then there is nothing to borrow. The path
#   shows it: the differences enter first.
# - The rare class is not at the end of the scale: only the last (or first) class profits.
# - Coefficients are what matters, not risks: report the debiased estimates, or the partial
#   proportional odds model that Brant's test suggests, with its standard errors.
#
# **To report**: how many events there are; the penalty and how it was chosen; which columns left
# proportional odds; whether constraints against crossing bind; calibration on held-out rows.
#
# ## Exercise
#
# (a) Fit `OrdinalClassifier` with `parallel` naming all columns but `physlm`, and compare its
# slopes with those of PRESTO. (b) Repeat the comparison of held-out loss with another split; how
# often does the order change? (c) Draw from `make_presto` with `share=0` (proportional odds is
# right) and `share=1`: who wins now?
#
# ## References
#
# - Brant, R. (1990). Assessing proportionality in the proportional odds model for ordinal logistic
#   regression. Biometrics 46, 1171-1178.
# - Cameron, A. C. and Trivedi, P. K. (2005). Microeconometrics. Cambridge (data).
# - Faletto, G. and Bien, J. (2023). Predicting Rare Events by Shrinking Towards Proportional Odds.
#   Proceedings of Machine Learning Research 202, 9547-9602.
# - Firth, D. (1993). Bias reduction of maximum likelihood estimates. Biometrika 80, 27-38.
# - King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9,
#   137-163.
# - Puhr, R., Heinze, G., Nold, M., Lusa, L. and Geroldinger, A. (2017). Firth's logistic regression
#   with rare events. Statistics in Medicine 36, 2302-2317.
