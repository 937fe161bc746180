"""Bias, spread, standard errors and coverage of the surrogate-label estimators, by simulation.

``python benchmarks/surrogate_validation.py --what linear`` repeats one study and prints every
measure with its Monte Carlo standard error in parentheses, then the figures published for this
study or stated in the specification of the estimators, where there are any, beside what came out.

- ``linear``: one linear design under six ways of labelling.
- ``sentences``: 1,000 expert labels drawn from the 23,703 sentences of ``robuststat.datasets``.
- ``table3``: class prevalence, synthetic twins of the five rows of Table 3 of Egami, Hinck, Stewart
  and Wei (2023). A twin has the table's number of rows and labels, accuracy and bias of the
  surrogate; a class of several is one class against the rest, with the mean bias of all, so that
  coverage of SO is not that of the mean over classes. The learner of SL and DSL is a random forest
  on the surrogate and three columns of noise. SL takes predictions for truth, and so do its
  standard errors here; those behind the table's coverage of SL must be others.
- ``finite``: the rows are the population, so that the truth is the fit with all labels.
- ``clusters``: dependence within clusters.
- ``poisson``: counts.
- ``covariate``: the predicted column is a covariate.

"gold only" is the same model on the labelled rows alone, weighted by one over the probability of
being labelled.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.utils import Bunch

from robuststat import DSLClassifier, DSLMean, DSLRegressor, compare_estimators
from robuststat.datasets import load_sentences
from robuststat.simulation import (
    MonteCarloResult,
    draw_labels,
    make_predicted_covariate,
    make_surrogate_linear,
    make_surrogate_poisson,
    make_surrogate_prevalence,
    monte_carlo,
)

HERE = Path(__file__).parent
# Repetitions that take a few minutes on two cores.
REPS = {
    "linear": 600,
    "sentences": 300,
    "table3": 500,
    "finite": 2000,
    "clusters": 1000,
    "poisson": 1000,
    "covariate": 1000,
}


@dataclass(frozen=True, slots=True)
class Study:
    """One design with its estimators and the figures to compare with.

    ``figures`` maps (estimator, measure) to a number; the measures are those of ``measured``.
    ``reps`` is the number of repetitions behind these figures, where it is known.
    """

    title: str
    design: Callable[..., Mapping[str, Any]]
    estimators: Mapping[str, Callable[[Any], Any]]
    figures: Mapping[tuple[str, str], float] = field(default_factory=dict)
    reps: float = np.inf


def fit(draw: Any, *, model: str = "linear", roles: tuple[str, ...] = (), **options: Any) -> Any:
    """Fit one estimator of the family; ``roles`` names keys of the draw that it needs."""
    est: Any = DSLClassifier if model == "logit" else DSLRegressor
    name = draw.get("predicted")
    prediction = draw.prediction if name is None else {name: draw.prediction}
    settings = {"learner": "passthrough", "n_rep": 1, "random_state": draw.random_state}
    extra = {role: draw[role] for role in roles}
    with warnings.catch_warnings():
        # Fewer than 100 labels are tuned on purpose here, to show what it costs.
        warnings.filterwarnings("ignore", message="tuning=.* is chosen from")
        return est(model, **settings | options).fit(draw.X, draw.y, prediction=prediction, **extra)


def gold_only(draw: Any, *, model: str = "linear", vcov: str = "HC1") -> Any:
    """Fit the labelled rows alone."""
    rows = draw.labeled
    est: Any = DSLClassifier if model == "logit" else DSLRegressor
    y = draw.y[rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All .* rows are labelled")
        return est(model, learner="passthrough", vcov=vcov).fit(
            draw.X[rows], y, prediction=y, sample_weight=1 / draw.sample_prob[rows]
        )


def with_features(design: Callable[..., Bunch], random_state: Any) -> Bunch:
    """Add to a draw what the learner may use besides the surrogate: all other columns."""
    draw = design(random_state=random_state)
    features = draw.X
    if "predicted" in draw:
        features = draw.X.drop(columns=draw.predicted).assign(outcome=draw.y)
    return Bunch(**draw, features=features)


def cross_fitted(**options: Any) -> Callable[[Any], Any]:
    roles = (*options.pop("roles", ()), "features")
    return partial(fit, learner="ols", variance="design", roles=roles, **options)


def linear_studies() -> Iterator[Study]:
    def estimators(**options: Any) -> dict[str, Callable[[Any], Any]]:
        both = {"variance": "design"} | options
        return {
            "gold only": gold_only,
            "DSL robust": partial(fit, **options),
            "DSL design": partial(fit, **both),
            "scalar": partial(fit, tuning="scalar", **both),
            "matrix": partial(fit, tuning="matrix", **both),
            "cross-fit OLS": cross_fitted(**options),
        }

    columns = ("sd intercept", "sd slopes", "ratio intercept", "coverage min")
    stated = {
        "gold only": (0.070, 0.071, 1.01, 0.943),
        "DSL robust": (0.039, 0.058, 1.47, 0.945),
        "DSL design": (0.039, 0.058, 0.99, 0.943),
        "scalar": (0.040, 0.051, 0.98, 0.941),
        "matrix": (0.039, 0.052, 0.98, 0.942),
        "cross-fit OLS": (0.039, 0.039, 0.99, 0.942),
    }
    make = partial(make_surrogate_linear, n=2000)

    def design(**options: Any) -> Callable[..., Bunch]:
        return partial(with_features, partial(make, **options))

    yield Study(
        "simple random sample of 200",
        design(n_labeled=200),
        estimators(),
        spread(stated, columns),
        reps=1500,
    )
    smallest = ("sd intercept", "sd slopes", "ratio min", "coverage min")
    stated = {
        "gold only": (0.140, 0.148, 0.95, 0.921),
        "DSL robust": (0.072, 0.113, 1.57, 0.945),
        "DSL design": (0.072, 0.113, 0.96, 0.931),
        "scalar": (0.073, 0.101, 0.88, 0.911),
        "matrix": (0.076, 0.106, 0.84, 0.894),
        "cross-fit OLS": (0.074, 0.074, 0.94, 0.923),
    }
    yield Study(
        "simple random sample of 50",
        design(n_labeled=50),
        estimators(),
        {
            # "Worst" is the largest ratio where the standard error is meant to be too large.
            (
                name,
                "ratio max" if (name, measure) == ("DSL robust", "ratio min") else measure,
            ): value
            for (name, measure), value in spread(stated, smallest).items()
        },
        reps=1500,
    )
    known = {"roles": ("sample_prob",), "design": "bernoulli"}
    yield Study(
        "independent draws, 200 expected",
        design(n_labeled=200, design="bernoulli"),
        {
            "gold only": gold_only,
            "DSL prob as given": partial(fit, normalize_prob=False, **known),
            "DSL robust": partial(fit, **known),
            "DSL design": partial(fit, variance="design", **known),
        },
        {
            ("DSL prob as given", "sd intercept"): 0.058,
            ("DSL prob as given", "ratio intercept"): 1.01,
        },
        reps=1500,
    )
    three = ("ratio intercept", "ratio x1", "ratio others")
    unequal = spread({"DSL design": (1.02, 1.00, 0.98), "DSL robust": (1.46,)}, three)
    yield Study(
        "unequal probabilities .2 and .08",
        design(design="unequal"),
        estimators(roles=("sample_prob",), design="bernoulli"),
        unequal | {("DSL design", "coverage min"): 0.941, ("DSL design", "coverage max"): 0.954},
        reps=1500,
    )
    yield Study(
        "stratified, 80 and 200 labels",
        design(design="stratified"),
        estimators(roles=("strata",), design="stratified"),
        spread({"DSL design": (1.02, 1.00, 0.96), "DSL robust": (1.50, 1.23)}, three),
        reps=1500,
    )
    poor = {"gold only": 0.071, "DSL design": 0.115, "scalar": 0.070, "cross-fit OLS": 0.070}
    yield Study(
        "poor surrogate, simple random sample of 200",
        design(n_labeled=200, surrogate="poor"),
        estimators(),
        {(name, "sd slopes"): value for name, value in poor.items()},
        reps=1500,
    )


def spread(
    rows: Mapping[str, tuple[float, ...]], columns: tuple[str, ...]
) -> dict[tuple[str, str], float]:
    """Key the cells of a table by estimator and measure."""
    return {
        (name, column): value
        for name, values in rows.items()
        for column, value in zip(columns, values, strict=False)
    }


def sentence_table() -> Bunch:
    """Design, surrogates and gold labels of all sentences, and the fit with every label."""
    frame = load_sentences().frame
    genres = pd.get_dummies(frame["source"], drop_first=True, dtype=float)
    covariates = ["log_words", "exclaim", "negation", "question"]
    X = genres.join(frame[covariates].astype(float))
    X.columns = X.columns.astype(str)
    gold = frame["positive"].to_numpy(dtype=float)
    everyone = Bunch(X=X, y=gold, labeled=np.ones(len(X), dtype=bool), sample_prob=np.ones(len(X)))
    result = gold_only(everyone, model="logit", vcov="HC0").result_
    truth = pd.Series(result.estimate, index=result.names)
    scores = frame[["vader", "vader_positive", "textblob", "afinn"]].astype(float)
    sign = frame["vader_positive"].to_numpy(dtype=float)
    return Bunch(X=X, gold=gold, truth=truth, scores=scores, sign=sign)


def sentence_studies(boosting: bool) -> Iterator[Study]:
    table = sentence_table()

    def design(random_state: Any) -> Bunch:
        draw = draw_labels(len(table.X), 1000, random_state=random_state)
        y = np.where(draw.labeled, table.gold, np.nan)
        return Bunch(
            X=table.X, y=y, truth=table.truth, prediction=table.sign, features=table.X, **draw
        )

    def scored(draw: Any, learner: str) -> Any:
        use_scores = Bunch(**{**draw, "prediction": table.scores})
        return fit(
            use_scores, model="logit", learner=learner, variance="design", roles=("features",)
        )

    estimators: dict[str, Callable[[Any], Any]] = {
        "gold only": partial(gold_only, model="logit", vcov="HC0"),
        "DSL VADER sign": partial(fit, model="logit", variance="design"),
        "DSL OLS": partial(scored, learner="ols"),
    }
    if boosting:
        estimators["DSL boosting"] = partial(scored, learner="auto")
    stated = pd.read_csv(HERE / "surrogate_sentences.csv")
    gap = np.abs(stated["full_gold"].to_numpy()[:8] - table.truth.to_numpy()).max()
    print(f"largest distance of the fit with every label to the stated one: {gap:.1e}")
    measures = ["bias", "rmse", "mean_se", "coverage"]
    figures = {
        (row["estimator"], f"{measure} {row['term']}"): row[measure]
        for _, row in stated[stated["estimator"].isin(list(estimators))].iterrows()
        for measure in measures
    }
    yield Study("logit of positive, 1000 labels of 23703", design, estimators, figures, reps=300)


# Classes, rows, accuracy, and by SO, GSO, SL, DSL: bias x 100, coverage in %, RMSE x 100.
TABLE_3 = {
    "Misinfo": (2, 500, 0.776, "9.0/0.0/0.2/0.0", "0.6/94.8/95.2/96.2", "9.2/5.0/4.3/4.3"),
    "Emotion": (6, 498, 0.703, "2.0/0.1/0.6/0.1", "67.2/94.2/91.3/94.0", "2.9/3.7/3.2/3.2"),
    "Figurative": (4, 500, 0.640, "5.5/0.2/0.3/0.2", "41.2/94.1/91.8/94.3", "6.0/4.4/3.8/3.9"),
    "Power": (2, 500, 0.608, "26.6/0.0/0.2/0.1", "0.0/94.8/93.2/94.8", "26.6/5.0/5.0/4.9"),
    "Toxic": (2, 500, 0.566, "34.8/0.0/0.4/0.0", "0.0/94.8/93.8/94.8", "34.9/5.0/5.1/4.9"),
}
COMPARED = {"SO": "surrogate only", "GSO": "gold only", "SL": "prediction only", "DSL": "DSL"}


def twin(classes: int, n: int, accuracy: float, bias: float, random_state: Any) -> Bunch:
    """Draw one twin and compare all estimators on it; they share the forest's predictions."""
    draw = make_surrogate_prevalence(
        n,
        100,
        prevalence=1 / classes,
        accuracy=1 - 2 * (1 - accuracy) / classes,
        bias=bias,
        random_state=random_state,
    )
    forest = RandomForestRegressor(n_estimators=50, min_samples_leaf=5)
    seed = int(random_state.integers(2**31))
    est = DSLMean(learner=forest, n_rep=1, random_state=seed)
    found = compare_estimators(est, None, draw.y, prediction=draw.prediction, features=draw.X)
    return Bunch(truth=draw.truth, **{key: found.results[name] for key, name in COMPARED.items()})


