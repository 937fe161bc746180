"""What is declared twice agrees: packages and folders, data and README, versions and bounds."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
DATA_BYTES = 500_000


def setup_cfg(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    return config


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_problems(root: Path) -> list[str]:
    """Compare setup.cfg's package list with the folders that hold Python files."""
    options = setup_cfg(root)["options"]
    listed = options["packages"].split()
    mapped = dict(re.split(r"\s*=\s*", line) for line in options["package_dir"].split("\n") if line)
    folders = {path.parent for path in (root / "robuststat").rglob("*.py")}
    on_disk = {".".join(folder.relative_to(root).parts) for folder in folders} | mapped.keys()
    wheres = [root / mapped.get(name, name.replace(".", "/")) for name in listed]
    return [
        *(f"{name} is listed twice" for name in {n for n in listed if listed.count(n) > 1}),
        *(f"{name} is not listed in setup.cfg" for name in on_disk - set(listed)),
        *(f"{name} is listed but does not exist" for name in set(listed) - on_disk),
        *(
            f"{where} has no __init__.py"
            for where in wheres
            if not (where / "__init__.py").exists()
        ),
    ]


def data_problems(root: Path) -> list[str]:
    """Compare data/ with its README, with the patterns of setup.cfg and with the size limit."""
    patterns = re.split(r"[\s,]+", setup_cfg(root)["options.package_data"]["robuststat.data"])
    folder = root / "data"
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    # data/rebuild makes the files anew; it belongs to the checkout, not to the package.
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and path.relative_to(folder).parts[0] != "rebuild"
    ]
    problems = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        if not any(fnmatch(name, pattern) for pattern in patterns) or "/" in name:
            problems.append(f"data/{name} would not be shipped: add a pattern to setup.cfg")
        if path != readme and name not in text:
            problems.append(f"data/{name} is not explained in data/README.md")
        if path.stat().st_size >= DATA_BYTES:
            problems.append(f"data/{name} has {path.stat().st_size} bytes (limit {DATA_BYTES})")
    return problems


def lower_bounds(requirements: list[str]) -> dict[str, Version]:
    bounds = {}
    for requirement in map(Requirement, requirements):
        if requirement.name != "robuststat":
            (lowest,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
            bounds[requirement.name] = Version(lowest)
    return bounds


def pins(text: str) -> dict[str, Version]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    found = dict(line.split("==") for line in lines if line)
    return {name: Version(version.removesuffix(".*")) for name, version in found.items()}


def test_packages_are_the_folders() -> None:
    assert package_problems(ROOT) == []
    assert (ROOT / "robuststat" / "py.typed").exists()


def test_data_files_are_shipped_and_explained() -> None:
    assert data_problems(ROOT) == []


def test_data_are_found_from_the_checkout() -> None:
    """Read the data where ``python -m robuststat`` of README.md starts, in the checkout's root.

    There the folder robuststat/ hides the installed package, and with it robuststat.data.
    """
    script = (
        "from robuststat import datasets as d\n"
        "[getattr(d, name)() for name in dir(d) if name.startswith('load_')]"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_lowest_versions_are_the_declared_bounds() -> None:
    declared = project()["project"]
    extras = declared["optional-dependencies"]
    (own,) = (Requirement(text) for text in extras["test"] if text.startswith("robuststat["))
    wanted = lower_bounds(declared["dependencies"] + extras["test"])
    for extra in own.extras:
        wanted |= lower_bounds(extras[extra])
    found = pins((ROOT / "constraints" / "lowest.txt").read_text())
    assert {name: found.get(name) for name in wanted} == wanted


def test_test_extra_holds_what_the_other_extras_need() -> None:
    """A plain ``pip install '.[test]'`` can run every test and doctest."""
    extras = project()["project"]["optional-dependencies"]
    (own,) = (Requirement(text) for text in extras["test"] if text.startswith("robuststat["))
    assert own.extras >= {"plot", "progress", "big", "dask"}


def test_python_floor_is_the_same_everywhere() -> None:
    config = project()
    floor = config["project"]["requires-python"].removeprefix(">=")
    assert config["tool"]["mypy"]["python_version"] == floor
    assert config["tool"]["ruff"]["target-version"] == "py" + floor.replace(".", "")
    assert sys.version_info >= tuple(map(int, floor.split(".")))


@pytest.mark.parametrize("path", ["CHANGELOG.md", "CITATION.cff"])
def test_current_version_is_written_down(path: str) -> None:
    version = re.escape(project()["project"]["version"])
    line = rf"^## \[{version}\]" if path == "CHANGELOG.md" else rf"^version: {version}$"
    assert re.search(line, (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_checks_notice_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text(
        "[options]\npackages =\n    robuststat\n    robuststat.gone\n    robuststat.data\n"
        "package_dir =\n    robuststat.data = data\n"
        "[options.package_data]\nrobuststat.data = *.csv, README.md\n"
    )
    for name in ("robuststat/__init__.py", "robuststat/new/a.py", "data/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data" / "README.md").write_text("`known.csv`: explained")
    (tmp_path / "data" / "known.csv").touch()
    assert data_problems(tmp_path) == []
    (tmp_path / "data" / "other.txt").write_bytes(b" " * DATA_BYTES)
    assert len(data_problems(tmp_path)) == 3
    assert sorted(package_problems(tmp_path)) == [
        f"{tmp_path / 'robuststat/gone'} has no __init__.py",
        "robuststat.gone is listed but does not exist",
        "robuststat.new is not listed in setup.cfg",
    ]
    assert pins("a==1.2.*  # why\n\n# b==1\n") == {"a": Version("1.2")}
