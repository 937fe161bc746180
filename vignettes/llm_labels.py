# %% [markdown]
# # LLM labels without tears: regression when a machine did the labelling
#
# A machine has labelled every sentence of a corpus, experts have labelled a few of them, and the
# labels are to be the outcome of a regression (or one of its covariates). Three questions follow.
#
# 1. May the machine's labels be used as if they were the experts'?
# 2. If not, what do the expert labels repair, and how many are they worth?
# 3. What has to be true for the answer to hold?
#
# The method is design-based supervised learning (DSL; Egami, Hinck, Stewart and Wei 2023). It
# needs one thing that the researcher controls, a random choice of the rows that experts label,
# and nothing that the researcher does not control, such as an accurate machine.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from sklearn.utils import Bunch
from threadpoolctl import threadpool_limits

from robuststat import DSLClassifier, DSLMean, OverlapWarning, compare_estimators
from robuststat.datasets import load_sentences
from robuststat.plot import coefplot
from robuststat.simulation import draw_labels, monte_carlo

# %% tags=["remove-input"]


class Prose(str):
    """Text with computed numbers: a paragraph in a notebook, silent in a plain run."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


# The fits are small: several threads would only wait for each other.
_ = threadpool_limits(1)


# %% [markdown]
# ## Data and design
#
# `load_sentences` has sentences from tweets, Amazon reviews, film reviews and newspaper
# editorials (Hutto and Gilbert 2014), as numbers without the text. About twenty people rated each
# sentence. The *expert label* `positive` is 1 if their mean rating is above 0.2 on a scale from
# −4 to 4.
#
# The *machine* is a set of three sentiment lexicons: the score `vader`, the label
# `vader_positive` (score above 0.05), and the scores `textblob` and `afinn`. They are no large
# language models, but that changes nothing: the method treats a machine as a column of numbers.
# What matters is that their errors are real. They were computed from the text and are wrong in
# their own ways.
#
# The question: which sentences are positive? The model is a logistic regression on genre, length,
# and whether the sentence has an exclamation mark, a negation or a question mark.

# %%
sentences = load_sentences()
frame = sentences.frame
covariates = sentences.feature_names
scores = ["vader_positive", "vader", "textblob", "afinn"]
model = "source + log_words + exclaim + negation + question"

by_genre = frame.groupby("source", observed=True)
pd.DataFrame(
    {
        "sentences": by_genre.size(),
        "positive, experts": by_genre["positive"].mean(),
        "positive, VADER": by_genre["vader_positive"].mean(),
        "VADER is right": by_genre[["positive", "vader_positive"]].apply(
            lambda rows: (rows["positive"] == rows["vader_positive"]).mean()
        ),
    }
).round(3)

# %% [markdown]
# Here the experts labelled *every* sentence. That is why this corpus is used: the answer that
# experts would give is known, and every method can be held against it. In a real project it is
# not known, and only a part of the column `positive` exists.

# %% [markdown]
# ## The machine's labels taken for the truth
#
# The usual analysis puts `vader_positive` on the left-hand side.

# %%
truth_fit = smf.logit(f"positive ~ {model}", frame).fit(disp=0, cov_type="HC0")
naive_fit = smf.logit(f"vader_positive ~ {model}", frame).fit(disp=0, cov_type="HC0")
truth = truth_fit.params.rename({"Intercept": "(Intercept)"})

naive = pd.DataFrame(
    {
        "experts": truth_fit.params,
        "VADER": naive_fit.params,
        "std. error": naive_fit.bse,
        "conf_low": naive_fit.conf_int()[0],
        "conf_high": naive_fit.conf_int()[1],
    }
)
naive["covers"] = naive["experts"].between(naive["conf_low"], naive["conf_high"])
naive.round(3)

# %% tags=["remove-input"]
words = naive.loc["log_words"]
Prose(
    f"""The intervals miss the experts' answer for {(~naive["covers"]).sum()} of {len(naive)}
