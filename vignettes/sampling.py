# %% [markdown]
# # Many answers from one sample
#
# A model is expensive to run, and more than one number is wanted from it: several averages, the
# same average under several assumptions about its inputs, the probability of a rare event, the
# share of the variance that each input is responsible for. Every answer could have runs of its own.
# Here they come from *one* budget of runs: a sample is drawn where it serves all questions at once,
# each point is weighted by how likely it is under the law that a question is about, and what is
# known exactly is used to take noise away (Demange-Chryst, Bachoc and Morio 2023; of that paper the
# abstract and the published code were available to the authors of this package).

# %%
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.datasets import anes96
from threadpoolctl import threadpool_limits

from robuststat import (
    AdaptiveISCV,
    FailureProbability,
    LawImpact,
    PerturbedLawIndices,
    ReweightedExpectation,
    SobolIndices,
)
from robuststat.simulation import make_beam_laws, make_flood, make_ishigami

# %% tags=["remove-input"]


class Prose(str):
    """Text with computed numbers: a paragraph in a notebook, silent in a plain run."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


# The fits are small: several threads would only wait for each other.
_ = threadpool_limits(1)


# %% [markdown]
# ## Three moments of a skewed law
#
# Incomes are lognormal. Wanted are the mean, the mean square and the share above five times the
# median; the answers are known, so that errors can be seen. Both answers have 10,000 runs.

# %%
income = stats.lognorm(0.8)
terms = ["mean", "mean square", "P(income > 5)"]
truth = np.array([income.moment(1), income.moment(2), income.sf(5.0)])


def questions(X):
    x = X[:, 0]
    return pd.DataFrame({"mean": x, "mean square": x**2, "P(income > 5)": (x > 5.0).astype(float)})


adaptive = AdaptiveISCV(10_000, weights="relative", random_state=1).fit(questions, [income])
plain = questions(income.rvs((10_000, 1), random_state=np.random.default_rng(1)))
compared = pd.DataFrame(
    {
        "truth": truth,
        "plain": plain.mean().to_numpy(),
        "its error": plain.std().to_numpy() / np.sqrt(10_000),
        "adaptive": adaptive.estimate_,
        "its std. error": adaptive.std_error_,
    },
    index=terms,
)
compared.round(4)

# %% tags=["remove-input"]
gain = (compared["its error"] / compared["its std. error"]) ** 2
Prose(
    f"""The variances are {gain.iloc[0]:.0f}, {gain.iloc[1]:.0f} and {gain.iloc[2]:.0f} times
