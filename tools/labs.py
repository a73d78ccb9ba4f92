"""Write what follows from the labs: their twins with gaps, and the printed lines in their solutions.

    python tools/labs.py          writes them; a test says when they have drifted

A gap is a function of the lab that labs/gaps/*.toml names: signature and docstring stay, the body is to be written.
A solution quotes a command in a ```console block; what stands below its first line is what the command prints.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

LABS = Path(__file__).resolve().parents[1] / "labs"
QUOTED = re.compile(r"^```console\n\$ python labs/(\S+)(.*)\n(?:.*\n)*?```$", re.M)


def twin(lab: str) -> str:
    """The text of labs/gaps/LAB.py."""
    lines = (LABS / f"{lab}.py").read_text(encoding="utf-8").splitlines()
    gaps = tomllib.loads((LABS / "gaps" / f"{lab}.toml").read_text(encoding="utf-8")).get("gap", [])
    hints = {gap["name"]: gap["write"] for gap in gaps}
    functions = {node.name: node for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.FunctionDef)}
    for name in sorted(hints, key=lambda name: -functions[name].lineno):
        body = functions[name].body
        kept = [part for part in body[:1] if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)]
        start = (kept[0].end_lineno or 0) if kept else body[0].lineno - 1
        lines[start : body[-1].end_lineno] = [f'    raise SystemExit("To write: {name}: {hints[name]}")']
    at = lines.index("import sheet")
    path = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # sheet.py lies beside the whole labs"
    lines[at : at + 1] = ["import sys", "from pathlib import Path", "", path, "", "import sheet"]
    first = f"# Parts to write: {', '.join(hints)}. Check them: rather labs check {lab[:2]}"
    return "\n".join([first, "# ruff: noqa", *lines, ""])


def printed(lab: str, flags: Sequence[str]) -> str:
    """What `python labs/LAB FLAGS` prints."""
    sys.path[:0] = [str(LABS)] * (str(LABS) not in sys.path)
    spec = importlib.util.spec_from_file_location("lab", LABS / lab)
    assert spec is not None, f"{lab} is no Python file"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lab"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        module.main(list(flags))
    return said.getvalue()


def filled(page: str) -> str:
    """The page with each quoted command's output as it is now."""
    return QUOTED.sub(lambda m: f"```console\n$ python labs/{m[1]}{m[2]}\n{printed(m[1], shlex.split(m[2]))}```", page)


def main() -> None:
    for about in sorted((LABS / "gaps").glob("*.toml")):
        if tomllib.loads(about.read_text(encoding="utf-8")).get("gap"):
            about.with_suffix(".py").write_text(twin(about.stem), encoding="utf-8")
    for page in sorted((LABS / "solutions").glob("*.md")):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
