# %% [markdown]
# # LLM labels: designs, plans and other models
#
# The first vignette, [LLM labels without tears](llm_labels.py), has the idea: a machine labels
# every row, experts label a random part, and the regression is the one that experts would have
# got. This one answers what comes next in a project. Every section starts with the question, says
# what is assumed, and says when to leave the method alone.
#
# | question | section |
# |---|---|
# | How many labels do I need, and on which rows? | 1, 2 |
# | The label has three classes. | 3, 4 |
# | Articles, authors or days differ from each other, or are what I study. | 5, 6 |
# | Experts disagree. | 7 |
# | My model is not a linear or logistic regression. | 8, 9, 10 |
# | The rows do not fit in memory. | 11 |
# | What can go wrong? | 12 |

# %%
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from sklearn.linear_model import HuberRegressor
from sklearn.utils import Bunch
from statsmodels.discrete.discrete_model import MNLogit
from threadpoolctl import threadpool_limits

from robuststat import (
    DSLBlackBox,
    DSLClassifier,
    DSLMean,
    DSLMoment,
    DSLRegressor,
    LabelPlan,
    OverlapWarning,
    aggregate_units,
    coder_agreement,
    combine_waves,
    compare_estimators,
    draw_wave,
)
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
# The data are the sentences of the first vignette, which about twenty people rated each: `human`
# is their mean rating from −4 to 4. `sentiment` is the expert label in three classes and
# `vader_sentiment` the same by the lexicon VADER. The experts have labelled everything here, so
# that every answer can be held against the truth.
#
# To keep this page quick, learners are least squares or logistic regression with two random
# partitions. In a study leave `learner` and `n_rep` at their defaults.

# %%
frame = load_sentences(classes=3).frame
size = len(frame)
covariates = ["source", "log_words", "exclaim", "negation", "question"]
scores = ["vader_positive", "vader", "textblob", "afinn"]
experts = ["human", "human_sd", "n_raters", "positive", "sentiment"]
machine = frame.drop(columns=experts)  # what is known of every row
model = "source + log_words + exclaim + negation + question"
quick = {"learner": "ols", "n_rep": 2, "variance": "design", "random_state": 1}

# %% [markdown]
# ## 1. How many labels do I need?
#
# Label a few rows first. A fit to this pilot knows how much of its variance comes from labelling
# only some rows, and how much would stay if every row were labelled. `LabelPlan` puts the two
# together for any number of labels. Here the pilot has 300.

# %%
pilot_draw = draw_labels(size, 300, random_state=2026)
pilot_data = machine.assign(rating=frame["human"].where(pilot_draw.labeled))
pilot = DSLRegressor(formula=f"rating ~ {model}", **quick)
pilot.fit(pilot_data, prediction=scores, features=covariates)
plan = LabelPlan(pilot)
sizes = [300, 600, 1200, size]
plan.std_error(sizes).round(3)

# %% tags=["remove-input"]
for_error = plan.labels_needed(coef="negation", se=0.1)
for_power = plan.labels_needed(coef="negation", power=0.8, effect=-0.3)
power_now = plan.power(300, coef="negation", effect=-0.3)
try:
    plan.labels_needed(coef="question", se=0.03)
except ValueError as error:
    unreachable = str(error)
Prose(
    f"""- `plan.labels_needed(coef="negation", se=0.1)`: {for_error:,} labels in all for a standard
  error of 0.1.
- `plan.labels_needed(coef="negation", power=0.8, effect=-0.3)`: {for_power:,} labels to detect an
  effect of −0.3 with probability 0.8; the 300 of the pilot have power {power_now:.2f}. Give the
  smallest effect that would matter. The estimate of the pilot is a bad choice, because power
  computed from it only repeats its p-value.
- `plan.labels_needed(coef="question", se=0.03)` stops: "{unreachable}\""""
)

# %% [markdown]
# Is the plan any good? Here one can look. The crosses are standard deviations of the estimate over
# 40 draws of so many labels.

# %%
planned = ["negation", "exclaim", "question"]
gold = smf.ols(f"human ~ {model}", frame).fit()
gold_rating = gold.params.rename({"Intercept": "(Intercept)"})
rating_fit = DSLRegressor(
    formula=f"rating ~ {model}", learner="ols", n_rep=1, variance="design", random_state=0
)


def label_ratings(n_labels):
    def draw(random_state):
        chosen = draw_labels(size, n_labels, random_state=random_state).labeled
        return Bunch(data=machine.assign(rating=frame["human"].where(chosen)))

    return draw


def fit_ratings(draw):
    return rating_fit.fit(draw.data, prediction=scores, features=covariates)


spread = pd.DataFrame(
    {
        n: monte_carlo(label_ratings(n), fit_ratings, 40, truth=gold_rating, random_state=n)
        .table.set_index("term")["sd"]
        .loc[planned]
        for n in (300, 600, 1200)
    }
)
ax = plan.plot(coef=planned)
ax.texts[0].set_y(0.95)  # clear of the dashed lines
for line, term in zip(ax.get_legend_handles_labels()[0], planned, strict=True):
    _ = ax.plot(spread.columns, spread.loc[term], "x", color=line.get_color(), markersize=8)