coefficients. The standard errors are small because there are {len(frame):,} rows, but they measure
the wrong thing: how well the *machine's* behaviour is known. For the length of the sentence the
machine's coefficient is {words["VADER"]:.2f}, that of the experts {words["experts"]:.2f}, and the
two are {(words["VADER"] - words["experts"]) / words["std. error"]:.0f} standard errors apart. A
likely reason is that a long sentence has more words that a lexicon can find, so that the lexicon's
errors depend on a covariate. More rows make this worse, and a higher accuracy does not rule it
out."""
)

# %% [markdown]
# ## The answer in ten lines
#
# Experts label 1,000 sentences, drawn by simple random sampling. The seed of the draw is 2026; a
# study should write down its own, so that anyone can check that nobody chose the rows.

# %%
rng = np.random.default_rng(2026)
drawn = np.zeros(len(frame), dtype=bool)
drawn[rng.choice(len(frame), size=1000, replace=False)] = True
data = frame.drop(columns=["positive", "human", "human_sd", "n_raters"])
data["expert"] = frame["positive"].where(drawn)  # missing where no expert looked

est = DSLClassifier(formula=f"expert ~ {model}", variance="design", random_state=1)
est.fit(data, prediction=scores, features=covariates)
print(est.summary())

# %% tags=["remove-input"]
row = est.tidy().set_index("term")
effective = est.design_effect_ * est.n_labeled_
Prose(
    f"""Read line by line:

- **Call** holds all options that differ from the defaults. A missing `expert` means "not labelled";
  `prediction` names what the machine says, `features` what else may help to predict the label.
- **Estimand** is what the numbers estimate: the coefficients that this regression would have if
  experts had labelled all {len(frame):,} rows.
- **Labelled** is the number of rows with an expert label, {est.n_labeled_:,}.
- **Standard errors** are robust to heteroskedasticity and use the fact that the number of labels
  was fixed in advance (see below).
- **log_words**: the estimate is {row.loc["log_words", "estimate"]:.2f} with the interval
  {row.loc["log_words", "conf_low"]:.2f} to {row.loc["log_words", "conf_high"]:.2f}. The truth,
  {truth["log_words"]:.2f}, is inside; the machine's {words["VADER"]:.2f} is not.
- **exclaim**: sentences with an exclamation mark have
  {np.exp(row.loc["exclaim", "estimate"]):.1f} times the odds of being positive, given the other
  covariates.
- **Labels** says how the rows were chosen. Each had the probability {est.sample_prob_:.4f}, from
  which the weights follow.
- **Cross-fitting**: the expert label is predicted from all scores and covariates by gradient
  boosting. Each row's prediction comes from a model that has not seen this row's label, and the
  whole is repeated with other random folds, because one partition is a matter of chance. The
  out-of-fold R2 says how much of the label the prediction explains.
- **Effective labels**: with the machine's help the expert labels are worth between
  {effective.min():,.0f} and {effective.max():,.0f} labels alone, depending on the coefficient.
- **Assumes** is the full list. That the machine is good is not on it."""
)

# %% [markdown]
# How good the machine is can be estimated from the labelled rows, and is reported. A regression
# of the label on a surrogate with intercept 0 and slope 1 means that the surrogate is calibrated;
# the column `(prediction)` is the cross-fitted combination of all of them.

# %%
est.surrogate_report_.set_index("surrogate").drop(columns="variable").T.round(3)

# %% [markdown]
# ## How it works
#
# Let $Y_i$ be the expert label, $\hat g_i$ the prediction, $R_i = 1$ if row $i$ was labelled and
# $\pi_i$ its probability of being labelled. In the regression the label is replaced by
#
# $$ \tilde Y_i = \hat g_i + \frac{R_i}{\pi_i} \, (Y_i - \hat g_i) . $$
#
# Over the draw of the labelled rows $R_i / \pi_i$ is 1 on average, so $\tilde Y_i$ is $Y_i$ on
# average, whatever $\hat g_i$ is. A good prediction makes the second term small and the interval
# short; a bad one makes it long, but leaves it in the right place.

# %% [markdown]
# ## All the answers side by side
#
# `compare_estimators` fits the same model in five ways. *Surrogate only* takes the first score
# for the truth. *Gold only* uses the labelled rows and nothing else. *Prediction only* takes the
# cross-fitted prediction for the truth. *PPI++* corrects one surrogate with the expert labels and
# gives it a weight that depends on how much it helps (Angelopoulos, Duchi and Zrnic 2023).

# %%
comparison = compare_estimators(est, data, prediction=scores, features=covariates)
comparison

# %% tags=["remove-input"]
test = comparison.bias_test
worth = comparison.effective_labels
found = {name: result.tidy().set_index("term") for name, result in comparison.results.items()}
missed = {
    name: int((~truth.between(table["conf_low"], table["conf_high"])).sum())
    for name, table in found.items()
}
Prose(
    f"""- The **bias test** compares surrogate only with DSL. Its statistic is
  {test.statistic:.1f} with {test.df} degrees of freedom: the labels show that the machine's answer
  is biased. This can be computed in a real project, where the truth is not known. The reverse does
  not hold; a large p-value may only mean that there are too few labels to see the bias.
