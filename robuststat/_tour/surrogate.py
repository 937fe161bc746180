"""Station: what makes a sentence positive when a lexicon did the labelling."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robuststat import DSLClassifier, compare_estimators
from robuststat._core.types import Array
from robuststat._tour._text import interval, paragraph
from robuststat.datasets import load_sentences
from robuststat.surrogate import Comparison

FORMULA = "positive ~ C(source) + log_words + exclaim + negation + question"
SURROGATES = ["vader_positive", "vader", "textblob", "afinn"]
FEATURES = ["source", "log_words", "exclaim", "negation", "question"]
N_LABELS, SEED = 1_000, 2026
SHOWN = ("surrogate only", "gold only", "DSL")


def tour(number: int, *, interactive: bool) -> str:
    """Ask what makes a sentence positive when a lexicon did the labelling."""
    import statsmodels.formula.api as smf

    sentences = load_sentences().frame
    n = len(sentences)
    question = paragraph(
        f"{number}. SURROGATE LABELS. {n:,} sentences from tweets, reviews and editorials; the "
        "VADER lexicon labelled all of them as positive or not. Which features go with a positive "
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
    answer = paragraph(
        "Estimates in log-odds with 95 % intervals; * marks an interval that misses the answer "
        "from all human labels. "
        + _verdict(found, truth)
        + " The combined answer (DSL) holds whatever the lexicon's errors are, because the "
        f"{N_LABELS:,} human labels correct it at a known sampling rate."
    )
    return f"{question}\n\n{_table(found, truth)}\n\n{answer}"


def _table(found: Comparison, truth: Array) -> str:
    columns = {"all human labels": [f"{value:.2f}" for value in truth]}
    for name in SHOWN:
        tidy = found.results[name].tidy()[["estimate", "conf_low", "conf_high"]].to_numpy(float)
        columns[name] = [interval(values, true) for values, true in zip(tidy, truth, strict=True)]
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
