"""The example of README.md runs and prints what README.md says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from robuststat.__main__ import main

README = Path(__file__).resolve().parents[1] / "README.md"


def test_example_prints_what_it_says():
    text = README.read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.S)
    assert examples, "README.md has no example with its output"
    for code, output in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(README), "exec"), {})
        assert printed.getvalue().strip() == output.strip()


@pytest.mark.slow
def test_tour_prints_what_readme_says(capsys):
    main()
    printed = capsys.readouterr().out
    text = README.read_text(encoding="utf-8")
    shown = text.split("-m robuststat\n```\n\n```text\n")[1].split("```")[0]
    assert _lines(printed) == _lines(shown)


def _lines(text):
    """Lines without trailing blanks, seconds of the tour, and numbers that were drawn privately."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    lines = [re.sub(r"^(mean|median), private .*  (?=private)", r"\1, private ", x) for x in lines]
    return [line for line in lines if not re.fullmatch(r"\(\d+ seconds\)", line)]