# %% tags=["remove-input"]
accuracy = plan.std_error(list(spread.columns)).loc[planned] / spread
Prose(
    f"""The planned standard errors are between {accuracy.min().min():.2f} and
{accuracy.max().max():.2f} times what the simulation finds, whose own error is about
{1 / np.sqrt(2 * 39):.0%}. A plan is an estimate from {pilot.n_labeled_} labels, so take it as
rough."""
)

# %% [markdown]
# **Assumed:** the pilot was drawn at random, and further labels are drawn and judged in the same
# way. The predictions are taken to stay as good as they are; with more labels to learn from they
# usually get better. **Do not use it** on a pilot of a few dozen labels, and do not add labels
# until a coefficient is significant: fix the number, then label.

# %% [markdown]
# ## 2. Which rows? Labels in waves
#
# If one coefficient is the point of the study, some rows tell more about it than others: rows with
# a question mark are rare, and so are rows where the machine errs much. `draw_wave` labels in
# waves and uses earlier waves to choose. It keeps the book on the probabilities: its
# `sample_prob` is what the final fit needs.


# %%
def uniform(draw):
    """Draw 900 labels at once."""
    return fit_ratings(label_ratings(900)(np.random.default_rng(draw.random_state)))


def in_waves(draw):
    """Draw three waves of 300, the later ones for the coefficient of question."""
    rng = np.random.default_rng(draw.random_state)
    est = DSLRegressor(
        formula=f"rating ~ {model}",
        learner="ols",
        n_rep=1,
        design="bernoulli",
        normalize_prob=False,
        random_state=0,
    )
    roles = {"prediction": scores, "features": covariates}
    rating = pd.Series(np.nan, index=frame.index)
    wave = None
    with warnings.catch_warnings(action="ignore", category=OverlapWarning):  # said in the text
        for number in (300, 300, 300):
            wave = draw_wave(
                est,
                machine.assign(rating=rating),
                None,  # the outcome is in the formula
                n_labels=number,
                coef="question",
                earlier=wave,
                floor=0.3,
                random_state=rng,
                **roles,
            )
            rating[wave.rows] = frame["human"][wave.rows]  # the experts at work
        return est.fit(machine.assign(rating=rating), sample_prob=wave.sample_prob, **roles)


waves = monte_carlo(
    lambda random_state: {},
    {"at once": uniform, "in waves": in_waves},
    30,
    truth=gold_rating,
    random_state=7,
)
by_wave = waves.table.pivot_table(
    ["mean_se", "rmse", "coverage"], index="term", columns="estimator", sort=False
)
by_wave[["mean_se", "rmse", "coverage"]].round(3)

# %% tags=["remove-input"]
shorter = by_wave["mean_se", "in waves"] / by_wave["mean_se", "at once"]
rmse_error = waves.table.query("term == 'question'")["rmse_mcse"].max()
Prose(
    f"""For `question`, the coefficient asked for, the mean standard error falls by
{1 - shorter["question"]:.0%}, for which about {1 / shorter["question"] ** 2:.1f} times the labels
would be needed at once. Others pay for it: that of `{shorter.idxmax()}` rises by
{shorter.max() - 1:.0%}. With 30 repetitions the root mean squared errors are known to about
{rmse_error:.2f} only, the standard errors much better."""
)

# %% [markdown]
# **Assumed:** the numbers of all waves were fixed before the first one, and every drawn row was
# labelled. **Do not use it** when several coefficients matter alike. Then label evenly, or evenly
# within strata. `floor` is the part of each wave that is drawn uniformly: it bounds the weights,
# and the default of 0.1 is bold when the first wave is small. The package warns when weights get
# large (silenced here). Waves drawn by other means are combined by `combine_waves`, see section 12.

# %% [markdown]
# ## 3. Three classes
#
# The label is *negative*, *neutral* or *positive*. What share of each genre is what, and which
# sentences are neutral? Strings are fine as labels and as predictions. Experts label 1,000
# sentences.

# %%
chosen = draw_labels(size, 1000, random_state=2026).labeled
labelled = machine.assign(
    expert=frame["sentiment"].where(chosen),
    rating=frame["human"].where(chosen),
    spread=frame["human_sd"].where(chosen),
)
class_roles = {
    "prediction": "vader_sentiment",
    "features": [*covariates, "vader", "textblob", "afinn"],
}
quick_logit = {**quick, "learner": "logit"}

shares = DSLMean(by="source", **quick_logit).fit(labelled, "expert", **class_roles)
print(shares.summary())


# %%
def side_by_side(tables):
    """One frame for a plot of several tables."""
    parts = [table.assign(estimator=name) for name, table in tables.items()]
    return pd.concat(parts, ignore_index=True)


def observed_shares(column):
    """Shares of a column in each genre, with their intervals."""
    every = DSLMean(by="source", learner="passthrough")
    with warnings.catch_warnings(action="ignore"):  # there is no row without a label
        return every.fit(machine.assign(y=column), "y", prediction=column).tidy()


def row_labels(table):
    return table["outcome"] + ": " + table["term"]


