"""The house rules that a parser can check (CONTRIBUTING.md, "The house on one page").

Each rule is a function of a source tree that returns the list of violations. It runs on the
package, and on a small tree that breaks the rule: a rule that finds nothing any more is noticed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "robuststat"

# A module imports only from lower floors and from its own package. Packages that are not named here
# are families; a new top-level module must be given its floor.
FLOORS = {
    "kernels": 0,
    "_core": 1,
    "report": 2,
    "plot": 2,
    "result": 3,
    "base": 4,
    "datasets": 6,
    "simulation": 6,
    "testing": 7,
    "": 8,
    "__main__": 9,
}
FAMILY_FLOOR = 5
# Private modules that a room was split into because of its length: module -> room.
PART_OF = {
    "_examples": "testing",
    "_format": "report",
    "_private_checks": "testing",
    "_private_examples": "testing",
    "_results": "result",
    "_tour": "__main__",
    "wald": "result",
}
# Rooms that see even less of the package than their floor would allow.
ONLY = {
    "report": {"_core.errors", "_core.types"},
    "plot": {"_core.errors", "_core.types"},
    "datasets": {"_core.errors", "_core.types"},
}
# Imported inside the function that needs them: optional, or slow to load.
LAZY = {
    *("statsmodels", "cvxpy", "formulaic", "matplotlib", "pyarrow", "dask", "tqdm", "maketables"),
    *("distributed", "polars"),
}
KERNELS_MAY_IMPORT = {"numpy", "numba", NAME, *sys.stdlib_module_names}
FORBIDDEN_CALLS = {
    "print": "return the text, or let __main__ print it",
    "warnings.simplefilter": "warning filters belong to the user",
    "warnings.filterwarnings": "warning filters belong to the user",
    "np.random.seed": "pass a Generator (robuststat._core.rng)",
    "numpy.random.seed": "pass a Generator (robuststat._core.rng)",
}

# Aim for 400 and 40. A function counts the code lines of its body: no docstring, comments, blanks.
MODULE_LINES = 450
FUNCTION_LINES = 60
# "path" or "path:function" -> why it may be longer. Splitting a solver's one loop only to obey is
# not wanted.
LONGER: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: where, what, and whether it runs when the module is imported."""

    module: str
    target: str
    line: int
    at_import: bool
    relative: bool