- **Prediction only** has the smallest standard errors, and they are not to be believed: they treat
  predictions as data. Its intervals miss the truth for {missed["prediction only"]} of {len(truth)}
  coefficients, those of DSL for {missed["DSL"]}.
- **PPI++** and **DSL** make use of the same expert labels. The comparison is not quite like for
  like: PPI++ takes one surrogate, DSL all scores and covariates.
- **Effective labels** range from {worth.min():,.0f} (`{worth.idxmin()}`) to {worth.max():,.0f}
  (`{worth.idxmax()}`). Where the machine knows little beyond the covariates there is little to
  gain. These numbers are ratios of estimated variances and uncertain themselves."""
)

# %% [markdown]
# The plot shows three of them with the truth, which only this corpus can provide.

# %%
shown = ["surrogate only", "gold only", "DSL"]
ax = comparison.plot(truth=truth, estimators=shown, intercept=True)
_ = ax.set_xlabel("Log-odds of a positive sentence, 95 % intervals")

# %% [markdown]
# The first is precise and, for most coefficients, in the wrong place. The second is in the right
# place and wide. The third is in the right place and shorter.

# %% [markdown]
# ## One draw is an anecdote
#
# Whether intervals hold what they promise shows only when the labelling is repeated.
# `monte_carlo` draws 1,000 rows anew a hundred times, applies the same estimators to each draw,
# and compares with the truth. To save time the learner is least squares with one partition.


# %%
def label_and_compare(random_state):
    draw = draw_labels(len(frame), 1000, random_state=random_state)
    labelled = data.assign(expert=frame["positive"].where(draw.labeled))
    quick = DSLClassifier(
        formula=f"expert ~ {model}", learner="ols", n_rep=1, variance="design", random_state=0
    )
    return Bunch(
        found=compare_estimators(quick, labelled, prediction=scores, features=covariates).results
    )


repeated = monte_carlo(
    label_and_compare,
    {name: lambda draw, name=name: draw.found[name] for name in shown},
    100,
    truth=truth,
    random_state=2026,
)
measures = repeated.table.pivot_table(
    ["bias", "rmse", "coverage"], index="term", columns="estimator", sort=False
)
measures[["bias", "rmse", "coverage"]].round(3)


# %%
def measure(name):
    """Table of one measure with its Monte Carlo interval, for the plot."""
    rows = repeated.table[["estimator", "term"]].copy()
    half = 1.96 * repeated.table[f"{name}_mcse"]
    rows["estimate"] = repeated.table[name]
    rows["conf_low"], rows["conf_high"] = rows["estimate"] - half, rows["estimate"] + half
    return rows


figure, (left, right) = plt.subplots(
    1, 2, figsize=(8.4, 4.6), sharey=True, layout="constrained", width_ratios=(3, 2)
)
coefplot(measure("rmse"), group="estimator", null=0.0, xlabel="Root mean squared error", ax=left)
coefplot(
    measure("coverage"), group="estimator", null=0.95, xlabel="Coverage (dashed: 0.95)", ax=right
)
right.get_legend().remove()
figure.get_layout_engine().set(wspace=0.05)

# %% tags=["remove-input"]
mean = repeated.table.groupby("estimator")[["rmse", "coverage"]].mean()
gain = 1 - measures["rmse", "DSL"] / measures["rmse", "gold only"]
better = measures["rmse", "DSL"] - measures["rmse", "surrogate only"]
Prose(
    f"""Averaged over the coefficients, intervals that should hold the truth in 95 % of the draws do