smaller: that many times as many plain runs would be needed."""
)

# %%
print(adaptive.summary())

# %% [markdown]
# ## One model under many scenarios
#
# A beam bends under its load. Nobody agrees on the law of the six inputs; there are forty proposals
# and one sample answers for all of them. `controls="surrogate"` fits a polynomial to some of the
# runs and uses its exact means as a control on the others, so that a poor polynomial costs
# precision but no validity. The intervals hold for all forty at once.

# %%
scenarios = make_beam_laws(40, n_truth=2**12, random_state=1)
beams = AdaptiveISCV(10_000, controls="surrogate", random_state=1)
beams.fit(scenarios.func, scenarios.law)
bands = beams.confint(kind="simultaneous")
apart = np.abs(beams.estimate_ - scenarios.truth)
apart /= np.hypot(beams.std_error_, scenarios.truth_se)
pd.DataFrame(
    {
        "smallest": [beams.estimate_.min(), beams.std_error_.min()],
        "largest": [beams.estimate_.max(), beams.std_error_.max()],
    },
    index=["mean deflection, m", "standard error"],
)

# %% tags=["remove-input"]
Prose(
    f"""The joint intervals are wider than separate ones by a factor of
{((bands["conf_high"] - bands["conf_low"]) / (2 * 1.96 * beams.std_error_)).mean():.2f}. Computed
once more, with {4 * 2**12:,} runs for each scenario, the forty means differ from these by at most
{apart.max():.1f} standard errors of the difference."""
)

# %% [markdown]
# With few scenarios the question is what changes. `LawImpact` gives means, differences from a
# reference, and ratios, with one covariance: a difference profits from the common sample.

# %%
laws = {
    "today": [stats.norm(1.0, 0.2), stats.expon(scale=0.5)],
    "warmer": [stats.norm(1.1, 0.2), stats.expon(scale=0.5)],
    "warmer, longer": [stats.norm(1.1, 0.2), stats.expon(scale=0.6)],
}
impact = LawImpact(4000, random_state=1).fit(lambda X: X[:, 0] ** 2 + X[:, 1], laws)
impact.tidy()[["component", "term", "estimate", "std_error", "conf_low", "conf_high"]].round(4)

# %% [markdown]
# ## Which input matters?
#
# Sobol' indices divide the variance of the answer among the inputs: alone (first order), and with
# all interactions (total). Ishigami's function is a common test; `scipy.stats.sobol_indices` gets
# as many runs, 2,560.

# %%
wave = make_ishigami()
start = time.perf_counter()
indices = SobolIndices(2560, random_state=1).fit(wave.func, wave.law)
seconds = time.perf_counter() - start
scipys = stats.sobol_indices(
    func=lambda X: wave.func(X.T),
    n=512,
    dists=[stats.uniform(-np.pi, 2 * np.pi)] * 3,
    rng=np.random.default_rng(1),
)
pd.DataFrame(
    {
        "truth": wave.first_order,
        "first order": indices.first_order_,
        "std. error": indices.std_error_[:3],
        "scipy": scipys.first_order,
        "total, truth": wave.total_order,
        "total": indices.total_order_,
        "scipy total": scipys.total_order,
    },
    index=wave.law.names,
).round(4)

# %%
indices.plot_indices()
plt.show()

# %% tags=["remove-input"]
worst = np.abs(indices.first_order_ - wave.first_order).max()
other = np.abs(scipys.first_order - wave.first_order).max()
Prose(
    f"""The largest error of a first-order index is {worst:.5f}, against {other:.4f} of
