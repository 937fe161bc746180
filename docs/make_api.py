"""Write docs/api.md from the public names of the package.

    python docs/make_api.py            write the page
    python docs/make_api.py --check    fail when the page is not current

A class or function is listed under the family that defines it; the heading is the first line of the
family's docstring. What the user reaches as ``robuststat.simulation.make_...`` is listed that way.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import robuststat

PAGE = Path(__file__).with_name("api.md")
HEAD = """\
<!-- Written by docs/make_api.py from robuststat.__all__: change the names there, then run it. -->

# API reference

Every estimator takes its options in the constructor and its data in `fit`, and keeps its numbers in
`result_`. Everything is imported from `robuststat`, or from the module named here.
"""
BLOCK = """
## {title}

```{{eval-rst}}
.. currentmodule:: {module}

.. autosummary::
   :toctree: generated
   :nosignatures:

{names}
```
"""
REST = "Results, warnings and errors"


def title(module: ModuleType) -> str:
    return (module.__doc__ or module.__name__).splitlines()[0].rstrip(".")


def block(heading: str, module: str, names: list[str]) -> str:
    return BLOCK.format(title=heading, module=module, names="\n".join(f"   {n}" for n in names))


def page() -> str:
    """Text of the whole page, in the order of ``robuststat.__all__``."""
    by_heading: dict[str, list[str]] = {}
    modules = []
    for name in robuststat.__all__:
        item = getattr(robuststat, name)
        if isinstance(item, ModuleType):
            modules.append(item)
        elif callable(item):
            home = ".".join(item.__module__.split(".")[:2])
            module = importlib.import_module(home)
            is_family = home.startswith("robuststat.") and hasattr(module, "__path__")
            heading = title(module) if is_family and not home.endswith("._core") else REST
            by_heading.setdefault(heading, []).append(name)
    rest = by_heading.pop(REST, [])
    blocks = [block(heading, "robuststat", names) for heading, names in by_heading.items()]
    if rest:
        blocks.append(block(REST, "robuststat", rest))
    listed = {name for names in [rest, *by_heading.values()] for name in names}
    for module in modules:
        names = [name for name in getattr(module, "__all__", ()) if name not in listed]
        names = [name for name in names if callable(getattr(module, name))]
        if names:
            blocks.append(block(title(module), module.__name__, names))
    return HEAD + "".join(blocks)


def main() -> None:
    """Write the page, or compare it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/api.md is not current: run `python docs/make_api.py`")


if __name__ == "__main__":
    main()
