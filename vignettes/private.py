# %% [markdown]
# # Statistics that keep their people secret
#
# A statistic that is published says something about the people it was computed from. A *private*
# release adds noise, so that nobody can tell whether one person's record was this one or another
# one. How much noise is needed depends on how far one record can move the statistic, and that is
# the question of robust statistics: what outliers cannot move needs little noise.
#
# This page has incomes, a regression and a holdout set, and three questions that come with each of
# them.
#
# 1. What was promised, and what did it cost?
# 2. How far is the released number from the one that was asked for?
# 3. What has to be true for the interval to hold?
#
# The promise is differential privacy. For all sets of records $S$ and $S'$ that differ in one
# record, and for everything that a release may say, its probabilities under $S$ and under $S'$
# differ by a factor of at most $e^\varepsilon$. With $\varepsilon = 0.1$ the factor is 1.11, with
# $\varepsilon = 1$ it is 2.7: whoever sees the release knows hardly more about a person than
# without her record.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.datasets import engel as engel_data
from statsmodels.regression.linear_model import OLS
from statsmodels.robust.scale import Huber
from statsmodels.robust.scale import mad as mad_of
from statsmodels.tools.tools import add_constant
from threadpoolctl import threadpool_limits

from robuststat import (
    DPLinearRegression,
    DPLocation,
    DPNormalMean,
    DPQuantiles,
    DPScale,
    DPTheilSen,
    InverseSensitivity,
    ParameterError,
    PrivacyAccountant,
    PrivacyBudgetError,
    PrivacyWarning,
    exact_privacy_loss,
    feasibility,
)
from robuststat.simulation import holdout_reuse, make_holdout_reuse

# %% tags=["remove-input"]


class Prose(str):
    """Text with computed numbers: a paragraph in a notebook, silent in a plain run."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


# The computations are small: several threads would only wait for each other.
_ = threadpool_limits(1)

# %% [markdown]
# ## Why the mean leaks, and why it breaks
#
# Engel's data hold the income and the food expenditure of 235 Belgian working-class households
# of 1857, in francs a year. They have been public for a long time, so that here the answers
# without privacy can be shown beside the private ones. With data that need protection nobody
# could do that: the gap itself would tell something.

# %%
engel = engel_data.load_pandas().data
income, food = engel["income"].to_numpy(), engel["foodexp"].to_numpy()
n = len(income)
richest = int(np.argmax(income))
without = np.delete(income, richest)

pd.DataFrame(
    {
        "all": [income.mean(), np.median(income), stats.trim_mean(income, 0.1)],
        "without the richest": [without.mean(), np.median(without), stats.trim_mean(without, 0.1)],
        "richest at 500,000": [
            np.append(without, 500_000).mean(),
            np.median(np.append(without, 500_000)),
            stats.trim_mean(np.append(without, 500_000), 0.1),
        ],
    },
    index=["mean", "median", "trimmed mean"],
).round(1)

# %% tags=["remove-input"]
told = n * income.mean() - (n - 1) * without.mean()
Prose(
    f"""Two weaknesses, one cause. The mean *leaks*: who knows the other {n - 1} incomes, or a mean