def source_files(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk_imports(node: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_import
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from walk_imports(child, at_import and not inside and not is_type_checking(child))


def imports(package: Path) -> list[Import]:
    files = {module_name(path, package): path for path in source_files(package)}
    found = []
    for module, path in files.items():
        for node, at_import in walk_imports(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets, relative = [alias.name for alias in node.names], False
            else:
                assert isinstance(node, ast.ImportFrom)
                base, relative = node.module or "", node.level > 0
                if relative:
                    own = (
                        module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                    )
                    base = ".".join([*own[: len(own) - node.level + 1], *filter(None, [base])])
                # `from package import module` imports the module, not a name of the package
                joined = [f"{base}.{alias.name}" for alias in node.names]
                targets = [name if name in files else base for name in joined]
            found += [
                Import(module, target, node.lineno, at_import, relative) for target in targets
            ]
    return found


def room(module: str) -> str:
    """Room of the house that a dotted name belongs to ("" for the top)."""
    second = module.split(".")[1] if "." in module else ""
    return PART_OF.get(second, second)


def inside(target: str) -> bool:
    return target == NAME or target.startswith(f"{NAME}.")


def unknown_rooms(package: Path) -> list[str]:
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    unknown = modules - FLOORS.keys() - PART_OF.keys()
    return [f"{name}.py has no floor in {Path(__file__).name}" for name in sorted(unknown)]


def floors_broken(package: Path) -> list[str]:
    problems = []
    for item in imports(package):
        if not inside(item.target):
            continue
        here, there = room(item.module), room(item.target)
        if here == there and here:
            continue
        low, high = FLOORS.get(there, FAMILY_FLOOR), FLOORS.get(here, FAMILY_FLOOR)
        short = item.target.removeprefix(f"{NAME}.")
        allowed = short in ONLY[here] if here in ONLY else low < high
        if not allowed:
            problems.append(f"{item.module}:{item.line} imports {item.target}")
    return problems


def lazy_broken(package: Path) -> list[str]:
    problems = []
    for item in imports(package):
        if not item.at_import:
            continue
        top = item.target.split(".")[0]
        in_kernels = room(item.module) == "kernels"
        eager_kernel = item.target.startswith(f"{NAME}.kernels.") and not in_kernels
        if top in LAZY or (top == "numba" and not in_kernels) or eager_kernel:
            problems.append(f"{item.module}:{item.line} imports {item.target} at module level")
    return problems


def kernels_broken(package: Path) -> list[str]:
    return [
        f"{item.module}:{item.line} imports {item.target}"
        for item in imports(package)
        if room(item.module) == "kernels" and item.target.split(".")[0] not in KERNELS_MAY_IMPORT
    ]


def relative_across_packages(package: Path) -> list[str]:
    packages = {module_name(path, package) for path in package.rglob("__init__.py")}

    def home(module: str) -> str:
        return module if module in packages else module.rpartition(".")[0]

    return [
        f"{item.module}:{item.line} reaches {item.target} by a relative import"
        for item in imports(package)
        if item.relative and home(item.module) != home(item.target)
    ]


def circles(package: Path) -> list[str]:
    graph: dict[str, set[str]] = {}
    for item in imports(package):
        if item.at_import and inside(item.target) and item.target != item.module:
            graph.setdefault(item.module, set()).add(item.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def forbidden_code(package: Path) -> list[str]:
    problems = []
    for path in source_files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(package.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                problems.append(f"{where} bare except: name the exception")
            if not isinstance(node, ast.Call):
                continue
            reason = FORBIDDEN_CALLS.get(called := ast.unparse(node.func))
            if reason and not (called == "print" and path.name == "__main__.py"):
                problems.append(f"{where} {called}(): {reason}")
    return problems


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    text = [line.strip() for line in lines[body[0].lineno - 1 : function.end_lineno]]
    return sum(bool(line) and not line.startswith("#") for line in text)


def too_long(package: Path, longer: dict[str, str]) -> list[str]:
    problems, seen = [], set()
    for path in source_files(package):
        text = path.read_text(encoding="utf-8")
        lines, where = text.splitlines(), path.relative_to(package.parent).as_posix()
        sizes = [(where, len(lines), MODULE_LINES)]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes.append((f"{where}:{node.name}", code_lines(node, lines), FUNCTION_LINES))
        for key, size, limit in sizes:
            if size > limit and key not in longer:
                problems.append(f"{key} has {size} lines (limit {limit})")
            if size > limit:
                seen.add(key)
    return problems + [f"{key} is listed as longer but is not" for key in longer.keys() - seen]


def package_lengths(package: Path) -> list[str]:
    return too_long(package, LONGER)


RULES: list[Callable[[Path], list[str]]] = [
    unknown_rooms,
    floors_broken,
    lazy_broken,
    kernels_broken,
    relative_across_packages,
    circles,
    forbidden_code,
    package_lengths,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_obeys(rule: Callable[[Path], list[str]]) -> None:
    problems = rule(ROOT / NAME)
    assert not problems, "\n".join(problems)


LONG_FUNCTION = "def f():\n" + '    """Doc."""\n' + "    x = 1\n" * (FUNCTION_LINES + 1)
BROKEN = [
    (unknown_rooms, {"extra.py": ""}, "extra.py"),
    (floors_broken, {"_core/a.py": "def f():\n    import robuststat.base"}, "robuststat.base"),
    (floors_broken, {"iv/a.py": "from robuststat.surrogate import x"}, "robuststat.surrogate"),
    (floors_broken, {"iv/a.py": "from robuststat import datasets", "datasets.py": ""}, "datasets"),
    (floors_broken, {"iv/a.py": "from robuststat import SomePublicName"}, "imports robuststat"),
    (floors_broken, {"plot.py": "from robuststat._core import data"}, "robuststat._core"),
    (lazy_broken, {"iv/a.py": "class A:\n    from cvxpy import x"}, "cvxpy"),
    (
        lazy_broken,
        {"_core/a.py": "try:\n    import pyarrow.parquet\nfinally:\n    pass"},
        "pyarrow",
    ),
    (lazy_broken, {"_core/a.py": "import numba"}, "numba"),
    (lazy_broken, {"_core/a.py": "from robuststat.kernels import b"}, "robuststat.kernels.b"),
    (kernels_broken, {"kernels/b.py": "import scipy.special"}, "scipy"),
    (relative_across_packages, {"iv/a.py": "from ..base import x"}, "robuststat.base"),
    (relative_across_packages, {"base.py": "from ._core.a import x"}, "robuststat._core.a"),
    (
        circles,
        {"iv/a.py": "from robuststat.iv import c", "iv/c.py": "import robuststat.iv.a"},
        "->",
    ),
    (forbidden_code, {"iv/a.py": "try:\n    pass\nexcept:\n    pass"}, "bare except"),
    (forbidden_code, {"iv/a.py": "print(1)"}, "print"),
    (forbidden_code, {"iv/a.py": "import numpy as np\nnp.random.seed(1)"}, "seed"),
    (
        forbidden_code,
        {"iv/a.py": "import warnings\nwarnings.simplefilter('ignore')"},
        "simplefilter",
    ),
    (package_lengths, {"iv/a.py": "x = 1\n" * (MODULE_LINES + 1)}, "451 lines"),
    (package_lengths, {"iv/a.py": LONG_FUNCTION}, "iv/a.py:f has 61 lines"),
]
SOUND = {
    "__main__.py": "print(1)",
    "base.py": "from robuststat._core import a\nfrom robuststat.result import x",
    "report.py": "from robuststat import _format",
    "result.py": "from robuststat.wald import x\ndef f():\n    import matplotlib",
    "wald.py": "from robuststat._core import a",
    "_format.py": "",
    "_core/a.py": "import numpy\ndef f():\n    import cvxpy\n    from robuststat.kernels import b",
    "kernels/b.py": "import numba\nimport math",
    "iv/a.py": "if TYPE_CHECKING:\n    import polars\nfrom . import c",
    "iv/c.py": '"""Doc."""\nfrom robuststat.base import x',
}


def plant(folder: Path, files: dict[str, str]) -> Path:
    package = folder / NAME
    for name in ("__init__.py", "_core/__init__.py", "kernels/__init__.py", "iv/__init__.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    for name, text in (SOUND | files).items():
        (package / name).write_text(text)
    return package


@pytest.mark.parametrize(("rule", "files", "match"), BROKEN)
def test_rule_finds_violation(
    rule: Callable[[Path], list[str]], files: dict[str, str], match: str, tmp_path: Path
) -> None:
    problems = rule(plant(tmp_path, files))
    assert len(problems) == 1
    assert match in problems[0]


@pytest.mark.parametrize("rule", RULES[:-1], ids=lambda rule: rule.__name__)
def test_rule_accepts_sound_tree(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert rule(plant(tmp_path, {})) == []


def test_listed_exception_must_be_needed(tmp_path: Path) -> None:
    package = plant(tmp_path, {"iv/a.py": LONG_FUNCTION})
    assert too_long(package, {f"{NAME}/iv/a.py:f": "one loop"}) == []
    assert too_long(package, {f"{NAME}/iv/a.py:f": "one loop", "gone.py": "?"}) != []


IMPORT_SCRIPT = """
import sys
import robuststat
for name in robuststat.__all__ if {every_name} else []:
    getattr(robuststat, name)
heavy = ["statsmodels", "cvxpy", "numba", "formulaic", "matplotlib"]
loaded = [name for name in heavy if name in sys.modules]
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""


@pytest.mark.parametrize("every_name", [False, True])
def test_import_is_light_and_silent(every_name: bool, tmp_path: Path) -> None:
    script = textwrap.dedent(IMPORT_SCRIPT).format(every_name=every_name)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout + run.stderr == ""