counted = observed_shares(frame["sentiment"])
by_machine = observed_shares(frame["vader_sentiment"])
ax = coefplot(
    side_by_side({"VADER": by_machine, "DSL": shares.tidy()}),
    group="estimator",
    truth=dict(zip(row_labels(counted), counted["estimate"], strict=True)),
    xlabel="Share of the genre",
)

# %% tags=["remove-input"]
share_of = {
    name: table.set_index(["outcome", "term"])["estimate"]
    for name, table in {"truth": counted, "VADER": by_machine, "DSL": shares.tidy()}.items()
}
movie = ("neutral", "source[movie]")
dsl_table = shares.tidy().set_index(["outcome", "term"])
covered = share_of["truth"].between(dsl_table["conf_low"], dsl_table["conf_high"])
Prose(
    f"""VADER calls {share_of["VADER"][movie]:.0%} of the sentences of film reviews neutral,
experts {share_of["truth"][movie]:.0%}. A lexicon that finds none of its words calls a sentence
neutral, and reviewers seem to praise and damn in words of their own. DSL says
{share_of["DSL"][movie]:.0%}. Its intervals hold the truth for {covered.sum()} of {len(covered)}
shares. The note at the end of the summary is about shares for which the machine hardly helps:
`tuning="scalar"` would give it less weight there."""
)

# %% [markdown]
# The regression for three classes is the multinomial logit, `model="multinomial"`. Its
# coefficients are log-odds against the first class, and few readers can picture these. `margins()`
# turns them into average marginal effects: by how much does the *probability* of each class
# change, on average over the rows? The variance holds both that of the coefficients and that of the
# average over rows.

# %%
classes = DSLClassifier(model="multinomial", formula=f"expert ~ {model}", **quick_logit)
classes.fit(labelled, **class_roles)
variables = ["log_words", "exclaim", "negation", "question"]
effects = classes.margins(labelled, variables=variables)
effects.tidy()[["outcome", "term", "estimate", "std_error", "conf_low", "conf_high"]].round(3)


