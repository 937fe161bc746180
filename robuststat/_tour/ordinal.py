"""Station: the rare last class of an ordered outcome."""

from __future__ import annotations

import numpy as np

from robuststat import OrdinalClassifier, PrestoClassifier, RareEventClassifier
from robuststat._core.types import Array, BoolArray
from robuststat._tour._text import paragraph
from robuststat.datasets import load_health

N_TRAIN, N_DRAWS, SEED = 1_500, 10, 2026
MODELS = {
    "the share alone": "nothing",
    "logistic (Firth)": "poor against the rest",
    "proportional odds": "all classes, with one slope at every boundary",
    "PRESTO": "all classes, slopes shrunk towards one",
}


def tour(number: int) -> str:
    """Predict poor health from few people who have it."""
    health = load_health()
    X, y = health.data, health.target
    poor = (y == "poor").to_numpy()
    losses: dict[str, list[float]] = {name: [] for name in MODELS}
    rng = np.random.default_rng(SEED)
    for _ in range(N_DRAWS):
        order = rng.permutation(len(y))
        train, test = order[:N_TRAIN], order[N_TRAIN:]
        known, rated, new = X.iloc[train], y.iloc[train], X.iloc[test]
        firth = RareEventClassifier(intervals="wald").fit(known, poor[train].astype(int))
        presto = PrestoClassifier(inference="none", random_state=SEED).fit(known, rated)
        risks = (
            np.full(len(test), poor[train].mean()),
            firth.predict_proba(new)[:, 1],
            OrdinalClassifier().fit(known, rated).predict_rare(new),
            presto.predict_rare(new),
        )
        for name, risk in zip(MODELS, risks, strict=True):
            losses[name].append(_log_loss(risk, poor[test]))
    question = paragraph(
        f"{number}. A RARE CLASS. {len(y):,} people rated their health excellent, good, fair or "
        f"poor; {poor.sum()} said poor. {N_DRAWS} times {N_TRAIN:,} of them are drawn, about "
        f"{round(N_TRAIN * poor.mean())} with poor health among them, and each model predicts who "
        "of the others says poor."
    )
    rows = [f"{'':18} mean log-loss  learns from"]
    rows += [f"{name:18} {np.mean(losses[name]):13.4f}  {MODELS[name]}" for name in MODELS]
    presto_loss = np.array(losses["PRESTO"])
    over_logit, over_po = (
        int((np.array(losses[name]) > presto_loss).sum())
        for name in ("logistic (Firth)", "proportional odds")
    )
    answer = paragraph(
        f"PRESTO predicted better than the logistic regression in {over_logit} of {N_DRAWS} draws: "
        "the boundary between fair and poor borrows from the boundaries before it, where more "
        f"people are. It was better than proportional odds in {over_po}, and does not assume them."
    )
    return f"{question}\n\n" + "\n".join(rows) + f"\n\n{answer}"


def _log_loss(risk: Array, event: BoolArray) -> float:
    return float(-np.mean(np.log(np.where(event, risk, 1.0 - risk))))
