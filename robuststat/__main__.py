"""The tour: one real problem a family on shipped data, the naive answer beside the robust one."""

from __future__ import annotations

import sys
import textwrap
import time

import numpy as np
import pandas as pd

import robuststat
from robuststat import DSLClassifier, InvarianceTest, InvariantSubsets, compare_estimators
from robuststat._core.types import Array
from robuststat.datasets import load_sentences
from robuststat.surrogate import Comparison

FORMULA = "positive ~ C(source) + log_words + exclaim + negation + question"
SURROGATES = ["vader_positive", "vader", "textblob", "afinn"]
FEATURES = ["source", "log_words", "exclaim", "negation", "question"]
N_LABELS, SEED = 1_000, 2026
SCORES = ["vader", "textblob", "afinn", "log_words", "exclaim", "negation", "question"]
SHOWN = ("surrogate only", "gold only", "DSL")


def main() -> None:
    """Print the tour on standard output."""
    started = time.perf_counter()
    print(f"robuststat {robuststat.__version__}\n")
    tour_surrogate(interactive=sys.stderr.isatty())
    print()
    tour_environments()
    print(f"\n({time.perf_counter() - started:.0f} seconds)")


def tour_surrogate(*, interactive: bool) -> None:
    """Ask what makes a sentence positive when a lexicon did the labelling."""
    import statsmodels.formula.api as smf

    sentences = load_sentences().frame
    n = len(sentences)
    _say(
        f"1. SURROGATE LABELS. {n:,} sentences from tweets, reviews and editorials; the VADER "
        "lexicon labelled all of them as positive or not. Which features go with a positive "
        f"sentence? We pretend that experts read only {N_LABELS:,} sentences, drawn at random, and "
        "compare three logistic regressions with the one on all human labels, which nobody would "
        "have."
    )
    labelled = np.random.default_rng(SEED).choice(n, size=N_LABELS, replace=False)
    known = np.zeros(n, dtype=bool)
    known[labelled] = True
    frame = sentences.assign(positive=sentences["positive"].where(known))

    model = DSLClassifier(
        formula=FORMULA, variance="design", random_state=SEED, verbose=int(interactive)
    )
    found = compare_estimators(model, frame, prediction=SURROGATES, features=FEATURES)
    truth = np.asarray(smf.logit(FORMULA, sentences).fit(disp=0).params)
    print(_table(found, truth), "\n")
    _say(
        "Estimates in log-odds with 95 % intervals; * marks an interval that misses the answer "
        "from all human labels. "
        + _verdict(found, truth)
        + " The combined answer (DSL) holds whatever the lexicon's errors are, because the "
        f"{N_LABELS:,} human labels correct it at a known sampling rate."
    )


def tour_environments() -> None:
    """Ask whether one formula turns lexicon scores into ratings in every genre."""
    sentences = load_sentences().frame
    X, y, genre = sentences[SCORES], sentences["human"], sentences["source"]
    _say(
        "2. ENVIRONMENTS. May one formula turn the scores of three lexicons into human ratings, "
        f"in all {genre.nunique()} genres and in the next one? A common formula is fitted to all "
        "genres, the one it predicts among them; for a genre that is new it can only be fitted to "
        "the others."
    )
    fit = InvarianceTest(error="welch").fit(X, y, env=genre)
    left = fit.leave_one_env_out().set_index("env")
    errors = {"sentences": left["n_obs"].map("{:,}".format)}
    named = {"mse_pooled": "common formula", "mse_out": "genre is new", "mse_own": "own formula"}
    errors |= {title: left[name].map("{:.3f}".format) for name, title in named.items()}
    errors["cost when new"] = (left["mse_out"] / left["mse_own"] - 1).map("{:.0%}".format)
    print(pd.DataFrame(errors).rename_axis(None).to_string(), "\n")
    sets = InvariantSubsets().fit(X, y, env=genre)
    low, high = fit.psi_conf_int_
    _say(
        f"Mean squared errors. The usual test of exact invariance accepts {len(sets.accepted_)} of "
        f"the {len(sets.table_)} sets of covariates, which says little with {len(y):,} rows. The "
        f"size of the violation says more: psi is {fit.psi_:.3f} of the noise variance, with a "
        f"95 % interval from {low:.3f} to {high:.3f} (.01 is small, .05 moderate, .15 large)."
    )


def _table(found: Comparison, truth: Array) -> str:
    columns = {"all human labels": [f"{value:.2f}" for value in truth]}
    for name in SHOWN:
        tidy = found.results[name].tidy()
        columns[name] = [
            f"{row.estimate:5.2f} [{row.conf_low:5.2f}, {row.conf_high:5.2f}]"
            + (" " if row.conf_low <= true <= row.conf_high else "*")
            for row, true in zip(tidy.itertuples(), truth, strict=True)
        ]
    return pd.DataFrame(columns, index=list(found.results["DSL"].names)).to_string()


def _verdict(found: Comparison, truth: Array) -> str:
    missed = {}
    for name in SHOWN:
        limits = found.results[name].confint().to_numpy()
        missed[name] = int(((truth < limits[:, 0]) | (truth > limits[:, 1])).sum())
    effect = found.effective_labels
    return (
        f"The lexicon alone misses {missed['surrogate only']} of {truth.size}, expert labels alone "
        f"{missed['gold only']}, both together {missed['DSL']}; with the lexicons' help "
        f"{N_LABELS:,} human labels are worth {effect.min():,.0f} to {effect.max():,.0f}."
    )


def _say(text: str) -> None:
    print(textwrap.fill(text, 92) + "\n")


if __name__ == "__main__":
    main()