def table3_studies() -> Iterator[Study]:
    for name, (classes, n, accuracy, *cells) in TABLE_3.items():
        bias, coverage, rmse = ([float(v) for v in cell.split("/")] for cell in cells)
        figures = {}
        for j, key in enumerate(COMPARED):
            figures[key, "|bias| x 100"] = bias[j]
            figures[key, "coverage %"] = coverage[j]
            figures[key, "rmse x 100"] = rmse[j]
        yield Study(
            f"{name}: {classes} classes, accuracy {accuracy}",
            partial(twin, classes, n, accuracy, bias[0] / 100),
            {key: partial(_pick, key=key) for key in COMPARED},
            figures,
        )


def _pick(draw: Any, key: str) -> Any:
    return draw[key]


def finite_corpus(random_state: Any) -> Bunch:
    """Draw a corpus; the truth is its own fit with every label."""
    draw = make_surrogate_linear(2000, 500, random_state=random_state)
    design = np.column_stack([np.ones(len(draw.X)), draw.X])
    coef = np.linalg.lstsq(design, draw.y_gold, rcond=None)[0]
    return Bunch(**{**draw, "truth": pd.Series(coef, index=draw.truth.index)})


def finite_studies() -> Iterator[Study]:
    figures = {
        ("finite", "ratio min"): 0.99,
        ("finite", "ratio max"): 1.02,
        ("finite", "coverage min"): 0.944,
        ("finite", "coverage max"): 0.956,
    }
    yield Study(
        "n = 2000, 500 labels",
        finite_corpus,
        {
            "finite": partial(fit, population="finite"),
            "superpopulation design": partial(fit, variance="design"),
            "superpopulation robust": fit,
        },
        figures,
        reps=2000,
    )