scipy with as many runs (Saltelli et al. 2010, no control). It took {seconds:.1f} seconds.
A smooth function is learnt by a polynomial, whose indices are known exactly; pick-freeze points
correct what it got wrong. Inputs have to be independent: otherwise a variance cannot be
divided, and the class refuses."""
)

# %% [markdown]
# ## What if the law of an input is wrong?
#
# The level of a river may pass the dyke. Each input's mean is moved by half and by one standard
# deviation, to the nearest law that has that mean; all answers come from one sample.

# %%
flood = make_flood()
perturbed = PerturbedLawIndices(
    6000,
    target="probability",
    threshold=8.5,
    deltas=[-1.0, -0.5, 0.5, 1.0],
    inputs=["Q", "Ks", "Zv", "Hd", "Cb"],
    random_state=1,
)
perturbed.fit(lambda X: -flood.func(X), flood.law)
perturbed.plot_indices()
plt.show()

# %%
perturbed.indices_.round(3)

# %% [markdown]
# An index of 2 means that the probability is three times as high as under the law that was assumed,
# and -2 that it is a third. The bands hold for all indices together.
#
# ## A rare event with four causes
#
# A system fails from any of four causes, about once in 450 times. Each cause gets its own levels
# and its own density; 4,000 runs give all four probabilities and that of any of them, with one
# covariance. A cause that no run met would have no estimate and a warning, never a zero.


# %%
def margins(X):
    a, b = X.T
    bowl, far = 3.0 + 0.1 * (a - b) ** 2, 7.0 / np.sqrt(2.0)
    return pd.DataFrame(
        {
            "overload": bowl - (a + b) / np.sqrt(2.0),
            "uplift": bowl + (a + b) / np.sqrt(2.0),
            "sway left": a - b + far,
            "sway right": b - a + far,
        }
    )


rare = FailureProbability(4000, union=True, random_state=1)
rare.fit(margins, {"a": stats.norm(), "b": stats.norm()})
rare.tidy()[["term", "estimate", "std_error"]].assign(
    plain_mc_error=lambda t: np.sqrt(t["estimate"] * (1 - t["estimate"]) / 4000)
)

# %%
rare.plot_levels()
plt.show()

# %% [markdown]
# ## When not to believe it
#
# Weights with a heavy tail make an estimate and its standard error worthless together. The tail
# index *k-hat* tells: above 0.7 the error has not settled. Here a narrow sample is asked about a
# wide law.

# %%
rng = np.random.default_rng(1)
x = rng.normal(0.0, 0.5, size=(4000, 1))
with warnings.catch_warnings(record=True, action="always") as said:
    narrow = ReweightedExpectation().fit(
        x[:, 0] ** 4, stats.norm(0, 1).logpdf(x[:, 0]), stats.norm(0, 0.5).logpdf(x[:, 0])
    )
print(said[0].message)
bad = pd.Series({"truth": 3.0, "estimate": narrow.estimate_[0], "std. error": narrow.std_error_[0]})
bad["k-hat"] = float(np.ravel(narrow.khat_)[0])
bad.round(3)

# %% [markdown]
# The remedy is a wider proposal: `AdaptiveISCV` finds one, and keeps a tenth of its sample from the
# law itself (`defensive`), which bounds the weights.
#
# ## A slow model: stop and go on
#
# With a checkpoint every block of runs is kept. A second call replays them without calling the
# model. `on_error="nan_drop"` counts failed runs and leaves them out, `n_jobs` and `backend` (a
# Dask client, or anything with `map`) spread the blocks; the answer does not depend on them.

# %%
calls = []


def slow(X):
    calls.append(len(X))
    return X[:, 0] ** 2


with tempfile.TemporaryDirectory() as folder:
    kept = Path(folder) / "runs"
    options = {"checkpoint": kept, "random_state": 1}
    first = AdaptiveISCV(2000, **options).fit(slow, [stats.norm()])
    made = sum(calls)
    again = AdaptiveISCV(2000, **options).fit(slow, [stats.norm()])
pd.Series(
    {
        "model runs of the first call": made,
        "of the second": sum(calls) - made,
        "same answer": bool(first.estimate_[0] == again.estimate_[0]),
    }
)

# %% [markdown]
# ## Data that are there already
#
# A survey stands for the population it was drawn from. What would its averages be in a population
# with other ages? The 1996 American National Election Study, reweighted from the shares of its
# age groups to others; `normalise=True` divides by the sum of the weights.

# %%
study = anes96.load_pandas().data
group = pd.cut(study["age"], [0, 35, 50, 65, 120], right=False).cat.codes.to_numpy()
sample = np.bincount(group) / len(group)
older = np.array([0.15, 0.25, 0.30, 0.30])
answers = study[["TVnews", "selfLR", "vote"]].to_numpy(float)
new = ReweightedExpectation(normalise=True).fit(
    answers, np.log(older[group]), np.log(sample[group])
)
pd.DataFrame(
    {
        "as surveyed": answers.mean(axis=0),
        "older population": new.estimate_,
        "std. error": new.std_error_,
    },
    index=["days of TV news", "left-right (1-7)", "votes Dole"],
).round(3)

# %% [markdown]
# ## To report
#
# The budget and how much of it was spent learning; the law, and for indices that its inputs are
# independent; effective sizes and k-hat; joint intervals when several answers are read together.
#
# ## Exercise
#
# (a) Fit the three moments with `sampler="rqmc"`: what happens to the errors? (b) Give
# `SobolIndices` two groups of inputs. (c) Ask `FailureProbability` for a threshold that nothing
# reaches. (d) Move the variance instead of the mean in `PerturbedLawIndices`.
#
# ## References
#
# - Demange-Chryst, J., Bachoc, F. and Morio, J. (2023). Efficient estimation of multiple
#   expectations with the same sample by adaptive importance sampling and control variates.
#   Statistics and Computing 33.
# - Saltelli, A. et al. (2010). Variance based sensitivity analysis of model output. Computer
#   Physics Communications 181, 259-270.
