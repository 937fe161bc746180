"""The progress bar draws on standard error only, with and without tqdm."""

from __future__ import annotations

import sys

import pytest

from robuststat._core.progress import progress


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def test_disabled_is_silent_and_lazy(capsys):
    seen = []
    items = progress((seen.append(i) or i for i in range(3)), 3, "label", enabled=False)
    assert seen == []
    assert list(items) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_with_tqdm(capsys):
    pytest.importorskip("tqdm")
    assert list(progress(iter("abc"), 3, "cross-fitting", enabled=True)) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "cross-fitting" in err
    assert "/3" in err


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm(capsys):
    assert list(progress(iter("abc"), 3, "label", enabled=True)) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    bars = [f"\rlabel [{'#' * n}{'.' * (30 - n)}] {done}/3" for done, n in ((1, 10), (2, 20))]
    assert err == "".join(bars) + f"\rlabel [{'#' * 30}] 3/3\n"


@pytest.mark.usefixtures("without_tqdm")
def test_nothing_to_do(capsys):
    assert list(progress([], 0, "label", enabled=True)) == []
    assert capsys.readouterr().err == "\n"
