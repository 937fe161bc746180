"""Class hierarchy, and warnings that point at the user's line."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.exceptions
from sklearn.base import BaseEstimator

from robuststat._core import errors
from robuststat._core.data import read_data


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("DataError", (ValueError,)),
        ("RoleError", (ValueError,)),
        ("ParameterError", (ValueError,)),
        ("IdentificationError", (ValueError,)),
        ("PrivacyBudgetError", (ValueError,)),
        ("CollinearityError", (ValueError, np.linalg.LinAlgError, errors.IdentificationError)),
    ],
)
def test_errors_are_builtins_too(name, bases):
    error = getattr(errors, name)("text")
    for base in (errors.RobuststatError, *bases):
        assert isinstance(error, base)
    assert str(error) == "text"


@pytest.mark.parametrize(
    "name",
    [
        "ConvergenceWarning",
        "DroppedRowsWarning",
        "OverlapWarning",
        "PrivacyWarning",
        "SmallClusterWarning",
    ],
)
def test_warnings_are_user_warnings(name):
    assert issubclass(getattr(errors, name), UserWarning)


def test_names_shared_with_scikit_learn():
    assert errors.ConvergenceWarning is sklearn.exceptions.ConvergenceWarning
    assert errors.NotFittedError is sklearn.exceptions.NotFittedError
    assert all(hasattr(errors, name) for name in errors.__all__)


def test_warning_raised_directly_points_here():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = sys._getframe().f_lineno + 1
        errors.warn("text", errors.PrivacyWarning)
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    assert caught[0].category is errors.PrivacyWarning


def test_warning_through_package_layers_points_here():
    # read_data -> _complete_rows -> warn: two layers of the package.
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = sys._getframe().f_lineno + 1
        read_data(BaseEstimator(), frame, [1.0, 2.0, 3.0], roles={}, missing="drop")
    assert [w.category for w in caught] == [errors.DroppedRowsWarning]
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def test_user_file_named_like_the_package(tmp_path):
    # A checkout may hold robuststat/ and robuststat_analysis.py side by side.
    package = tmp_path / "robuststat"
    package.mkdir()
    (package / "_core").mkdir()
    source = errors.__file__
    with open(source, encoding="utf-8") as file:
        (package / "_core" / "errors.py").write_text(file.read(), encoding="utf-8")
    (package / "_core" / "__init__.py").touch()
    (package / "__init__.py").touch()
    script = tmp_path / "robuststat_analysis.py"
    script.write_text(
        "import warnings\n"
        "from robuststat._core.errors import warn\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    warn('text')\n"
        "print(caught[0].filename, caught[0].lineno)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(script), "5"]
