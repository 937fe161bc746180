"""What the summary of an ordinal fit says."""

from __future__ import annotations

from typing import Any

from scipy import stats

from robuststat.ordinal._structure import Structure

_LINK_WORDS = {
    "logit": "logistic",
    "probit": "normal",
    "cloglog": "1 - exp(-exp(.))",
    "loglog": "exp(-exp(-.))",
    "cauchit": "Cauchy",
}
_LEFT = {
    ("cumulative", False): ("P(y <= k)", 1),
    ("cumulative", True): ("P(y > k)", -1),
    ("stopping", False): ("P(y = k | y >= k)", 1),
    ("stopping", True): ("P(y = k+1 | y <= k+1)", -1),
    ("continuation", False): ("P(y > k | y >= k)", -1),
    ("continuation", True): ("P(y <= k | y <= k+1)", 1),
    ("adjacent", False): ("P(y = k+1 | y in {k, k+1})", -1),
    ("adjacent", True): ("P(y = k | y in {k, k+1})", 1),
}


def equation(family: str, link: str, reverse: bool, scaled: bool) -> str:
    """Model in one line."""
    left, sign = _LEFT[family, reverse]
    inner = "threshold_k - x'coef" if sign > 0 else "x'coef - threshold_k"
    inner = f"({inner}) / exp(z'scale)" if scaled else inner
    return f"{left} = F({inner}), F {_LINK_WORDS[link]}"


def method_name(family: str, link: str, parallel: str) -> str:
    """Title of the summary."""
    names = {
        ("cumulative", "logit", "all"): "Proportional odds model",
        ("cumulative", "logit", "some"): "Partial proportional odds model",
    }
    words = {"all": "", "some": ", partly parallel", "none": ", non-parallel"}[parallel]
    return names.get((family, link, parallel), f"{family.capitalize()} {link} model{words}")


def class_counts(classes: Any, sizes: Any) -> dict[str, int]:
    """Rows of each class for the header; the ends when there are many classes."""
    pairs = [(f"y={label}", int(size)) for label, size in zip(classes, sizes, strict=True)]
    if len(pairs) <= 8:
        return dict(pairs)
    return dict([("Classes", len(pairs)), *pairs[:3], *pairs[-3:]])


def fit_lines(
    loglik: float, null: float, n_params: int, q: int, n_obs: int, *, ratio_test: bool
) -> list[str]:
    """Log-likelihood, criteria, and the test against thresholds alone."""
    lines = [
        f"Log-likelihood {loglik:.2f} ({n_params} parameters), "
        f"AIC {2 * n_params - 2 * loglik:.2f}, "
        f"McFadden R2 {1 - loglik / null if null else 0.0:.4f}"
    ]
    df = n_params - q
    if df > 0 and ratio_test:
        statistic = max(2.0 * (loglik - null), 0.0)
        p = stats.chi2.sf(statistic, df)
        shown = f"= {p:.3g}" if p >= 1e-4 else "< 1e-4"
        lines.append(f"LR test against thresholds only: chi2({df}) = {statistic:.2f}, p {shown}")
    return lines


def notes(structure: Structure, n_crossing: int, n_obs: int) -> list[str]:
    """List what to know about the columns and the boundaries."""
    found = [
        "a positive coefficient moves probability to higher classes (the sign of R's clm and "
        "polr); coef_ and intercept_ hold the same numbers, one row a boundary"
    ]
    if structure.constant:
        found.append(f"constant, coefficient 0: {', '.join(structure.constant)}")
    if n_crossing:
        found.append(
            f"boundaries cross in {n_crossing} of {n_obs} rows: some class has a negative fitted "
            "probability there"
        )
    return found


def assumptions(
    family: str, parallel: str, kind: str, *, sampled: str | None, penalised: bool
) -> list[str]:
    """List what the numbers rest on."""
    groups = "clusters are independent" if kind.startswith("CR") else "rows are independent"
    found = [groups]
    if parallel == "all":
        words = "proportional odds" if family == "cumulative" else "parallel slopes"
        found.append(f"every coefficient is the same at every boundary ({words}; see po_test)")
    elif parallel == "some":
        found.append("the coefficients under 'location' are the same at every boundary")
    if kind in ("hessian", "opg"):
        found.append("the model of the class probabilities is right")
    if sampled is not None:
        found.append("the population shares tau are known and rows are drawn at random by class")
    if penalised:
        found.append("the model without penalty is right and its size small against the rows")
    return found


def log_odds_words(family: str, link: str) -> str:
    """Estimand of a coefficient."""
    what = {
        "cumulative": "a class above the boundary rather than at or below it",
        "stopping": "going on rather than stopping at a class that was reached",
        "continuation": "going on rather than stopping at a class that was reached",
        "adjacent": "the upper rather than the lower of two neighbouring classes",
    }[family]
    scale = {"logit": "change of the log-odds of", "probit": "change of the probit of"}
    return f"{scale.get(link, f'change of the {link} predictor of')} {what}, per unit of the column"


SE_NOTES = {
    "hessian": "inverse observed information",
    "opg": "inverse outer product of scores",
}