so in {mean.loc["DSL", "coverage"]:.1%} (DSL), {mean.loc["gold only", "coverage"]:.1%} (gold only)
and {mean.loc["surrogate only", "coverage"]:.1%} (surrogate only: it does not depend on the draw, so
a coefficient is covered always or never). The root mean squared error of DSL is between
{gain.min():.0%} and {gain.max():.0%} below that of gold only. The machine's labels taken for the
truth have the smaller error for {(better > 0).sum()} of {len(better)} coefficients, those in which
the machine happens to have little bias; without expert labels nobody knows which ones these are.
Bars are 95 % Monte Carlo intervals."""
)

# %% [markdown]
# ## Which standard error
#
# ### `variance="design"`
#
# With simple random sampling the number of labels is fixed, and the weights $R_i / \pi_i$ average
# to exactly 1. The plain sandwich (`variance="robust"`) does not use that and is too long if the
# prediction is biased; `variance="design"` uses it. Cross-fitted predictions are about unbiased,
# so both agree for them. They differ if the machine's label is taken as it is
# (`learner="passthrough"`). An example is a lenient machine that calls a sentence of an editorial
# positive unless VADER finds it clearly negative:

# %%
editorials = frame.loc[frame["source"] == "nyt", ["positive", *scores]].reset_index(drop=True)
editorials["lenient"] = (editorials["vader"] > -0.05).astype(float)


def label_editorials(random_state):
    draw = draw_labels(len(editorials), 250, random_state=random_state)
    return Bunch(data=editorials.assign(expert=editorials["positive"].where(draw.labeled)))


def share_of_editorials(**options):
    est = DSLMean(learner="passthrough", **options)
    return lambda draw: est.fit(None, draw.data["expert"], prediction=draw.data["lenient"])


spread = monte_carlo(
    label_editorials,
    {
        "robust": share_of_editorials(variance="robust"),
        "design": share_of_editorials(variance="design"),
        "finite corpus": share_of_editorials(population="finite"),
    },
    500,
    truth=[editorials["positive"].mean()],
    random_state=1,
)
spread.table.set_index("estimator")[
    ["truth", "bias", "sd", "mean_se", "se_ratio", "coverage"]
].round(4)

# %% tags=["remove-input"]
ratio = spread.table.set_index("estimator")["se_ratio"]
error = spread.table["se_ratio_mcse"].max()
Prose(
    f"""The lenient machine says {editorials["lenient"].mean():.0%} where experts say
{editorials["positive"].mean():.0%}. The column `se_ratio` is the mean standard error over the
standard deviation of the estimates, and should be 1. It is {ratio["robust"]:.2f} for the robust,
{ratio["design"]:.2f} for the design and {ratio["finite corpus"]:.2f} for the finite-corpus variance
(Monte Carlo error {error:.2f}). Do not use `variance="design"` when each row was labelled
independently by a coin toss and the probabilities are used as given (`normalize_prob=False`): then
the weights do not average to 1. The package falls back to the robust variance and says so."""
)

# %% [markdown]
# ### Is the corpus a sample or the whole?
#
# `population="finite"` says that the rows are all there is: every speech of one parliament, every
# editorial of one year. Then only the labelling is random, the target is the regression in these
# rows, and the interval is shorter. The shorter interval does not reach beyond the corpus.
#
# ### Dependent rows
#
# Sentences of one review or one article are not independent. `clusters=` names the document,
# keeps documents together in the folds, and makes the standard errors robust to any dependence
# within them. It matters most when the experts read whole documents, because then the labels come
# in clusters too.

# %%
documents = data[data["source"].isin(["amazon", "nyt"])].copy()
documents["source"] = documents["source"].cat.remove_unused_categories()
documents["document"] = documents["source"].astype(str) + " " + documents["doc"].astype(str)
gold = frame.loc[documents.index, "positive"]

rng = np.random.default_rng(2026)
read = rng.choice(documents["document"].unique(), size=90, replace=False)
choices = {
    "single sentences": documents.index.isin(rng.choice(documents.index, 1000, replace=False)),
    "whole documents": documents["document"].isin(read).to_numpy(),
}
by_document = {}
for name, chosen in choices.items():
    labelled = documents.assign(expert=gold.where(chosen))
    for vcov, clusters in {"rows": None, "documents": "document"}.items():
        shares = DSLMean(by="source", learner="ols", n_rep=3, random_state=1).fit(
            labelled, "expert", prediction=scores, features=covariates, clusters=clusters
        )
        by_document[name, vcov] = pd.Series(shares.std_error_, index=shares.result_.names)
by_document = pd.DataFrame(by_document).rename_axis(columns=["labels on", "independent"])
by_document.round(4)

# %% tags=["remove-input"]
factor = {
    name: (by_document[name, "documents"] / by_document[name, "rows"]).max() for name in choices
}
Prose(
    f"""The table has standard errors of the share of positive sentences. With labels on single
