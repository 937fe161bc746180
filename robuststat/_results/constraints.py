"""Linear restrictions written as text, mappings, frames or matrices.

Grammar of the text: restrictions separated by commas, each ``expr``, ``expr = expr`` or a chain
``expr = expr = 0``; an ``expr`` is built from numbers, coefficient names, ``+ - * /`` and
parentheses and must be linear. The longest coefficient name that fits is taken, so names such as
``region[T.South]``, ``(Intercept)`` or ``C(g, Treatment)[T.b]`` need no quoting; backticks quote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array

__all__ = ["LinearMap", "RowSpec", "describe", "is_text", "linear_map", "parse_constraints"]

RowSpec: TypeAlias = (
    "ArrayLike | Mapping[str, float] | pd.Series[Any] | pd.DataFrame | str | Sequence[str]"
)

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[^\s=*+/,`-]+")
_CONTINUES = re.compile(r"[\w.:(\[]")
_MAX_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """Rows ``matrix @ coefficients - constant`` with a text for each row.

    Parameters
    ----------
    matrix : ndarray of shape (q, k)
        Weights.
    constant : ndarray of shape (q,)
        Right-hand sides.
    words : tuple of str
        Each row in words: a full restriction if it came as text, else the combination alone.
    """

    matrix: Array
    constant: Array
    words: tuple[str, ...]


class _Token(NamedTuple):
    kind: str  # "name", "number", "op" or "end"
    text: str
    start: int
    stop: int


def unknown_name(name: str, labels: Sequence[str]) -> NoReturn:
    """Raise a ParameterError that lists the coefficients there are."""
    shown = ", ".join(labels[:_MAX_LISTED]) + (", ..." if len(labels) > _MAX_LISTED else "")
    raise ParameterError(
        f"{name!r} is not a coefficient. The coefficients are: {shown}. "
        "Put backticks around a name that contains operators."
    )


def _longest_label(text: str, start: int, by_length: Sequence[str]) -> str:
    for label in by_length:
        stop = start + len(label)
        # "x1" is not the beginning of "x10" or "x1:z".
        if text.startswith(label, start) and not _CONTINUES.match(text, stop):
            return label
    return ""


def _next_token(text: str, start: int, by_length: Sequence[str], labels: Sequence[str]) -> _Token:
    if text[start] == "`":
        stop = text.find("`", start + 1)
        if stop < 0:
            raise ParameterError(f"Unclosed backtick at position {start} of {text!r}.")
        name = text[start + 1 : stop]
        return _Token(
            "name", name if name in labels else unknown_name(name, labels), start, stop + 1
        )
    name = _longest_label(text, start, by_length)
    number = _NUMBER.match(text, start)
    if name and (number is None or len(name) > len(number[0])):
        return _Token("name", name, start, start + len(name))
    if number is not None:
        return _Token("number", number[0], start, number.end())
    if text.startswith("==", start):
        return _Token("op", "=", start, start + 2)
    if text[start] in "+-*/=,()":
        return _Token("op", text[start], start, start + 1)
    word = _WORD.match(text, start)
    unknown_name(word[0] if word else text[start], labels)


def _tokenize(text: str, labels: Sequence[str]) -> list[_Token]:
    by_length = sorted(labels, key=len, reverse=True)
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        tokens.append(_next_token(text, position, by_length, labels))
        position = tokens[-1].stop
    return [*tokens, _Token("end", "", len(text), len(text))]


class _Parser:
    """Recursive descent; a value is a vector of k weights followed by the constant."""

    def __init__(self, text: str, labels: Sequence[str]) -> None:
        self.text = text
        self.labels = labels
        self.tokens = _tokenize(text, labels)
        self.at = 0

    def take(self, *ops: str) -> str:
        token = self.tokens[self.at]
        if token.kind == "op" and token.text in ops:
            self.at += 1
            return token.text
        return ""

    def fail(self, problem: str) -> NoReturn:
        token = self.tokens[self.at]
        raise ParameterError(
            f"Cannot read the restriction {self.text!r}: {problem} at position {token.start}. "
            'Write it like "x1 = x2" or "x1 + 2*x2 = 3, x3 = 0".'
        )

    def parse(self) -> LinearMap:
        rows: list[Array] = []
        words: list[str] = []
        while True:
            first = self.at
            sides = [self.expression()]
            while self.take("="):
                sides.append(self.expression())
            new = [a - b for a, b in pairwise(sides)] or sides
            rows += new
            text = self.text[self.tokens[first].start : self.tokens[self.at - 1].stop]
            if len(new) == 1:
                words.append(text if len(sides) == 2 else f"{text} = 0")
            else:
                words += [describe(v[:-1], 0.0 - v[-1], self.labels) for v in new]
            if not self.take(","):
                break
        if self.tokens[self.at].kind != "end":
            self.fail(f"an operator is missing before {self.tokens[self.at].text!r}")
        values = np.vstack(rows)
        return LinearMap(values[:, :-1], 0.0 - values[:, -1], tuple(words))

    def expression(self) -> Array:
        value = self.term()
        while op := self.take("+", "-"):
            value = value + self.term() if op == "+" else value - self.term()
        return value

    def term(self) -> Array:
        value = self.factor()
        while op := self.take("*", "/"):
            other = self.factor()
            if other[:-1].any() and (op == "/" or value[:-1].any()):
                self.fail("the expression is not linear in the coefficients")
            if op == "/":
                if other[-1] == 0:
                    self.fail("division by zero")
                value = value / other[-1]
            else:
                value = value * other[-1] if value[:-1].any() else other * value[-1]
        return value

    def factor(self) -> Array:
        if op := self.take("+", "-"):
            return self.factor() if op == "+" else -self.factor()
        if self.take("("):
            value = self.expression()
            if not self.take(")"):
                self.fail("a closing parenthesis is missing")
            return value
        token = self.tokens[self.at]
        if token.kind not in ("name", "number"):
            self.fail(f"a coefficient or number is missing before {token.text!r}")
        self.at += 1
        value = np.zeros(len(self.labels) + 1)
        if token.kind == "name":
            value[self.labels.index(token.text)] = 1.0
        else:
            value[-1] = float(token.text)
        return value


def combine(weights: Array, labels: Sequence[str]) -> str:
    """Write one linear combination, such as ``"a - 2.5*b"``."""
    text = ""
    for weight, label in zip(weights, labels, strict=True):
        if weight != 0:
            size = "" if abs(weight) == 1 else f"{abs(weight):.6g}*"
            sign = "-" if weight < 0 else "+"
            text += f" {sign} {size}{label}" if text else f"{sign.strip('+')}{size}{label}"
    return text


def describe(weights: Array, constant: float, labels: Sequence[str]) -> str:
    """Write one restriction in words.

    Examples
    --------
    >>> describe(np.array([1.0, -1.0]), 0.0, ["a", "b"])
    'a = b'
    >>> describe(np.array([1.0, -2.5]), 3.0, ["a", "b"])
    'a - 2.5*b = 3'
    """
    if constant == 0 and (weights > 0).any() and (weights < 0).any():
        left, right = (combine(np.maximum(w, 0), labels) for w in (weights, -weights))
        return f"{left} = {right}"
    return f"{combine(weights, labels)} = {constant:.6g}"


def parse_constraints(text: str | Sequence[str], labels: Sequence[str]) -> LinearMap:
    """Read one or several restrictions written as text.

    Parameters
    ----------
    text : str or sequence of str
        For example ``"x1 = x2"`` or ``["x1 + 2*x2 = 3", "x3"]``; without ``=`` the expression is
        set to zero.
    labels : sequence of str
        Coefficient names in order.

    Returns
    -------
    LinearMap

    Raises
    ------
    ParameterError
        For unknown names, malformed or non-linear text, and rows without a coefficient.

    Examples
    --------
    >>> found = parse_constraints("x1 + 2*x2 = 3, (Intercept) = 0", ["(Intercept)", "x1", "x2"])
    >>> found.matrix.tolist(), found.constant.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]], [3.0, 0.0])
    """
    parts = [text] if isinstance(text, str) else list(text)
    maps = [_Parser(part, list(labels)).parse() for part in parts]
    out = LinearMap(
        np.vstack([m.matrix for m in maps]),
        np.concatenate([m.constant for m in maps]),
        tuple(word for m in maps for word in m.words),
    )
    for row, word in zip(out.matrix, out.words, strict=True):
        if not row.any():
            raise ParameterError(f"The restriction {word!r} involves no coefficient. Remove it.")
    return out


def is_text(spec: object) -> bool:
    """Whether the restrictions are written as text."""
    if isinstance(spec, str):
        return True
    return isinstance(spec, list | tuple) and bool(spec) and all(isinstance(s, str) for s in spec)


def _from_frame(frame: pd.DataFrame, labels: Sequence[str]) -> Array:
    matrix = np.zeros((len(frame), len(labels)))
    for name in frame.columns:
        if name not in labels:
            unknown_name(str(name), labels)
        matrix[:, labels.index(name)] = frame[name].to_numpy(float)
    return matrix


def linear_map(spec: RowSpec, labels: Sequence[str]) -> LinearMap:
    """Turn any description of linear combinations into a :class:`LinearMap`.

    Parameters
    ----------
    spec : array-like of shape (q, k) or (k,), mapping, Series, DataFrame, str or list of str
        Mapping and Series: term -> weight, one row. DataFrame: a row each, terms in columns.
    labels : sequence of str
        Coefficient names in order.

    Returns
    -------
    LinearMap
        ``constant`` is zero unless the text says otherwise.

    Raises
    ------
    ParameterError
        For unknown names, a wrong number of columns, rows of zeros or values that are not finite.
    """
    if is_text(spec):
        return parse_constraints(spec, labels)  # type: ignore[arg-type]
    given: list[str] | None = None
    if isinstance(spec, pd.Series):
        given = None if spec.name is None else [str(spec.name)]
        spec = spec.to_frame().T
    elif isinstance(spec, Mapping):
        spec = pd.DataFrame([dict(spec)], dtype=float)
    elif isinstance(spec, pd.DataFrame):
        given = [str(name) for name in spec.index]
    if isinstance(spec, pd.DataFrame):
        matrix = _from_frame(spec, labels)
    else:
        matrix = np.atleast_2d(np.asarray(spec, dtype=np.float64))
    if matrix.ndim != 2 or matrix.shape[1] != len(labels) or matrix.shape[0] == 0:
        raise ParameterError(
            f"The matrix of linear combinations has shape {matrix.shape}; it needs one column for "
            f"each of the {len(labels)} coefficients ({', '.join(labels[:_MAX_LISTED])})."
        )
    if not np.isfinite(matrix).all() or not matrix.any(axis=1).all():
        raise ParameterError(
            "Each linear combination needs finite weights that are not all zero. "
            f"Check row {int(np.argmin(np.isfinite(matrix).all(1) & matrix.any(1)))}."
        )
    words = given or [combine(row, labels) for row in matrix]
    return LinearMap(matrix, np.zeros(len(matrix)), tuple(words))
