"""Station: a formula for ratings that is to hold in every genre, and in the next one."""

from __future__ import annotations

import pandas as pd

from robuststat import InvarianceTest, InvariantSubsets
from robuststat._tour._text import paragraph
from robuststat.datasets import load_sentences

SCORES = ["vader", "textblob", "afinn", "log_words", "exclaim", "negation", "question"]


def tour(number: int) -> str:
    """Ask whether one formula turns lexicon scores into ratings in every genre."""
    sentences = load_sentences().frame
    X, y, genre = sentences[SCORES], sentences["human"], sentences["source"]
    question = paragraph(
        f"{number}. ENVIRONMENTS. May one formula turn the scores of three lexicons into human "
        f"ratings, in all {genre.nunique()} genres and in the next one? A common formula is fitted "
        "to all genres, the one it predicts among them; for a genre that is new it can only be "
        "fitted to the others."
    )
    fit = InvarianceTest(error="welch").fit(X, y, env=genre)
    left = fit.leave_one_env_out().set_index("env")
    errors = {"sentences": left["n_obs"].map("{:,}".format)}
    named = {"mse_pooled": "common formula", "mse_out": "genre is new", "mse_own": "own formula"}
    errors |= {title: left[name].map("{:.3f}".format) for name, title in named.items()}
    errors["cost when new"] = (left["mse_out"] / left["mse_own"] - 1).map("{:.0%}".format)
    table = pd.DataFrame(errors).rename_axis(None).to_string()
    sets = InvariantSubsets().fit(X, y, env=genre)
    low, high = fit.psi_conf_int_
    answer = paragraph(
        f"Mean squared errors. The usual test of exact invariance accepts {len(sets.accepted_)} of "
        f"the {len(sets.table_)} sets of covariates, which says little with {len(y):,} rows. The "
        f"size of the violation says more: psi is {fit.psi_:.3f} of the noise variance, with a "
        f"95 % interval from {low:.3f} to {high:.3f} (.01 is small, .05 moderate, .15 large)."
    )
    return f"{question}\n\n{table}\n\n{answer}"
