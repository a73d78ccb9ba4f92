"""The process in which a learner's file runs: `python -I labs_runner.py LABS`, asked and answering in JSON.

It is run as a file, and imports nothing of ours: the names a learner imports are looked for among the labs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import traceback
from typing import Any


def main() -> None:
    asked = json.loads(sys.stdin.read())
    sys.path[:0] = [sys.argv[1]]  # where sheet.py lies
    sys.stdin = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):  # what the file prints is not the answer
        found = answers(asked["file"], asked["name"], asked["calls"])
    print("\n" + json.dumps(found))


def answers(file: str, name: str, calls: list[str]) -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("answers", file)
    if spec is None or spec.loader is None:
        return [{"error": "it is no Python file: its name has to end in .py"}]
    module = importlib.util.module_from_spec(spec)
    sys.modules["answers"] = module  # dataclasses look themselves up there
    broken = ""
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        # What the file checks of itself at its end fails while parts are missing; what was defined before it counts.
        broken = words(error, file)
    if not hasattr(module, name):
        return [{"error": f"there is no {name} in the file" + (f"; it stopped with {broken}" if broken else "")}]
    return [answer(call, vars(module), file) for call in calls]


def answer(call: str, names: dict[str, Any], file: str) -> dict[str, Any]:
    try:
        value = plain(eval(call, dict(names)))  # the call is the lab's, the functions it names are the learner's
        json.dumps(value)
    except SystemExit as error:
        if str(error).startswith("To write: "):
            return {"write": str(error).split(":")[1].strip()}
        return {"error": f"it ended the program: {error}"}
    except Exception as error:  # anything may go wrong in what is being learned, and is said
        return {"error": words(error, file)}
    return {"value": value}


def plain(value: Any) -> Any:
    """Arrays and tuples as lists, so that either may be returned; NaN as words, which JSON has no number for."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value


def words(error: BaseException, file: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where}: {error}"[:300]


if __name__ == "__main__":
    main()
