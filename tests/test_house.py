"""The stairs of the house: imports go down only, and what runs without torch does not import it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "rather"

# Floor by floor, the modules directly below `rather`. A new one gets its place here and in CONTRIBUTING.md.
STAIRS = (
    {"errors", "files", "toml", "records", "config", "run", "limits", "machine", "parallel", "checkpoint"},
    {"losses", "advantages", "statistics"},
    {"worlds", "feedback", "models", "batches", "rollout", "rollout_vllm", "verifiers"},
    {"stages"},
    {"evaluate", "explain", "diagnose", "report"},
    {"pipeline", "pipeline_recipe", "pipeline_memory", "pipeline_judged", "plan", "cli", "serve", "launch", "demo"}
    | {"pipeline_rounds", "pipeline_order", "pipeline_side_by_side", "pipeline_seeds", "__main__"},
)
FLOOR = {name: floor for floor, names in enumerate(STAIRS) for name in names}
MATHS = STAIRS[1]
MATHS_MAY_IMPORT = {"torch", "numpy", "scipy"}
WITHOUT_TORCH = ("errors", "files", "records", "config", "run", "worlds", "feedback", "report", "explain", "verifiers")
WITHOUT_TORCH += ("limits", "cli", "diagnose")
# Its index of tensors is a pickle of torch's; it reads it with an unpickler that knows the index's own classes only.
MAY_UNPICKLE = {"checkpoint/storage.py"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FROM_A_NETWORK = re.compile(
    r"""(?:\bsrc\s*=|<link\b[^>]*\bhref\s*=|@import|\burl\(|\bimport\b)\s*["'(]*\s*(?:https?:)?//""", re.I
)


def imports(tree: ast.AST, module: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import with the full name it asks for; `from rather import files` asks for rather.files."""
    package = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level]) if node.level else ""
            start = ".".join(part for part in (start, node.module) if part)
            if start == "rather":
                yield from ((node, f"rather.{alias.name}") for alias in node.names)
            else:
                yield node, start


def problems(package: Path) -> list[str]:
    """What is against the rules in every Python file below `package`, as `file:line: words`."""
    found = []
    for file in sorted(package.rglob("*.py")):
        source = file.read_text()
        tree = ast.parse(source)
        inside = file.relative_to(package).with_suffix("")
        own = inside.parts[0]
        module = ".".join(("rather", *inside.parts))  # a package is `rather.losses.__init__`: levels count the same
        where = file.relative_to(package)
        if own == "__init__":
            found += [
                f"{where}:{n.lineno}: rather itself imports {name}"
                for n, name in imports(tree, module)
                if "rather" in name
            ]
            continue
        if own not in FLOOR:
            found.append(f"{where}:1: {own} has no floor: give it one in tests/test_house.py")
            continue
        for node, name in imports(tree, module):
            top, _, rest = name.partition(".")
            theirs = rest.split(".")[0]
            if top == "rather" and theirs in FLOOR and theirs != own:
                if own in MATHS:
                    found.append(f"{where}:{node.lineno}: {own} imports {theirs}: maths imports nothing of ours")
                elif FLOOR[theirs] > FLOOR[own]:
                    found.append(
                        f"{where}:{node.lineno}: {own} imports {theirs}: a step up, {FLOOR[own]} to {FLOOR[theirs]}"
                    )
            elif top != "rather" and own in MATHS and top not in MATHS_MAY_IMPORT | sys.stdlib_module_names:
                found.append(f"{where}:{node.lineno}: {own} imports {top}: maths imports torch, numpy and scipy")
            if top in PICKLES and str(where) not in MAY_UNPICKLE:
                found.append(f"{where}:{node.lineno}: imports {top}: what it reads can run code")
        found += [f"{where}:{line}: a late import without its reason beside it" for line in unexplained(tree, source)]
        found += [f"{where}:{line}: {words}" for line, words in forbidden(tree)]
    return found


def unexplained(tree: ast.Module, source: str) -> Iterator[int]:
    """Lines of imports inside functions that no comment explains: on the line, or just above the block of imports."""
    lines = ["", *source.splitlines()]

    def reason(line: str) -> bool:
        words = line.partition("#")[2]
        return bool(re.sub(r"noqa[:\s\w,]*?(?=\(|-|$)|type: ignore(\[.*?\])?|[#()\s-]", "", words))

    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {node.lineno for f in functions for node in ast.walk(f) if isinstance(node, ast.Import | ast.ImportFrom)}
    for line in sorted(late):
        above = line
        while above in late or not lines[above].strip():
            if reason(lines[above]):
                break
            above -= 1
        explained = reason(lines[above]) if above in late else lines[above].strip().startswith("#")
        if not explained:
            yield line


def forbidden(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if given.get("trust_remote_code"):
                yield node.lineno, "trust_remote_code: a model folder would run its own code"
            if ast.unparse(node.func) in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
                yield node.lineno, "unpickles without a list of what may be in it"
            if ast.unparse(node.func) == "torch.load" and given.get("weights_only") is not True:
                yield node.lineno, "torch.load without weights_only=True is a pickle"
        elif isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            yield node.lineno, "0.0.0.0: a server listens on the loopback unless a person says otherwise"


def reaches_out(package: Path) -> list[str]:
    """Pages, styles and scripts in the package that load something from a network."""
    pages = [f for f in package.rglob("*") if f.suffix in {".html", ".js", ".css", ".svg", ".jinja", ".j2"}]
    return [str(f.relative_to(package)) for f in sorted(pages) if FROM_A_NETWORK.search(f.read_text())]


def test_imports_go_down_only_and_nothing_forbidden_is_in_the_house():
    assert problems(PACKAGE) == []
    assert reaches_out(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("errors.py", "from rather.models.load import load", "errors imports models: a step up, 0 to 2"),
        ("records/lines.py", "from ..batches import trees", "records imports batches: a step up, 0 to 2"),
        ("records/__init__.py", "from ..models import load", "records imports models: a step up, 0 to 2"),
        ("stages/sft.py", "from rather import config, report", "stages imports report: a step up, 3 to 4"),
        ("models/load.py", "def f():\n    import rather.cli  # a cycle", "models imports cli: a step up, 2 to 5"),
        ("losses/sft.py", "from rather import errors", "maths imports nothing of ours"),
        ("losses/sft.py", "from rather.advantages import gae", "maths imports nothing of ours"),
        ("losses/sft.py", "import transformers", "maths imports torch, numpy and scipy"),
        ("__init__.py", "from rather.errors import RatherError", "rather itself imports"),
        ("utils.py", "x = 1", "utils has no floor"),
        ("run.py", "def f():\n    import torch", "a late import without its reason"),
        ("run.py", "def f():\n    import torch  # noqa: F401", "a late import without its reason"),
        ("run.py", "import pickle", "what it reads can run code"),
        ("checkpoint/storage.py", "import pickle\npickle.load(file)", "unpickles without a list"),
        ("models/load.py", "torch.load(path, weights_only=False)", "is a pickle"),
        ("models/load.py", "f(path, trust_remote_code=True)", "trust_remote_code"),
        ("serve/app.py", "run(host='0.0.0.0')", "0.0.0.0"),
    ],
)
def test_a_planted_fault_is_named(tmp_path, file, source, complaint):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(source)
    (said,) = problems(tmp_path)
    assert said.startswith(f"{file}:")
    assert complaint in said


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("models/load.py", "from rather.errors import BadModel\nfrom rather.batches.trees import Tree"),
        (
            "losses/sft.py",
            "import math\nimport torch\nfrom rather.losses.tokens import counted\nfrom .tokens import counted",
        ),
        ("run.py", "def f():\n    # costs two seconds\n    import torch\n    import numpy"),
        ("run.py", "def f():\n    import datasets  # noqa: F401  (an optional dependency)\n    import pyarrow"),
        ("models/load.py", '"""torch.load, pickle, trust_remote_code=True and 0.0.0.0 are words here."""'),
        ("models/load.py", "f(path, trust_remote_code=False)\ntorch.load(path, weights_only=True)"),
    ],
)
def test_what_is_allowed_is_not_named(tmp_path, file, source):
    allowed = tmp_path / file
    allowed.parent.mkdir(parents=True, exist_ok=True)
    allowed.write_text(source)
    assert problems(tmp_path) == []


def test_a_page_that_loads_from_a_network_is_named(tmp_path):
    (tmp_path / "cdn.html").write_text('<script src="https://cdn.example/htmx.js"></script>')
    (tmp_path / "font.css").write_text("@font-face { src: url(//fonts.example/a.woff2) }")
    (tmp_path / "own.html").write_text('<script src="/static/htmx.js"></script><a href="https://arxiv.org">paper</a>')
    assert reaches_out(tmp_path) == ["cdn.html", "font.css"]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_starts_without_torch(name):
    if not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").exists():
        pytest.skip(f"there is no rather.{name} yet")
    # A torch that cannot be imported: what starts beside it starts on a computer that has none. Of the command line
    # that is the frame; a verb may need torch.
    code = (
        "import sys, importlib, pkgutil\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"module = importlib.import_module('rather.{name}')\n"
        f"within = [] if '{name}' == 'cli' else getattr(module, '__path__', [])\n"
        f"for found in pkgutil.walk_packages(within, 'rather.{name}.'): importlib.import_module(found.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_module_has_one_floor():
    assert sum(map(len, STAIRS)) == len(FLOOR)


def test_the_stairs_of_contributing_are_those_of_the_house():
    """In brackets: planned. What is there stands outside of them, each name on its floor."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    floors = re.findall(r"^([0-5]) (\w+) +(.+?)(?: {3,}.*)?$", page, re.M)
    planned = {name for _, _, names in floors for inside in re.findall(r"\((.*)\)", names) for name in inside.split()}
    there = {name: int(n) for n, _, names in floors for name in re.sub(r"\(.*\)", "", names).split()}
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(there) == modules - {"__init__", "__main__"}
    assert planned & modules == set()
    assert there == {name: FLOOR[name] for name in there}


# What another package, which is declared, cannot be without: import name -> that package.
BROUGHT_BY = {"pydantic_core": "pydantic", "pyarrow": "datasets"}


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    declared = {re.match(r"[\w.-]+", line)[0].lower().replace("-", "_") for line in lines}
    imported = {
        name.split(".")[0]
        for file in PACKAGE.rglob("*.py")
        for _, name in imports(ast.parse(file.read_text()), "rather")
    }
    foreign = imported - sys.stdlib_module_names - {"rather", ""}
    assert {BROUGHT_BY.get(name, name).lower() for name in foreign} - declared == set()


def test_constraints_pin_every_package_that_pyproject_names_for_core_tests_and_peers():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for e in ("dev", "peers", "lora", "hub") for d in project["optional-dependencies"][e]),
    ]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)  # no local versions: 2.13.0 is also 2.13.0+cpu
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    assert {re.match(r"[\w.-]+", name)[0].lower().replace("_", "-") for name in wanted} - pinned == set()
