"""What the checks need to know about a class, and what several families use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklearn.utils import Bunch


@dataclass(frozen=True, slots=True)
class Example:
    """What the checks need to know about an estimator class.

    Attributes
    ----------
    data : callable
        Seed -> Bunch as returned by ``example_data``.
    options : tuple of dict
        Constructor options with which scikit-learn's checks are run, once each.
    invent : callable
        (role, X, y) -> values of a missing role.
    stochastic : dict
        Constructor options, besides ``random_state`` and ``n_jobs``, with which the seed matters.
    not_applicable : dict of str to str
        Checks of ``robuststat.testing`` that cannot hold, with the reason.
    expected : dict of str to str
        Checks of scikit-learn that cannot hold, with the reason.
    resampled : bool
        Whether the variance comes from drawing rows, so that it depends on their order.
    api_only : bool
        Run scikit-learn's checks of the API only: for classes whose data are no rows. The Bunch of
        ``data`` then has ``arguments``, what ``fit`` takes, in place of frame and roles.
    """

    data: Callable[[int], Bunch]
    options: tuple[dict[str, Any], ...]
    invent: Callable[[str, Any, Any], Any]
    stochastic: dict[str, Any] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    resampled: bool = False
    api_only: bool = False


EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"


COLLINEAR = {
    EQUIVALENCE: "it fits 31 coefficients to 15 rows, which is refused as collinear; "
    "check_weights_duplicate_rows tests the same property on an identified model"
}


def last_column(role: str, X: Any, y: Any) -> Any:
    return X[:, -1]
