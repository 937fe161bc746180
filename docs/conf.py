"""Sphinx configuration: ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

Nothing is written twice. A page that contains ``<!-- include: FILE -->`` shows that file of the
repository, with its links turned towards the pages; the vignettes are copied here at each build.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "robuststat"
author = "The robuststat developers"
release = version = installed_version("robuststat")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_templates", "conf.py", "make_api.py", "jupyter_execute"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings state types and shapes
numpydoc_show_class_members = False  # the class template lists them

# Vignettes are percent-format scripts; a failing cell fails the build.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

# file of the repository -> page that shows it
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "data.md",
    "docs/api.md": "api.md",
}
INCLUDE = re.compile(r"<!-- include: (\S+) -->")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def copy_vignettes() -> None:
    """Give docs/vignettes the present scripts, leaving unchanged ones untouched."""
    target = DOCS / "vignettes"
    target.mkdir(exist_ok=True)
    scripts = {path.name: path for path in (ROOT / "vignettes").glob("*.py")}
    for old in target.glob("*.py"):
        if old.name not in scripts:
            old.unlink()
    for name, path in scripts.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def turn_links(text: str, source: Path) -> str:
    """Point relative links of a repository file at pages; without a page only the text remains."""

    def turn(match: re.Match[str]) -> str:
        bang, label, path, anchor = match.groups()
        full = (source.parent / path).resolve()
        if not full.is_relative_to(ROOT) or not full.exists():
            return match[0]  # a broken link: let Sphinx complain
        inside = full.relative_to(ROOT).as_posix()
        if inside in PAGES:
            return f"[{label}]({PAGES[inside]}{anchor or ''})"
        if full.parent == ROOT / "vignettes" and full.suffix == ".py":
            return f"[{label}](vignettes/{full.name})"
        if bang:
            image = inside.removeprefix("docs/") if full.is_relative_to(DOCS) else f"../{inside}"
            return f"![{label}]({image})"
        return label

    return LINK.sub(turn, text)


def include_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the include comments of a page."""

    def read(match: re.Match[str]) -> str:
        path = ROOT / match[1]
        app.env.note_dependency(str(path))
        return turn_links(path.read_text(encoding="utf-8"), path)

    source[0] = INCLUDE.sub(read, source[0])


def setup(app: Sphinx) -> None:
    """Register the include step."""
    copy_vignettes()
    app.connect("source-read", include_files)