sentences the clustered ones are up to {factor["single sentences"]:.2f} times as large as those that
take rows for independent, with labels on whole documents up to
{factor["whole documents"]:.2f} times. There were {choices["whole documents"].sum():,} labels in
{len(read)} documents, but they carry less information than as many labels on single sentences."""
)

# %% [markdown]
# ## Shares by genre
#
# Often a table of means is wanted and no regression. `DSLMean` estimates means and shares,
# overall or by group.

# %%
shares = DSLMean(by="source", learner="ols", variance="design", random_state=1)
shares.fit(data, "expert", prediction=scores, features=covariates)
by_source = shares.tidy()[["term", "estimate", "std_error", "conf_low", "conf_high"]]
by_source["experts, all rows"] = by_genre["positive"].mean().to_numpy()
by_source["VADER"] = by_genre["vader_positive"].mean().to_numpy()
by_source.round(3)

# %% [markdown]
# ## Labels by genre
#
# If genres are to be compared, labels are better spread evenly: 250 in each. Say so with
# `design="stratified"` and `strata=`: every genre then has its own labelling probability.

# %%
draw = draw_labels(
    len(frame),
    {"tweet": 250, "amazon": 250, "movie": 250, "nyt": 250},
    design="stratified",
    strata=frame["source"].astype(str),
    random_state=2026,
)
even = data.assign(expert=frame["positive"].where(draw.labeled))
roles = {"prediction": scores, "features": covariates}
options = {"learner": "ols", "variance": "design", "random_state": 1}
stratified = DSLMean(by="source", design="stratified", **options)
stratified.fit(even, "expert", strata="source", **roles)

pd.DataFrame(
    {"1,000 at random": shares.std_error_, "250 in each genre": stratified.std_error_},
    index=pd.Index(shares.result_.names, name="standard error of the share"),
).round(4)

# %% [markdown]
# Three genres gain and the film reviews lose: under simple random sampling they had most labels,
# because they are the largest genre.

# %% [markdown]
# ## When the machine's label is a covariate
#
# The label may also stand on the right-hand side: do positive sentences carry exclamation marks
# more often? Now `exclaim` is known in all rows and the covariate `expert` only in the labelled
# ones. A dict says which column the scores stand for. Replacing $Y_i$ by $\tilde Y_i$ would be
# wrong here, so the package corrects the score of the regression row by row. Give the learner the
# outcome, too, among `features`: the prediction must be good for given outcome.

# %%
covariate_truth = smf.logit("exclaim ~ positive + source + log_words", frame).fit(disp=0).params
swapped = DSLClassifier(formula="exclaim ~ expert + source + log_words", **options)
swap = compare_estimators(
    swapped, data, prediction={"expert": scores}, features=["exclaim", "source", "log_words"]
)
of_label = swap.tidy().query("term == 'expert'").set_index("estimator")
of_label = of_label[["estimate", "std_error", "conf_low", "conf_high"]]
of_label.assign(truth=covariate_truth["positive"]).round(3)

# %% tags=["remove-input"]
Prose(
    f"""The machine's label gives {of_label.loc["surrogate only", "estimate"]:.2f}, the prediction
{of_label.loc["prediction only", "estimate"]:.2f} where experts give
{covariate_truth["positive"]:.2f}. An imperfect 0/1 label draws the coefficient towards zero; a
prediction that has seen the outcome pushes it away. DSL gives
{of_label.loc["DSL", "estimate"]:.2f} with a standard error of
{of_label.loc["DSL", "std_error"]:.2f}; gold only has
{of_label.loc["gold only", "std_error"]:.2f}."""
)

# %% [markdown]
# ## What the assumption buys, and how it breaks
#
# Assumed is that each row had a known positive probability of being labelled, and that nothing
# else decided. In exchange nothing is assumed about the machine: any model, any prompt, any
# version, used in any way that does not depend on who was labelled. The design cannot be tested
# afterwards from the data. Here are five ways to get labels, each repeated 60 times:
#
# - **random sample**: as above.
# - **one genre left out**: no editorial was labelled, yet the estimate is to hold for the corpus.
#   The true probability is 0 for some rows, and their correction has to be invented.
# - **experts check the positives**: labels only where the machine said "positive". The same
#   happens, less visibly, if experts skip rows that they find boring, or if rows are added where
#   the machine looked wrong.
# - **known probabilities**: the same idea, but every row can be drawn. Rows called positive are
#   three times as likely to be drawn as others, and each probability is written down and passed as
#   `sample_prob`.
# - **codebook changed**: for half of the labels "positive" came to mean a rating above 0.8 and
#   no longer above 0.2. The method takes expert labels for the truth, so it estimates a mixture
#   of two truths.


# %%
size = len(frame)
strict = (frame["human"] > 0.8).astype(float)
called = frame["vader_positive"] == 1
relative = np.where(called, 3.0, 1.0)


def pick(rows, number, rng):
    """Draw rows at random from those allowed."""
    chosen = np.zeros(size, dtype=bool)
    chosen[rng.choice(np.flatnonzero(rows), number, replace=False)] = True
    return chosen


def label_in_five_ways(random_state):
    rng = random_state
    unequal = draw_labels(size, 1000, design="unequal", prob=relative, random_state=rng)
    changed = frame["positive"].where(rng.random(size) < 0.5, strict)
    sample = pick(np.ones(size, dtype=bool), 1000, rng)
    ways = {
        "random sample": frame["positive"].where(sample),
        "one genre left out": frame["positive"].where(pick(frame["source"] != "nyt", 1000, rng)),
        "experts check the positives": frame["positive"].where(pick(called, 1000, rng)),
        "known probabilities": frame["positive"].where(unequal.labeled),
        "codebook changed": changed.where(sample),
    }
    return Bunch(ways=ways, prob=unequal.sample_prob)


def fit_labels(way):
    known = way == "known probabilities"
    est = DSLClassifier(
        formula=f"expert ~ {model}",
        learner="ols",
        n_rep=1,
        design="bernoulli" if known else "srs",
        variance="design",
        random_state=0,
    )

    def fit(draw):
        with warnings.catch_warnings(action="ignore", category=OverlapWarning):
            return est.fit(
                data.assign(expert=draw.ways[way]),
                prediction=scores,
                features=covariates,
                sample_prob=draw.prob if known else None,
            )

    return fit


ways = [
    "random sample",
    "one genre left out",
    "experts check the positives",
    "known probabilities",
    "codebook changed",
]
broken = monte_carlo(
    label_in_five_ways, {way: fit_labels(way) for way in ways}, 60, truth=truth, random_state=3
)
chosen_terms = broken.table["term"].isin(["(Intercept)", "source[T.nyt]", "log_words"])
broken.table[chosen_terms].set_index(["estimator", "term"])[
    ["truth", "bias", "mean_se", "coverage"]
].round(2)

# %% [markdown]
# A biased choice does no harm if its probabilities are known, and cannot be repaired if they are
# not. The standard errors of the broken designs look as usual. Of the two, only the first can be
# seen in the data: a genre without any label is warned about (`OverlapWarning`, silenced in the
# simulation above) and named in the summary; labels that somebody chose look like any others.
# That is why a script with a seed should draw the rows before the experts start, and why a
# row that was drawn must be labelled however dull it is.
#
# Other ways to go wrong:
#
# - With few labels (say, fewer than 100) the normal approximation is rough and intervals are
#   somewhat too short. `use_t=True` makes them longer; a model with fewer coefficients helps
#   more.
# - The machine must not learn from the labels outside the folds. If expert labels went into the
#   prompt or the fine-tuning, use other labels for the analysis.
# - Experts make errors. The estimand is what *these* experts would say; bias that all of them
#   share stays.
# - A machine is no help if its scores say little beyond the covariates. The effective labels then
#   stay near the number of labels; the interval is still right.

# %% [markdown]
# ## Exercise
#
# Take TextBlob for the machine: `scores = ["tb_positive", "textblob"]`. (a) For which
# coefficients does surrogate only now miss the truth? (b) What do the effective labels say about
# adding VADER and AFINN? (c) Double the labels to 2,000. By which factor do the standard errors
# of DSL fall, and by which those of surrogate only? (d) Use `DSLRegressor` for the mean rating
# `human`, on the 1,000 drawn rows, with `vader` as prediction, once with `learner="passthrough"`
# and once with the default. Why is the unit of `vader` no problem for the second?

# %% [markdown]
# ## References
#
# - Angelopoulos, A. N., Duchi, J. C. and Zrnic, T. (2023). PPI++: Efficient Prediction-Powered
#   Inference. arXiv:2311.01453.
# - Egami, N., Hinck, M., Stewart, B. M. and Wei, H. (2023). Using Imperfect Surrogates for
#   Downstream Inference: Design-based Supervised Learning for Social Science Applications of
#   Large Language Models. Advances in Neural Information Processing Systems 36.
# - Egami, N., Hinck, M., Stewart, B. M. and Wei, H. (2024). Using Large Language Model
#   Annotations for the Social Sciences: A General Framework of Using Predicted Variables in
#   Downstream Analyses.
# - Hutto, C. J. and Gilbert, E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment
#   Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media.
