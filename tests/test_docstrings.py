"""Every public name resolves, has a numpydoc docstring with an example, and is on the API page."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import robuststat

ROOT = Path(__file__).parents[1]


def sections(doc: str) -> dict[str, str]:
    """Split a numpydoc docstring at its underlined headings; the text before them is ''."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.cleandoc(doc), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_names(section: str) -> list[str]:
    """Names of the entries of a Parameters section: ``a, b : int`` gives a and b."""
    entries = re.findall(r"^(\*{0,2}\w[^:\n]*?)(?: *:.*)?$", section, flags=re.MULTILINE)
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def parameter_names(item: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(item).parameters if name not in ("self", "args")]


def docstring_problems(item: Callable[..., Any]) -> list[str]:
    doc = item.__doc__
    if not doc:
        return ["no docstring"]
    found = sections(doc)
    if inspect.isclass(item) and issubclass(item, BaseException):
        return []
    problems = [] if ">>>" in found.get("Examples", "") else ["no Examples section with a doctest"]
    wanted, has = parameter_names(item), documented_names(found.get("Parameters", ""))
    # A result class that users never build documents its fields as Attributes.
    if inspect.isclass(item) and not has:
        has = documented_names(found.get("Attributes", ""))
        wanted = [name for name in wanted if name not in has]
        return problems + [f"parameter {name} is not documented" for name in wanted]
    problems += [f"parameter {name} is not documented" for name in wanted if name not in has]
    problems += [f"documents {name}, which is no parameter" for name in has if name not in wanted]
    return problems


def own_modules() -> list[ModuleType]:
    found = []
    for name in robuststat.__all__:
        with contextlib.suppress(
            ImportError, AttributeError
        ):  # test_public_name_resolves reports it
            found.append(getattr(robuststat, name))
    return [item for item in found if isinstance(item, ModuleType)]


def public_objects() -> dict[str, Any]:
    """Public classes and functions of the package by dotted name."""
    found: dict[str, Any] = {}
    item = None
    for owner in [robuststat, *own_modules()]:
        for name in getattr(owner, "__all__", ()):
            with contextlib.suppress(ImportError, AttributeError):
                item = getattr(owner, name)
            if callable(item) and item.__module__.startswith("robuststat"):
                found[f"{owner.__name__}.{name}"] = item
    return found


@pytest.mark.parametrize("name", robuststat.__all__)
def test_public_name_resolves(name: str) -> None:
    item = getattr(robuststat, name)
    assert name in dir(robuststat)
    if isinstance(item, ModuleType):
        assert item.__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = robuststat.no_such_name


@pytest.mark.parametrize("name", public_objects())
def test_public_docstring(name: str) -> None:
    assert docstring_problems(public_objects()[name]) == []


def test_api_page_is_current() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_api.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_estimators_are_on_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    testing = importlib.import_module("robuststat.testing")
    missing = [cls.__name__ for cls in testing.ALL_ESTIMATORS if cls.__name__ not in page.split()]
    assert missing == []


def sound(a: int, b: int = 1, *, c: str = "x") -> int:
    """One line.

    Parameters
    ----------
    a, b : int
        Two numbers: the first
        and the second.
    c : {"x", "y"}, default "x"
        A word.

    Examples
    --------
    >>> sound(1)
    1
    """
    return a


def unsound(a: int, b: int) -> int:
    """One line.

    Parameters
    ----------
    a : int
        A number.
    z : int
        Not there.

    Examples
    --------
    None yet.
    """
    return a


def test_checks_notice_what_is_wrong() -> None:
    assert docstring_problems(sound) == []
    assert docstring_problems(lambda: None) == ["no docstring"]
    assert docstring_problems(unsound) == [
        "no Examples section with a doctest",
        "parameter b is not documented",
        "documents z, which is no parameter",
    ]