def cluster_studies() -> Iterator[Study]:
    for n_clusters in (100, 40):
        estimators: dict[str, Callable[[Any], Any]] = {"HC0 (wrong)": fit}
        for vcov in ("CR0", "CR1"):
            estimators[vcov] = partial(fit, vcov=vcov, roles=("clusters",))
        estimators["CR1 design"] = partial(fit, vcov="CR1", variance="design", roles=("clusters",))
        estimators["CR1 cross-fit OLS"] = cross_fitted(vcov="CR1", roles=("clusters",))
        make = partial(make_surrogate_linear, 2000, 400, n_clusters=n_clusters)
        yield Study(
            f"n = 2000, {n_clusters} clusters, 400 labels",
            partial(with_features, make),
            estimators,
        )


def glm_estimators(model: str, gold: bool) -> dict[str, Callable[[Any], Any]]:
    first = {"gold only": partial(gold_only, model=model, vcov="HC0")} if gold else {}
    return first | {
        "DSL robust": partial(fit, model=model),
        "DSL design": partial(fit, model=model, variance="design"),
        "scalar": partial(fit, model=model, variance="design", tuning="scalar"),
        "cross-fit OLS": cross_fitted(model=model),
    }


def poisson_studies() -> Iterator[Study]:
    for n_labeled in (200, 500):
        make = partial(make_surrogate_poisson, 2000, n_labeled)
        estimators = glm_estimators("poisson", gold=True)
        yield Study(f"n = 2000, {n_labeled} labels", partial(with_features, make), estimators)