published before this household joined, computes its income, {told:,.0f} francs, to the franc. And
the mean *breaks*: one wrong record moves it as far as it likes. The median does neither. Whatever
a single record is changed to, the median stays between its two neighbours."""
)

# %% [markdown]
# To make the mean private its noise must cover the largest change that one record can make, which
# is the width of the bounds over $n$. The noise of a private median can be as small as the gaps
# between the middle records, because that is how far one record can move it. There is a catch: the
# gaps themselves are private. The way out is to count records instead of francs.

# %% [markdown]
# ## A private median
#
# The *path length* of a number $t$ is the smallest number of records that would have to be changed
# for the median to be $t$. A change of one record changes it by at most one, whatever the data. So
# $t$ is drawn with probability proportional to $e^{-\varepsilon\,\mathrm{length}(t)/2}$: near the
# median most of the time, and $\varepsilon$-private. It is the *inverse sensitivity mechanism*,
# which Asi, Ullman and Zakynthinou (2023) use to turn robust estimators into private ones.
#
# Two numbers must come from public knowledge, never from the data. `bounds` are the range of
# incomes that we are prepared to see, and `rho` is the precision that is useful: answers within 10
# francs count as right. There is no default for `epsilon`, because it is a decision and not a
# technical detail.

# %%
BOUNDS = (0, 5_000)
with warnings.catch_warnings(record=True, action="always") as caught:
    median = DPLocation("median", epsilon=1, bounds=BOUNDS, rho=10, random_state=1).fit(income)
print(median.summary())

# %% [markdown]
# One line of the summary is there because of `random_state`. A seed makes the noise predictable,
# and noise that can be predicted protects nobody. This page uses seeds so that its numbers are the
# same every time it is built. A release must leave `random_state` out: then the noise comes from
# the operating system, and the arithmetic is done in whole numbers, because the last digits of
# floating-point numbers have given away records before. The warning:

# %%
print(caught[0].category.__name__, "-", caught[0].message)

# %%
# From here on the warning is known.
warnings.simplefilter("ignore", PrivacyWarning)

# %% [markdown]
# Is one household in 235 well protected at $\varepsilon = 1$, and what does the noise do to the
# answer? Both can be computed. The loss of privacy is known exactly for any pair of data sets
# that differ in one record, here for the richest household with its income and with none. And the
# law of the released number can be drawn, which again is possible only because these data are
# public.

# %%
poorer = income.copy()
poorer[richest] = 0.0
loss = exact_privacy_loss(median, income, poorer)
print(f"promised: {loss.claimed:g}   on this pair: {loss.epsilon:.3f}   kept: {loss.holds}")

draws = pd.DataFrame(
    {
        f"epsilon = {e:g}": [
            DPLocation("median", epsilon=e, bounds=BOUNDS, rho=10, random_state=i)
            .fit(income)
            .estimate_
            for i in range(200)
        ]
        for e in (0.5, 1, 4)
    }
)
figure, axes = plt.subplots(figsize=(7.5, 3.4))
for (name, values), colour in zip(draws.items(), ["#9ecae1", "#4292c6", "#08306b"], strict=True):
    axes.hist(values, bins=np.arange(780, 1013, 8) - 4, histtype="step", color=colour, lw=1.8)
    axes.plot([], [], color=colour, lw=1.8, label=name)
axes.axvline(np.median(income), color="black", lw=1, ls="--", label="median")
axes.set(xlabel="released median, francs", ylabel="releases out of 200")
axes.legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# ## Four robust statistics, private and not
#
# The same mechanism serves every statistic for which the path length can be computed. Each row
# below is a release of its own at $\varepsilon = 1$ (together they would cost 4). Huber's location
# needs a scale that is known: one that is re-estimated from the same data destroys the order that
# the path length relies on, so the scale is released first and then used as a public number.

# %%
options = {"bounds": BOUNDS, "rho": 10, "epsilon": 1}
mad = DPScale("mad", random_state=5, **options).fit(income)
scale = mad.estimate_ / stats.norm.ppf(0.75)
releases = {
    "median": DPLocation("median", random_state=2, **options),
    "trimmed mean": DPLocation("trimmed", random_state=3, **options),
    "Huber": DPLocation("huber", scale=scale, random_state=4, **options),
}
private = {name: est.fit(income).estimate_ for name, est in releases.items()}
huber_mean, _ = Huber(c=1.345)(income)

side_by_side = pd.DataFrame(
    {
        "not private": [
            np.median(income),
            stats.trim_mean(income, 0.1),
            float(huber_mean),
            mad_of(income, c=1),
        ],
        "private": [*private.values(), mad.estimate_],
        "score": [*(est.score_kind_ for est in releases.values()), mad.score_kind_],
    },
    index=[*private, "MAD"],
)
side_by_side.round(1)

# %% tags=["remove-input"]
gap = (side_by_side["private"] - side_by_side["not private"]).abs()
Prose(
    f"""The largest gap is {gap.max():.0f} francs, against a standard error of the mean of
{income.std() / np.sqrt(n):.0f}. The score of the MAD is *relaxed*: its path length is expensive,
so that an upper bound of the intervals takes its place. That costs accuracy and no privacy.
(statsmodels' Huber re-estimates its scale by another rule, so that a small part of that gap is not
noise.)"""
)

# %% [markdown]
# ## Intervals, and when not to fit at all
#
# An interval has to cover two errors, that of sampling and that of the noise. The rank interval
# for a median spends half of its budget on two order statistics, chosen so far from the middle
# that the noise cannot bring them to the wrong side. It assumes independent records of one law and
# nothing else. That is conservative, and the price shows when epsilon is small.

# %%
rng = np.random.default_rng(7)
epsilons = np.array([0.25, 0.5, 1, 2, 4, 8])
x = rng.normal(size=2_000)
wide = {"bounds": (-50, 50), "rho": 0.02}
widths = []
for e in epsilons:
    rank = DPLocation("median", epsilon=e, ci="rank", random_state=1, **wide).fit(x)
    mean = DPNormalMean(epsilon=e, mean_bound=50, sigma=1, random_state=1).fit(x)
    widths.append([np.ptp(rank.conf_int_), np.ptp(mean.conf_int_)])
widths = np.array(widths)

plain = 2 * 1.96 / np.sqrt(len(x))
figure, axes = plt.subplots(figsize=(7.5, 3.6))
axes.loglog(epsilons, widths[:, 0], "o-", color="#08306b", label="median, any law")
axes.loglog(epsilons, widths[:, 1], "s-", color="#e6550d", label="mean, normal law, sigma known")
axes.axhline(plain * np.sqrt(np.pi / 2), color="#08306b", ls=":", label="median, not private")
axes.axhline(plain, color="#e6550d", ls=":", label="mean, not private")
axes.set(xlabel="epsilon", ylabel="width of the 95 % interval")
axes.set_xticks(epsilons, [f"{e:g}" for e in epsilons])
axes.minorticks_off()
axes.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0], ["0.1", "0.2", "0.5", "1", "2"])
axes.legend(frameon=False)
figure.tight_layout()

# %% tags=["remove-input"]
Prose(
    f"""2,000 normal records. At epsilon = 1 the interval for the median is
{widths[2, 0] / plain / np.sqrt(np.pi / 2):.1f} times as wide as without privacy, and the one for
the mean, which uses the normal law, {widths[2, 1] / plain:.2f} times. Assumptions buy width. They
are printed in each `summary()`, because the interval is worth no more than they are."""
)

# %% [markdown]
# With too few records the noise is as wide as the bounds. That depends on public numbers only, so
# that it can be asked before any budget is spent. `fit` asks by itself and warns.

# %%
for size in (50, 100, 218, 1_000):
    answer = feasibility("median", n=size, epsilon=0.2, bounds=(-50, 50), rho=0.02)
    print(
        f"n = {size:5,}: the noise may stand for {answer.ranks_needed} changed records, the median "
        f"bears {answer.ranks_available}: {'fine' if answer.feasible else 'do not fit'}"
    )

with warnings.catch_warnings(record=True, action="always") as caught:
    hopeless = DPLocation("median", epsilon=0.2, random_state=1, **wide).fit(x[:50])
print("\n" + str(caught[-1].message))
print(f"released: {hopeless.estimate_:.1f}, the median is {np.median(x[:50]):.1f}")

# %% [markdown]
# ## What outliers do
#
# A tenth of the records is wrong, all of them at 40 where the others are normal with mean 1. The
# private median inherits the resistance of the median. A private mean inherits the weakness of the
# mean, however carefully its noise was made.

# %%
clean = rng.normal(1, 2, size=1_000)
spoilt = np.where(np.arange(1_000) < 100, 40.0, clean)
table = {}
for name, data in {"clean": clean, "10 % at 40": spoilt}.items():
    errors = {
        estimator: [
            DPLocation(estimator, epsilon=0.5, random_state=i, **wide).fit(data).estimate_ - 1
            for i in range(40)
        ]
        for estimator in ("median", "trimmed", "mean")
    }
    table[name] = {key: np.sqrt(np.mean(np.square(values))) for key, values in errors.items()}
pd.DataFrame(table).rename_axis("root mean squared error").round(3)

# %% [markdown]
# Privacy is itself a kind of robustness. Each record has so little influence on the law of the
# release that even $k$ of them together can multiply the probability of any answer by
# $e^{k\varepsilon}$ at most. `contamination_bound` says so for an answer that would be bad. It is a
# guarantee for whatever $k$ people write, and it fades quickly: 10 records at $\varepsilon = 0.1$
# are the factor 2.7.

# %%
quiet = DPLocation("median", epsilon=0.1, **wide)
for k in (1, 10, 50):
    print(
        f"{k:3d} wrong records: factor {quiet.contamination_bound(k):6.2f}; a failure of "
        f"probability 0.001 has at most {quiet.contamination_bound(k, beta=0.001):.4f}"
    )

# %% [markdown]
# ## Engel's law
#
# Food expenditure grows with income, by less than the income does. `DPTheilSen` pairs the
# households at random. Each pair has a line; how high these lines are at a quarter and at three
# quarters of the income range are two columns of numbers, and two private medians of them make the
# line. One household is in one pair, so it changes one entry of each column. The relation is
# looked at for incomes of up to 2,000 francs; `x_bounds` moves those beyond to 2,000, and the rows
# stay, because how many of them there are is private.

# %%
line = DPTheilSen(epsilon=2, x_bounds=(300, 2_000), y_bounds=(0, 1_500), rho=20, random_state=3)
line.fit(engel[["income"]], food)
squares = DPLinearRegression(epsilon=2, x_bounds=(300, 2_000), y_bounds=(0, 1_500), random_state=3)
with warnings.catch_warnings(record=True, action="always") as caught:
    squares.fit(engel[["income"]], food)
theil = stats.theilslopes(food, income)
ols = OLS(food, add_constant(income)).fit()
print(line.summary())

# %% [markdown]
# `DPLinearRegression` is the classical way to do it: noise on the sums of products, then least
# squares. Its noise is made for the worst household that the bounds allow, and there are only 235
# of them. It says so:

# %%
for warning in caught:
    if issubclass(warning.category, PrivacyWarning):
        continue
    print(warning.message)
pd.DataFrame(
    {
        "slope": [theil.slope, line.coef_[0], ols.params[1], squares.coef_[0]],
        "at income 900": [
            theil.intercept + 900 * theil.slope,
            line.predict([900])[0],
            ols.params[0] + 900 * ols.params[1],
            squares.predict([900])[0],
        ],
    },
    index=["Theil-Sen", "Theil-Sen, private", "least squares", "least squares, private"],
).round(3)

# %% tags=["hide-input"]
grid = np.array([300.0, 2_000.0])
figure, axes = plt.subplots(figsize=(7.5, 4))
axes.scatter(income, food, s=9, color="0.75")
plain_line = theil.intercept + grid * theil.slope
axes.plot(grid, plain_line, color="black", lw=1, ls="--", label="Theil-Sen, not private")
axes.plot(grid, line.predict(grid), color="#08306b", lw=1.8, label="Theil-Sen, private")
axes.plot(grid, squares.predict(grid), color="#e6550d", lw=1.8, label="least squares, private")
axes.plot(line.cuts_, line.heights_, "o", color="#08306b")
axes.set(xlim=(300, 2_450), ylim=(0, 1_500), xlabel="income", ylabel="food expenditure")
axes.legend(frameon=False, loc="lower right")
figure.tight_layout()

# %% [markdown]
# The dots are the two released heights; the line is what they say. Three more regressions are
# there for larger data: `DPTukeyRegression` for several regressors without bounds on any variable
# (it takes a deep point among regressions on many small batches), `DPLinearRegression` with
# bootstrap intervals, and `DPMeanCov` for the mean and covariance of many columns.

# %% [markdown]
# ## One budget for everything
#
# Each release costs, and costs add up: three answers at $\varepsilon = 1$ about the same people
# are one at 3. An accountant keeps the sum and refuses the release that does not fit, before the
# data are looked at. A release that breaks off after it was paid stays paid, because an error
# tells something too.

# %%
ledger = PrivacyAccountant(epsilon=3)
shared = {"bounds": BOUNDS, "rho": 20, "accountant": ledger, "random_state": 1}
DPLocation("median", epsilon=1, **shared).fit(income)
quartiles = DPQuantiles((0.25, 0.5, 0.75), epsilon=1.5, **shared).fit(income)
try:
    DPScale("iqr", epsilon=1, **shared).fit(income)
except PrivacyBudgetError as error:
    print(error)
ledger.history_[["label", "epsilon", "total_epsilon"]]

# %% [markdown]
# Sums are a pessimistic account of many small releases. Zero-concentrated privacy (zCDP) has a
# better one, at the price of a small probability $\delta$ with which the bound may fail. The
# ledger knows that a draw like ours costs less in it than other mechanisms: $\varepsilon^2/8$.

# %%
rows = []
for count in (1, 10, 100, 1_000):
    basic = PrivacyAccountant(epsilon=1_000)
    zcdp = PrivacyAccountant(epsilon=1_000, delta=1e-6, composition="zcdp")
    for _ in range(count):
        basic.spend(epsilon=0.1)
        zcdp.spend(epsilon=0.1, kind="exponential")
    rows.append((count, basic.total().epsilon, zcdp.total().epsilon))
pd.DataFrame(rows, columns=["releases at 0.1", "sum", "zCDP, delta 1e-6"]).round(2)

# %% [markdown]
# ## Auditing your own envelope
#
# `InverseSensitivity` makes a private release of any statistic for which *you* supply a nested
# envelope: intervals $I_0 \subseteq I_1 \subseteq \dots$ such that $I_k$ of one data set lies in
# $I_{k+1}$ of every neighbour. As an example, the midhinge, the mean of both quartiles. The first
# version moves each quartile by $k$ ranks. The second one was written in a hurry: it moves them
# by half as much, on the argument that there are two of them.


# %%
def midhinge(values, k_max, share=1):
    """Low and high ends for k = 0, ..., k_max changed records."""
    size = len(values)
    ranks = np.array([round(0.25 * (size - 1)), round(0.75 * (size - 1))])
    k = np.arange(k_max + 1)[:, None] // share
    padded = np.concatenate([[0.0], values, [5_000.0]])  # beyond the data lie the bounds
    low = padded[np.clip(ranks + 1 - k, 0, size + 1)].mean(axis=1)
    high = padded[np.clip(ranks + 1 + k, 0, size + 1)].mean(axis=1)
    return low, high


def hurried(values, k_max):
    """Too narrow: one record can push the statistic out of the next interval."""
    return midhinge(values, k_max, share=2)


mine = InverseSensitivity(midhinge, epsilon=1, bounds=BOUNDS, rho=10, random_state=1).fit(income)
exact = midhinge(np.sort(income), 0)[0][0]
print(f"private midhinge {mine.estimate_:.1f}, without privacy {exact:.1f}")
try:
    InverseSensitivity(hurried, epsilon=1, bounds=BOUNDS, rho=10, random_state=1).fit(income)
except ParameterError as error:
    print("\n" + str(error))

# %% [markdown]
# The self-test makes up neighbouring data sets and looks for one on which the property fails. It
# can refute, not prove. `exact_privacy_loss` goes further on a given pair: it computes the whole
# law of the release on both and compares them. Here is the worst of many small pairs, among them
# the usual traps: all records tied, half of them at each bound, one that jumps from bound to bound.

# %%
honest = InverseSensitivity(midhinge, epsilon=1, bounds=BOUNDS, rho=10)
careless = InverseSensitivity(hurried, epsilon=1, bounds=BOUNDS, rho=10, check=False)
pairs = []
for _ in range(60):
    first = np.sort(rng.choice([0.0, 5_000.0, *rng.uniform(0, 5_000, size=3)], size=21))
    second = first.copy()
    second[rng.integers(21)] = rng.choice([0.0, 5_000.0])
    pairs.append((first, np.sort(second)))
for name, est in {"as it should be": honest, "hurried": careless}.items():
    worst = max(exact_privacy_loss(est, *pair).epsilon for pair in pairs)
    print(f"{name:16s} promised 1, worst of {len(pairs)} pairs {worst:.3f}")

# %% [markdown]
# ## A holdout set that can be asked again
#
# The same idea protects an analyst from herself. A holdout set that is asked many times about
# choices that depend on its earlier answers is overfitted like any other. If its answers are
# private, they cannot be: what says little about each row cannot be fitted to the rows.
# `ReusableHoldout` (Dwork and others 2015) answers from the training set as long as both sets
# agree, and with noise from the holdout when they do not.
#
# The experiment of that paper, reduced to 1,000 rows and 1,000 features, none of which has
# anything to do with the labels. Features are chosen where training and holdout agree, and the
# accuracy of a vote of the best $k$ is reported by the holdout. The curves are means of six runs.

# %%
ks = (10, 20, 50, 100, 200, 300)
runs = {"standard": [], "gaussian": []}
for seed in range(6):
    nothing = make_holdout_reuse(1_000, 1_000, random_state=seed)
    for method, found in runs.items():
        found.append(holdout_reuse(nothing, method, ks=ks, random_state=seed))
standard, reusable = (
    pd.concat(found).groupby("k", as_index=False).mean() for found in runs.values()
)

figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True)
panels = {"holdout as usual": standard, "reusable holdout": reusable}
for ax, (name, found) in zip(axes, panels.items(), strict=True):
    ax.plot(found["k"], found["train"], color="0.6", label="training set")
    ax.plot(found["k"], found["holdout"], "o-", color="#e6550d", label="holdout, as reported")
    ax.plot(found["k"], found["fresh"], color="#08306b", label="fresh rows")
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    ax.set(title=name, xlabel="features in the vote")
axes[0].set_ylabel("accuracy")
axes[0].legend(frameon=False, loc="upper left", fontsize=9)
figure.tight_layout()

# %% tags=["remove-input"]
at = ks.index(100)
answers = reusable["n_overfit"].iloc[-1]
cost = 2 * answers / np.sqrt(1_000)
Prose(
    f"""There is nothing to find, and 0.5 is the truth. With 100 features the usual holdout reports
{standard["holdout"][at]:.2f}, the reusable one {reusable["holdout"][at]:.2f} (fresh rows:
{reusable["fresh"][at]:.2f}). This is the variant of the authors' own demonstration, normal noise
and no budget, which went to the holdout {answers:.0f} times in a run. No theorem covers it. With
Laplace noise of the same size $\\sigma = 1/\\sqrt n$ as many answers would cost
$2B/(\\sigma n)$ = {cost:.1f}, and a guarantee with that epsilon bounds the error of an answer by
$\\sqrt{{\\varepsilon/2}}$ = {np.sqrt(cost / 2):.2f} or more: true, and of no use. The picture
shows what was observed, not what was promised; `summary()` says which of the two one has."""
)

# %% [markdown]
# ## Limits
#
# **What is relaxed.** The scores of MAD and shorth, the cheap interquartile range and
# `DPTukeyRegression` are bounds of the path length. Privacy is exact, accuracy less than the best
# possible; `score_kind_` says which. Rank intervals are conservative. Bootstrap intervals are as
# good as their model, and as n is large.
#
# **What is column by column.** `DPMultivariateLocation` and the medians of `DPTheilSen` treat each
# column by itself. Rotating the data does not rotate the answer.
#
# **What the paper promises and nobody can compute.** Asi, Ullman and Zakynthinou show that every
# robust estimator can be made private at almost no loss: Gaussian means, covariances, sparse
# regression, principal components, in any dimension. The price is a sum over all parameter values,
# each of which asks how many of n records must change: in general time that grows exponentially
# with the dimension. In one dimension the sum can be done, and that is what this package does. In
# higher ones it offers what can be computed (batches, noisy sums, iterative clipping), which does
# not have those guarantees of accuracy. Polynomial algorithms for Gaussian data exist on paper;
# none has been run on data of a useful size.
#
# **What no epsilon covers.** Bounds, precision and the choice of method must not come from the
# data. How long a fit takes is not protected, nor is the error message for a missing value
# (`nan_policy="clip_mid"` avoids it). Several rows of one person need `max_contributions`. And a
# seed, as on this page, is for teaching only.
