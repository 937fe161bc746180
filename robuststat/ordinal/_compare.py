"""Likelihood-ratio tests of nested ordinal models."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError


def anova(*fits: Any) -> pd.DataFrame:
    """Likelihood-ratio tests of nested models, from the smallest to the largest.

    Parameters
    ----------
    *fits : OrdinalClassifier
        Two or more, fitted without penalty to the same rows; they are ordered by their number of
        parameters. That each is nested in the next is for the user to know.

    Returns
    -------
    DataFrame
        ``model n_params loglik aic statistic df p_value``; the last three compare a row with the
        one before it.

    Raises
    ------
    ParameterError
        For fits of different rows, with a penalty or population shares, or robust variances, whose
        likelihood ratio is not chi-squared.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import OrdinalClassifier
    >>> from robuststat.ordinal import anova
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 2))
    >>> y = np.digitize(x[:, 0] + rng.logistic(size=300), [-1.0, 1.0])
    >>> small, large = OrdinalClassifier().fit(x[:, :1], y), OrdinalClassifier().fit(x, y)
    >>> anova(small, large)["df"].tolist()[1]
    1
    """
    if len(fits) < 2:
        raise ParameterError(f"anova compares at least two fits; got {len(fits)}.")
    for fit in fits:
        check_is_fitted(fit, "result_")
        if not hasattr(fit, "_model"):
            raise ParameterError(
                f"anova compares fits of OrdinalClassifier; got a {type(fit).__name__}."
            )
    models = sorted((fit._model for fit in fits), key=lambda model: model.n_params)
    first = models[0]
    for model in models:
        model.refuse_ratio_tests()
        same = model.n_obs == first.n_obs and np.isclose(
            model.null_loglik, first.null_loglik, rtol=1e-9
        )
        if not same:
            raise ParameterError(
                f"anova needs fits of the same rows and weights; they have {first.n_obs} and "
                f"{model.n_obs} rows and log-likelihoods without covariates of "
                f"{first.null_loglik:.6g} and {model.null_loglik:.6g}."
            )
    calls = {id(fit._model): fit.result_.call for fit in fits}
    tests: list[tuple[Any, Any, Any]] = [(np.nan, pd.NA, np.nan)]
    for small, large in pairwise(models):
        df = large.n_params - small.n_params
        statistic = max(2.0 * (large.loglik - small.loglik), 0.0)
        p = float(stats.chi2.sf(statistic, df)) if df else np.nan
        tests.append((statistic, df, p))
    return pd.DataFrame(
        {
            "model": [calls[id(model)] for model in models],
            "n_params": [model.n_params for model in models],
            "loglik": [model.loglik for model in models],
            "aic": [model.aic for model in models],
            "statistic": [test[0] for test in tests],
            "df": pd.array([test[1] for test in tests], dtype="Int64"),
            "p_value": [test[2] for test in tests],
        }
    )