def covariate_studies() -> Iterator[Study]:
    for model in ("linear", "logit"):
        for n_labeled in (200, 500):
            make = partial(make_predicted_covariate, 2000, n_labeled, model=model)
            estimators = glm_estimators(model, gold=True)
            title = f"{model}, n = 2000, {n_labeled} labels"
            yield Study(title, partial(with_features, make), estimators)


def measured(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Measures of one estimator that the figures speak of, each with its Monte Carlo error."""
    rows = rows.set_index("term")

    def at(column: str, term: str) -> tuple[float, float]:
        return rows.loc[term, column], rows.loc[term, f"{column}_mcse"]

    def over(column: str, terms: Any) -> tuple[float, float]:
        return rows.loc[terms, column].mean(), rows.loc[terms, f"{column}_mcse"].mean()

    first, *slopes = rows.index
    ratio, coverage = rows["se_ratio"], rows["coverage"]
    found = {
        "sd intercept": at("sd", first),
        "ratio intercept": at("se_ratio", first),
        "ratio min": at("se_ratio", ratio.idxmin()),
        "ratio max": at("se_ratio", ratio.idxmax()),
        "coverage min": at("coverage", coverage.idxmin()),
        "coverage max": at("coverage", coverage.idxmax()),
        "|bias| x 100": tuple(100 * np.abs(at("bias", first))),
        "coverage %": tuple(100 * np.array(at("coverage", first))),
        "rmse x 100": tuple(100 * np.array(at("rmse", first))),
    }
    if slopes:
        found["sd slopes"] = over("sd", slopes)
        found["ratio x1"] = at("se_ratio", slopes[0])
        found["ratio others"] = over("se_ratio", slopes[1:])
    for column in ("bias", "rmse", "mean_se", "coverage"):
        found |= {f"{column} {term}": at(column, term) for term in rows.index}
    return found


def show(study: Study, result: MonteCarloResult, seconds: float) -> None:
    """Print all measures, then the stated figures beside them."""
    table = result.table
    print(f"\n{study.title}; {result.n_rep} repetitions, {seconds:.0f} s")
    cells = table[["estimator", "term"]].copy()
    for column in ("bias", "sd", "mean_se", "se_ratio", "rmse", "coverage"):
        pairs = zip(table[column], table[f"{column}_mcse"], strict=True)
        cells[column] = [f"{value:.4f} ({error:.4f})" for value, error in pairs]
    print(cells.to_string(index=False))
    if not study.figures:
        return
    found = {name: measured(rows) for name, rows in table.groupby("estimator", sort=False)}
    # The stated figures are simulated too: their own Monte Carlo error counts where it is known.
    inflation = np.sqrt(1 + result.n_rep / study.reps)
    rows = []
    for (name, measure), stated in study.figures.items():
        here, error = found[name][measure]
        gap = f"{(here - stated) / (error * inflation):+.1f}" if error > 0 else ""
        rows.append((name, measure, f"{here:.4f} ({error:.4f})", stated, gap))
    columns = ["estimator", "measure", "here", "stated", "gap in MC errors"]
    print("\n" + pd.DataFrame(rows, columns=columns).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=list(REPS), required=True)
    parser.add_argument("--reps", type=int, help="repetitions of each design")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boosting", action="store_true", help="sentences: gradient boosting too")
    options = parser.parse_args()
    studies = {
        "linear": linear_studies,
        "sentences": partial(sentence_studies, options.boosting),
        "table3": table3_studies,
        "finite": finite_studies,
        "clusters": cluster_studies,
        "poisson": poisson_studies,
        "covariate": covariate_studies,
    }[options.what]
    for study in studies():
        start = time.perf_counter()
        result = monte_carlo(
            study.design,
            study.estimators,
            options.reps or REPS[options.what],
            random_state=options.seed,
            n_jobs=options.n_jobs,
        )
        show(study, result, time.perf_counter() - start)


if __name__ == "__main__":
    main()
