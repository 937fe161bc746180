"""The regularisation path as a function."""

from __future__ import annotations

from typing import Any

from robuststat._core.errors import ParameterError
from robuststat.ordinal._base import read_rows
from robuststat.ordinal._presto import PrestoClassifier
from robuststat.ordinal._presto_data import make_ready, refuse_separation
from robuststat.ordinal._presto_fit import fit_path, warn_convergence
from robuststat.ordinal._presto_path import PrestoPath, make_path


def presto_path(
    X: Any,
    y: Any = None,
    *,
    offset: Any = None,
    sample_weight: Any = None,
    **options: Any,
) -> PrestoPath:
    """PRESTO at a whole grid of penalties, without choosing one.

    Parameters
    ----------
    X : array, sparse matrix or frame of shape (n, p)
        Covariates.
    y : array of shape (n,), str, or array of shape (n, K)
        Ordered classes, a column name, or counts of each class.
    offset, sample_weight : array of shape (n,) or str, optional
        As for :meth:`PrestoClassifier.fit`.
    **options
        Options of :class:`PrestoClassifier` that concern the fit or the grid, such as
        ``n_lambdas``, ``lambdas``, ``l1_ratio``, ``crossing``, ``categories``.

    Returns
    -------
    PrestoPath
        Coefficients, log-likelihood, certificate at every penalty, and the order in which features
        leave proportional odds.

    Raises
    ------
    ParameterError
        For unknown options and those that choose a penalty.
    DataError
        As for :meth:`PrestoClassifier.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import presto_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [0.0, 2.0])
    >>> path = presto_path(X, y, n_lambdas=10)
    >>> path.coefs.shape, bool(path.kkt.max() < 1e-8)
    ((10, 2, 2), True)
    """
    useless = {"lam", "cv", "scoring", "selection", "inference", "vcov", "n_boot", "on_crossing"}
    useless |= {"random_state", "n_jobs", "rare_class"}
    known = set(PrestoClassifier().get_params()) - useless
    wrong = [name for name in options if name not in known]
    if wrong:
        raise ParameterError(
            f"presto_path has no option {wrong[0]!r}. It takes {', '.join(sorted(known))}."
        )
    estimator = PrestoClassifier(**options)
    estimator._check_parameters()
    data = read_rows(
        estimator,
        X,
        y,
        formula=estimator.formula,
        sample_weight=sample_weight,
        offset=offset,
        missing=estimator.missing,
    )
    response = estimator._read_response(data)
    path_options = estimator._path_options()
    ready = make_ready(data, response, path_options)
    fits = fit_path(ready.problem, ready.recipe, ready.null, ready.grid(path_options))
    refuse_separation(ready, fits)
    warn_convergence(fits, estimator.tol)
    return make_path(ready.problem, fits, response.classes, data.names)