# %%
def margins_of(column):
    """Average marginal effects as every row gives them, in the layout of tidy()."""
    genres = pd.get_dummies(frame["source"], drop_first=True, dtype=float).assign(constant=1.0)
    X = genres.join(frame[variables])
    found = MNLogit(frame[column].cat.codes, X).fit(disp=0).get_margeff()
    tables = []
    for c, name in enumerate(frame[column].cat.categories):
        half = 1.96 * found.margeff_se[-4:, c]
        middle = found.margeff[-4:, c]
        tables.append(
            pd.DataFrame(
                {
                    "outcome": name,
                    "term": variables,
                    "estimate": middle,
                    "conf_low": middle - half,
                    "conf_high": middle + half,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


gold_margins = margins_of("sentiment")
vader_margins = margins_of("vader_sentiment")
ax = coefplot(
    side_by_side({"VADER": vader_margins, "DSL": effects.tidy()}),
    group="estimator",
    truth=dict(zip(row_labels(gold_margins), gold_margins["estimate"], strict=True)),
    xlabel="Average marginal effect on the probability",
)

# %% tags=["remove-input"]
at = {
    name: table.set_index(["outcome", "term"]).sort_index()
    for name, table in {
        "truth": gold_margins,
        "VADER": vader_margins,
        "DSL": effects.tidy(),
    }.items()
}
length = ("neutral", "log_words")
inside = {
    name: at["truth"]["estimate"].between(at[name]["conf_low"], at[name]["conf_high"]).sum()
    for name in ("VADER", "DSL")
}
Prose(
    f"""Length again: VADER makes longer sentences less *neutral*, by
{-at["VADER"].loc[length, "estimate"]:.3f} for each unit of `log_words`; with the labels of experts
it is {-at["truth"].loc[length, "estimate"]:.3f}. A long sentence has more words that a lexicon can
find. The intervals hold the truth for {inside["VADER"]} (VADER) and
{inside["DSL"]} (DSL) of {len(gold_margins)} effects."""
)

# %% [markdown]
# **Assumed:** nothing new. The effects describe the model that experts would have got; they are
# not effects of an intervention. **Do not use it** when a class has only a handful of labels. A
# fit that does not converge says so, and its numbers are then worth nothing; merge classes or
# label more (in strata of the machine's class, so that rare ones are drawn).

# %% [markdown]
# ## 4. The category on the right-hand side
#
# Are neutral sentences shorter? Now the length is known and the class is a covariate, known for
# the 1,000 rows only. A dict says which column the machine's label stands for; each class gets its
# own coefficient.

# %%
length_roles = {
    "prediction": {"expert": "vader_sentiment"},
    "features": ["log_words", "source", "vader", "textblob", "afinn"],
}
by_class = DSLRegressor(formula="log_words ~ expert + source", **quick_logit)
sides = compare_estimators(by_class, labelled, **length_roles).table
neutral = sides[sides["term"] == "expert[T.neutral]"].set_index("estimator")
neutral = neutral[["estimate", "std_error", "conf_low", "conf_high"]]
full_class = smf.ols("log_words ~ sentiment + source", frame).fit().params
neutral.assign(truth=full_class["sentiment[T.neutral]"]).round(3)

# %% tags=["remove-input"]
Prose(
    f"""The truth is that neutral and negative sentences hardly differ in length
({full_class["sentiment[T.neutral]"]:.2f} on the log scale). VADER says
{neutral.loc["surrogate only", "estimate"]:.2f} with a standard error of
{neutral.loc["surrogate only", "std_error"]:.2f}: it is the short sentences in which a lexicon finds
nothing. The cross-fitted prediction taken for the truth is worse still
({neutral.loc["prediction only", "estimate"]:.2f}), because it was made from the length, among
others. DSL says {neutral.loc["DSL", "estimate"]:.2f} ({neutral.loc["DSL", "conf_low"]:.2f} to
{neutral.loc["DSL", "conf_high"]:.2f})."""
)

# %% [markdown]
# **Assumed:** nothing new. **Be careful** in a logit or Poisson regression whose outcome is rare
# within a class. With a predicted covariate the estimating equation is no longer that of a
# well-behaved likelihood, and a solution is harder to find. A fit that did not converge warns; do
# not use its numbers, and label more rows where the outcome occurs.

# %% [markdown]
# ## 5. Articles differ: fixed effects
#
# Within one article, are sentences with a negation more negative? Some articles may have many
# negations and be gloomy in general, so the comparison is to be made within articles.
# `absorb="doc"` gives each article its own intercept without 498 columns, and `clusters="doc"`
# allows sentences of an article to depend on each other.

# %%
editorials = frame[frame["source"] == "nyt"].reset_index(drop=True)
n_editorial = len(editorials)
read = draw_labels(n_editorial, 1500, random_state=2026).labeled
known = editorials.drop(columns=experts).assign(rating=editorials["human"].where(read))
within = DSLRegressor(formula="rating ~ log_words + negation + question", absorb="doc", **quick)
within.fit(known, prediction=scores, features=covariates[1:], clusters="doc")
print(within.summary())

# %%
by_article = editorials.groupby("doc")


def slopes_within(outcome, columns):
    """Least squares on deviations from the mean of the article."""
    y, X = (editorials[c] - by_article[c].transform("mean") for c in (outcome, columns))
    return pd.Series(np.linalg.lstsq(X, y, rcond=None)[0], index=columns)


columns = ["log_words", "negation", "question"]
of_within = within.tidy().set_index("term")[["estimate", "std_error", "conf_low", "conf_high"]]
of_within["truth"] = slopes_within("human", columns)
of_within["VADER"] = slopes_within("vader", columns)
of_within.round(3)

# %% [markdown]
# Articles without a label stay in: predictions and fixed effects are known for them, too. As with
# any fixed effects, `vcov="HC0"` is too small for short groups; clustered standard errors are not.
#
# **Assumed:** articles are independent of each other. **Do not use it** when the *covariate* is
# the predicted one and groups have few labels. The group means of the corrected covariate are then
# mostly noise of the correction, and this noise is squared. An example: how strongly does VADER's
# score follow the expert rating within articles? TextBlob and AFINN predict the rating.


# %%
def label_editorials(random_state):
    drawn = draw_labels(n_editorial, 1500, random_state=random_state).labeled
    return Bunch(data=known.assign(expert=editorials["human"].where(drawn)))


def follow(absorb):
    est = DSLRegressor(
        formula="vader ~ expert", absorb=absorb, learner="ols", n_rep=1, random_state=0
    )

    def fit(draw):
        with warnings.catch_warnings(action="ignore"):  # it warns of what is shown here
            est.fit(
                draw.data,
                prediction={"expert": ["textblob", "afinn"]},
                features="vader",
                clusters="doc",
            )
        result = est.tidy().set_index("term").loc[["expert"]]
        return {
            "estimate": result["estimate"].to_numpy(),
            "std_error": result["std_error"].to_numpy(),
            "names": ["expert"],
        }

    return fit


follow_truth = {
    "498 effects": slopes_within("vader", ["human"])["human"],
    "no effects": smf.ols("vader ~ human", editorials).fit().params["human"],
}
short = pd.concat(
    [
        monte_carlo(
            label_editorials,
            {name: follow("doc" if name == "498 effects" else None)},
            25,
            truth={"expert": value},
            random_state=5,
        ).table
        for name, value in follow_truth.items()
    ]
)
short.set_index("estimator")[["truth", "bias", "bias_mcse", "mean_se", "coverage"]].round(4)

# %% tags=["remove-input"]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    DSLRegressor(formula="vader ~ expert", absorb="doc", **quick).fit(
        known.rename(columns={"rating": "expert"}),
        prediction={"expert": ["textblob", "afinn"]},
        features="vader",
        clusters="doc",
    )
short_bias = short.set_index("estimator").loc["498 effects"]
Prose(
    f"""With {1500 / 498:.0f} labels an article, the coefficient within articles is
{short_bias["bias"] / short_bias["truth"]:+.0%} off and its interval covers the truth in
{short_bias["coverage"]:.0%} of the draws; without the 498 effects it is fine. The package knows
and warns: "{caught[0].message}\""""
)

# %% [markdown]
# ## 6. Units above the documents
#
# The question is about reviews, and the labels are of their sentences: do longer reviews have a
# larger share of positive sentences? `aggregate_units` makes one row a review. The label of a
# review is the mean over *all* its sentences of the machine's label, corrected by the expert labels
# where there are any. It is unbiased even for reviews that no expert has read.

# %%
amazon = frame[frame["source"] == "amazon"].reset_index(drop=True)
amazon["log_sentences"] = np.log(amazon.groupby("doc")["doc"].transform("size"))
read = draw_labels(len(amazon), 800, random_state=2026).labeled
sentences = amazon.drop(columns=experts).assign(expert=amazon["positive"].where(read))
units = aggregate_units(
    sentences, "expert", unit="doc", prediction="vader_positive", covariates=["log_sentences"]
)
print(units.summary())

# %%
per_review = amazon.groupby("doc").agg(
    experts=("positive", "mean"), log_sentences=("log_sentences", "first")
)
by_review = {
    "experts, all sentences": smf.ols("experts ~ log_sentences", per_review),
    "VADER": smf.ols("vader_positive ~ log_sentences", units.table),
    "800 labels": smf.ols("expert ~ log_sentences", units.table),
}
by_review = {name: fit.fit(cov_type="HC1") for name, fit in by_review.items()}
same = DSLRegressor(learner="passthrough").fit(
    sentences[["log_sentences"]],
    sentences["expert"],
    prediction=sentences["vader_positive"],
    sample_weight=units.weights,
    clusters=sentences["doc"],
)
slopes = pd.DataFrame(
    {
        name: {"slope": fit.params["log_sentences"], "std_error": fit.bse["log_sentences"]}
        for name, fit in by_review.items()
    }
).T
slopes.loc["the same from sentences"] = [same.coef_[0], same.std_error_[1]]
slopes.round(3)

# %% tags=["remove-input"]
Prose(
    f"""With all labels of the experts the slope is {slopes["slope"].iloc[0]:.3f}, with VADER's
labels {slopes["slope"].iloc[1]:.3f}, with 800 labels {slopes["slope"].iloc[2]:.3f} and a standard
error that is {slopes["std_error"].iloc[2] / slopes["std_error"].iloc[0]:.2f} times that of all
labels. The last line is the same regression from the sentences, weighted and clustered by review;
there, a learner can be cross-fitted as well."""
)

# %% [markdown]
# **Assumed:** single sentences were drawn, from whatever review. If whole reviews were drawn, say
# `drawn="units"`. **Do not use** the unit labels of drawn sentences as a *covariate*: they are
# unbiased but noisy, and noise in a covariate shrinks its slope (the summary says by how much).
# Draw whole units for that.

# %% [markdown]
# ## 7. Experts disagree
#
# The method takes the expert label for the truth. How much of the label is the expert? Give some
# rows to several coders and look before the main labelling starts. The corpus has the mean and the
# standard deviation of its raters, but not their single ratings, so **three coders are simulated
# here**: normal around the published mean with the published standard deviation, rounded to the
# scale. Coder C was made lenient on purpose.

# %%
rng = np.random.default_rng(2026)
both = frame.sample(600, random_state=2026)
ratings = both["human"].to_numpy()[:, None] + both["human_sd"].to_numpy()[:, None] * rng.normal(
    size=(600, 3)
)
ratings[:, 2] += 0.5
coders = pd.DataFrame(np.clip(np.rint(ratings), -4, 4), columns=["A", "B", "C"])
agreement = coder_agreement(coders, scale="interval", n_boot=300, random_state=1)
print(agreement.summary())

# %%
agreement.attenuation([1, 3, 20]).round(3)

# %%
one = frame["human"] + frame["human_sd"] * rng.normal(size=size)  # one rater for every row
one = np.clip(np.rint(one), -4, 4)
averaged = fit_ratings(Bunch(data=labelled)).tidy().set_index("term")["std_error"]
single = fit_ratings(Bunch(data=labelled.assign(rating=one.where(chosen))))
errors = pd.DataFrame({"mean of the raters": averaged})
errors["one simulated rater"] = single.tidy().set_index("term")["std_error"]
errors["ratio"] = errors["one simulated rater"] / errors["mean of the raters"]
steep = {
    "mean of the raters": smf.ols("vader ~ human", frame).fit().params["human"],
    "one simulated rater": smf.ols("vader ~ one", frame.assign(one=one)).fit().params["one"],
}
errors.round(3)

# %% tags=["remove-input"]
factors = agreement.attenuation([1]).iloc[0]
Prose(
    f"""One label of one coder has reliability {factors["reliability"]:.2f}. As an *outcome* the
noise costs precision only: at least {factors["se_factor"]:.2f} times the standard error, and
{errors["ratio"].mean():.2f} times on average when the 1,000 labels come from one simulated rater
and no longer from the mean of twenty. As the only *covariate* the noisy label shrinks its slope to
about {factors["reliability"]:.2f} of its size; the regression of VADER's score on the rating shows
{steep["one simulated rater"] / steep["mean of the raters"]:.2f}. No further labels of this kind
repair that: the estimand itself has changed. Use the mean of several coders."""
)

# %% [markdown]
# **Assumed:** coders label independently of each other given the row, and the noise has nothing to
# do with the covariates. **Do not read** agreement as truth: an error that all coders share cannot
# be seen. And do not drop the rows on which coders disagree (see section 12).

# %% [markdown]
# ## 8. Not the mean: quantiles
#
# Does a negation lower the rating of the worst sentences as much as that of the best? Ratings are
# a continuous outcome, and `model="quantile"` describes any quantile of it. Predictions that aim at
# the mean are of little use here, so they are weighted by how much they help (`tuning="scalar"`).

# %%
levels = [0.1, 0.25, 0.5, 0.75, 0.9]
formula = "source + log_words + negation"
rows, truth_rows = [], {}
for level in levels:
    by_quantile = DSLRegressor(
        "quantile",
        quantile=level,
        formula=f"rating ~ {formula}",
        tuning="scalar",
        **{**quick, "n_rep": 1},
    )
    by_quantile.fit(labelled, prediction=scores, features=covariates)
    row = by_quantile.tidy().query("term == 'negation'").assign(term=f"quantile {level}")
    rows.append(row)
    whole = smf.quantreg(f"human ~ {formula}", frame).fit(q=level)
    truth_rows[f"quantile {level}"] = whole.params["negation"]
quantiles = pd.concat(rows, ignore_index=True)
ax = coefplot(
    quantiles, truth=truth_rows, xlabel="Coefficient of negation on a quantile of the rating"
)

# %% tags=["remove-input"]
held = quantiles["term"].map(truth_rows).between(quantiles["conf_low"], quantiles["conf_high"])
low, middle, high = (truth_rows[f"quantile {level}"] for level in (0.1, 0.5, 0.9))
worth = by_quantile.design_effect_ * by_quantile.n_labeled_
Prose(
    f"""With the labels of all rows the coefficient is {low:.2f} at the lowest decile,
{middle:.2f} at the median and {high:.2f} at the highest decile: a negation goes with worse ratings
among middling and good sentences and changes little among those that are bad already.
{sum(held)} of {len(held)} intervals hold the truth. At the last quantile {by_quantile.n_labeled_:,}
labels are worth {worth.min():,.0f} to {worth.max():,.0f}: the machine hardly helps with
quantiles."""
)

# %% [markdown]
# **Assumed:** the outcome is continuous near the quantile. **Do not use it** for labels of a few
# classes, whose quantiles jump, or for extreme quantiles with few labels.

# %% [markdown]
# ## 9. Several outcomes, one test
#
# Does a question mark go with the mean rating, with the disagreement of the raters, or with
# either? Two tests at 5 % are not one test at 5 %. Give both outcomes at once: each has its
# regression, and the joint variance serves a test across them.

# %%
pair = DSLRegressor(**quick).fit(
    labelled[covariates],
    labelled[["rating", "spread"]],
    prediction={"rating": labelled[scores], "spread": labelled[scores]},
    features=labelled[covariates],
)
print(pair.wald_test("`rating:question` = 0, `spread:question` = 0"))
pair.tidy().query("term == 'question'")[["outcome", "estimate", "std_error", "p_value"]].round(3)

# %% [markdown]
# **Assumed:** a row counts as labelled when both outcomes are known. **Do not use it** to fish:
# the test is for outcomes that were named beforehand.

# %% [markdown]
# ## 10. A model that is not in the package
#
# ### Your own moments: `DSLMoment`
#
# Whatever solves "the average of some function is zero" can be estimated. Here it is an
# instrumental-variable regression. **The data are simulated**, because the corpus has no
# instrument: exposure to a campaign depends on two randomised letters and on an unobserved trait
# that also shapes the attitude. The true effect of exposure is 0.5. A machine scores the attitude
# from text and overstates it for the exposed.

# %%
rng = np.random.default_rng(2026)
people = 5000
letter_1, letter_2, trait, noise = rng.normal(size=(4, people))
exposure = 0.5 * letter_1 + 0.3 * letter_2 + trait + rng.normal(size=people)
attitude = 0.5 * exposure - trait + noise
survey = pd.DataFrame({"exposure": exposure, "letter_1": letter_1, "letter_2": letter_2})
survey["score"] = attitude + 0.3 * exposure + 0.5 * rng.normal(size=people)
asked = draw_labels(people, 500, random_state=2026).labeled
survey["attitude"] = np.where(asked, attitude, np.nan)


def instrument_moments(theta, X, y):
    """Residuals are unrelated to a constant and to both letters."""
    residual = y - theta[0] - theta[1] * X[:, 0]
    return np.column_stack([np.ones(len(X)), X[:, 1:]]) * residual[:, None]


effect = DSLMoment(
    instrument_moments,
    n_params=2,
    param_names=["(Intercept)", "exposure"],
    formula="attitude ~ exposure + letter_1 + letter_2 - 1",
    **quick,
)
effect.fit(survey, prediction="score", features=["exposure", "letter_1", "letter_2"])
print(effect.summary())


# %% tags=["remove-input"]
def two_stage(y):
    """Slope of two-stage least squares."""
    Z = np.column_stack([np.ones(people), letter_1, letter_2])
    fitted = Z @ np.linalg.lstsq(Z, exposure, rcond=None)[0]
    return np.polyfit(fitted, y, 1)[0]


of_effect = effect.tidy().set_index("term").loc["exposure"]
Prose(
    f"""With the true attitude of all {people:,} people, least squares would give
{np.polyfit(exposure, attitude, 1)[0]:.2f} and the instruments {two_stage(attitude):.2f}. With the
machine's score in its place the instruments give {two_stage(survey["score"]):.2f}, as the score's
error depends on exposure: no instrument repairs a biased outcome. DSL gives
{of_effect["estimate"]:.2f} ({of_effect["conf_low"]:.2f} to {of_effect["conf_high"]:.2f}). There are
three moments for two parameters, so the summary has Hansen's test that they agree (p-value
{effect.j_pvalue_:.2f})."""
)

# %% [markdown]
# **Assumed:** the instruments are valid. DSL corrects the machine, not the research design.
# **Do not use it** with weak instruments; the normal approximation is then wrong, with or without
# surrogates.
#
# ### Any estimator of scikit-learn: `DSLBlackBox`
#
# If all there is is an estimator with `fit(X, y, sample_weight)`, it is fitted three times: to the
# expert labels, to the machine's labels of the same rows, and to the machine's labels of all rows.
# The difference of the last two corrects the first (Kluger et al. 2025). Here it is a robust
# regression of Huber for the editorials.

# %%
some = draw_labels(n_editorial, 500, random_state=2026).labeled
huber_data = editorials.drop(columns=experts).assign(rating=editorials["human"].where(some))
huber = DSLBlackBox(
    HuberRegressor(alpha=0),
    formula="rating ~ log_words + negation + question",
    n_boot=100,
    random_state=1,
)
huber.fit(huber_data, prediction="vader")
huber_table = huber.tidy().set_index("term").loc[columns, ["estimate", "std_error"]]
huber_table["labels alone"] = huber.components_.loc[columns, "gold"]
huber_table["truth"] = HuberRegressor(alpha=0).fit(editorials[columns], editorials["human"]).coef_
huber_table.round(3)

# %% [markdown]
# **Assumed:** the estimator is a smooth function of the data, so that a bootstrap is valid.
# **Do not use it** for the lasso, for matching, or with tuning parameters chosen in each fit; nor
# where a class of the package fits, which is faster and makes better use of several scores.

# %% [markdown]
# ## 11. More rows than memory
#
# `fit_stream` reads a Parquet file (or a Dask frame, or frames from a function) in chunks and
# gives what `fit` gives. Memory holds one chunk, the labelled rows, and sums. For the demonstration
# the corpus is written four times, one after the other, to a file.

# %%
tiles = 4
big = pd.concat([machine] * tiles, ignore_index=True).astype({"source": str})
marked = draw_labels(len(big), 2000, random_state=2026).labeled
big["expert"] = np.where(marked, np.tile(frame["positive"], tiles), np.nan)
stream = DSLClassifier(formula=f"expert ~ {model}", **{**quick, "n_rep": 1})
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "sentences.parquet"
    big.to_parquet(path, row_group_size=25_000)
    in_chunks = stream.fit_stream(path, prediction=scores, features=covariates).result_
at_once = stream.fit(big, prediction=scores, features=covariates).result_
gap = {
    "estimates": np.abs(in_chunks.estimate - at_once.estimate).max(),
    "standard errors": np.abs(in_chunks.std_error - at_once.std_error).max(),
}
assert max(gap.values()) < 1e-8

# %% tags=["remove-input"]
Prose(
    f"""The largest difference between the two fits of {len(big):,} rows is
{gap["estimates"]:.0e} for estimates and {gap["standard errors"]:.0e} for standard errors. The
tiled rows are copies, so the standard errors themselves mean nothing here. The script
`benchmarks/surrogate_stream.py` measures time and memory for up to ten million rows."""
)

# %% [markdown]
# **Assumed:** the file does not change while it is read several times. **Do not use it** when the
# rows fit in memory: `fit` is many times faster. Fixed effects, tuning and quantiles need all rows
# at once. Levels of a category are sorted as text, and the first is the reference: with a pandas
# category in another order `fit` has another reference, hence the `astype` above.

# %% [markdown]
# ## 12. What can go wrong
#
# The machine cannot break the method, but the labelling can. The first vignette shows three ways:
# rows that could not be drawn ($\pi_i = 0$), experts who check only what the machine calls
# positive, and a codebook that changes halfway. Two more come from good intentions:
#
# - **unclear rows dropped.** Experts label a random sample and the rows on which they disagree
#   are left out as "unclear". That is selection after the fact: unclear rows are another kind of
#   rows.
# - **waves taken for one sample.** The first 300 labels are random. Of about 600 more, five in six
#   are drawn from that genre where, by the first labels, the machine is most wrong; then all are
#   used as if drawn at once. `combine_waves` is given which rows were drawn when and with what
#   probability, and puts it right.
#
# The target is the share of positive sentences, the machine is VADER's label as it is.


# %%
genre = frame["source"].astype(str).to_numpy()
unclear = (frame["human_sd"] > frame["human_sd"].median()).to_numpy()
positive = frame["positive"].astype(float)


def label_in_waves(random_state):
    rng = random_state
    first = draw_labels(size, 300, random_state=rng).labeled
    wrong = (positive - frame["vader_positive"])[first].groupby(genre[first]).mean().abs()
    target = genre == wrong.idxmax()
    chance = np.where(target, 500 / (target & ~first).sum(), 100 / (~target & ~first).sum())
    chance = np.where(first, 0.0, np.minimum(chance, 1.0))
    second = rng.random(size) < chance
    sample = draw_labels(size, 900, random_state=rng).labeled
    combined = combine_waves(
        np.where(first, 1, np.where(second, 2, 0)),
        np.column_stack([np.full(size, 300 / size), chance]),
        shares=[1 / 3, 2 / 3],
    )
    return Bunch(
        ways={
            "random sample": sample,
            "unclear rows dropped": sample & ~unclear,
            "waves taken for one sample": first | second,
            "waves, combine_waves": first | second,
        },
        prob=combined.sample_prob,
    )


def share_positive(way):
    combined = way == "waves, combine_waves"
    est = DSLMean(
        learner="passthrough",
        design="bernoulli" if combined else "srs",
        normalize_prob=not combined,
        variance="robust" if combined else "design",
    )

    def fit(draw):
        with warnings.catch_warnings(action="ignore", category=OverlapWarning):
            return est.fit(
                None,
                positive.where(draw.ways[way]),
                prediction=frame["vader_positive"],
                sample_prob=draw.prob if combined else None,
            )

    return fit


ways = [
    "random sample",
    "unclear rows dropped",
    "waves taken for one sample",
    "waves, combine_waves",
]
broken = monte_carlo(
    label_in_waves,
    {way: share_positive(way) for way in ways},
    100,
    truth=[positive.mean()],
    random_state=3,
).table.set_index("estimator")
broken[["truth", "bias", "bias_mcse", "sd", "mean_se", "coverage"]].round(4)

# %% [markdown]
# The second is not biased on average, because the genre that looks worst differs from draw to
# draw; but the labels of each draw lean to one side, and the standard error does not know it. The
# price of `combine_waves` is a larger standard error, which is right. Neither mistake shows in the
# summary of a fit.
#
# And the limit of every method that relies on large samples: **few labels**. Here is the
# regression of the rating on length, negation and question mark in the editorials, with 25 to 200
# labels.


# %%
few_fit = DSLRegressor(
    formula="rating ~ log_words + negation + question",
    learner="ols",
    n_rep=1,
    variance="design",
    random_state=0,
)


def label_few(n_labels):
    def draw(random_state):
        drawn = draw_labels(n_editorial, n_labels, random_state=random_state).labeled
        return Bunch(data=known.assign(rating=editorials["human"].where(drawn)))

    return draw


def fit_few(draw):
    with warnings.catch_warnings(action="ignore", category=OverlapWarning):
        return few_fit.fit(draw.data, prediction=scores, features=covariates[1:])


few_truth = smf.ols("human ~ log_words + negation + question", editorials).fit().params
parts = []
for n_labels in (25, 50, 100, 200):
    few = monte_carlo(
        label_few(n_labels), fit_few, 100, truth=few_truth.to_numpy(), random_state=n_labels
    )
    part = few.table[["term", "coverage", "coverage_mcse"]]
    parts.append(part.assign(labels=f"{n_labels} labels"))
parts = pd.concat(parts, ignore_index=True).rename(columns={"coverage": "estimate"})
parts["conf_low"] = parts["estimate"] - 1.96 * parts["coverage_mcse"]
parts["conf_high"] = np.minimum(parts["estimate"] + 1.96 * parts["coverage_mcse"], 1.0)
ax = coefplot(parts, group="labels", null=0.95, xlabel="Coverage of 95 % intervals (dashed: 0.95)")

# %% tags=["remove-input"]
cover = parts.set_index(["labels", "term"])["estimate"]
asking = editorials["question"].mean()
Prose(
    f"""Bars are 95 % Monte Carlo intervals. What counts is not only the number of labels but how
many of them tell something about a coefficient. A question mark is in {asking:.0%} of these
sentences, that is, in about {50 * asking:.0f} of 50 labelled ones, and the intervals of `question`
then cover the truth in {cover["50 labels", "question"]:.0%} of the draws; with 200 labels it is
{cover["200 labels", "question"]:.0%}. With 25 labels there are often none, which the package warns
about (silenced here). `use_t=True` makes intervals somewhat longer; leaving out what cannot be
estimated, or drawing within strata, helps more."""
)

# %% [markdown]
# Before a study, then: write down which rows are drawn, with which seed and probability; label
# every row that was drawn, under one codebook; and fix the number of labels beforehand.

# %% [markdown]
# ## References
#
# - Egami, N., Hinck, M., Stewart, B. M. and Wei, H. (2023). Using Imperfect Surrogates for
#   Downstream Inference: Design-based Supervised Learning for Social Science Applications of
#   Large Language Models. Advances in Neural Information Processing Systems 36.
# - Hutto, C. J. and Gilbert, E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment
#   Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media.
# - Kluger, D. M., Lu, K., Zrnic, T., Wang, S. and Bates, S. (2025). Prediction-Powered Inference
#   with Imputed Covariates and Nonuniform Sampling. arXiv:2501.18577.
# - Krippendorff, K. (2011). Computing Krippendorff's Alpha-Reliability. University of
#   Pennsylvania.
# - Zrnic, T. and Candes, E. J. (2024). Active Statistical Inference. ICML.
