"""Lab 9 runs its recipe with real models, each for a moment; what it prints are estimates and end in a question."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from laboratory import lab

POLICIES = ("sft-xs", "init-xs", "ppo", "ppo-free", "ppo-tight", "ppo-adaptive", "ppo-ptx", "dpo")


def said(folder, flags, capsys) -> str:
    capsys.readouterr()
    lab(9).main(["--quick", "--run", str(folder), *flags])
    return capsys.readouterr().out


def table(text: str) -> dict[str, list[float]]:
    """Policy -> the numbers of its line: drift, half of its interval, reward, ..."""
    rows = re.findall(r"^([a-z-]+) +(-?\d+\.\d\d \+- .*)$", text, re.M)
    return {name: [float(x) for x in re.findall(r"-?\d+\.\d+", numbers)] for name, numbers in rows}


def test_the_recipe_is_run_once_and_a_changed_line_runs_what_it_touches(tmp_path, capsys):
    first = said(tmp_path, [], capsys)
    rows = table(first)
    assert set(rows) == {"base-xs", *POLICIES}
    assert rows["init-xs"][:2] == [0, 0]  # where PPO begins is where drift is measured from
    # A few steps may drift by less than the two places that are shown.
    assert all(lab(9).estimates(tmp_path, name)[0] != 0 for name in POLICIES if name != "init-xs")
    assert first.rstrip().endswith("?")
    assert (tmp_path / "report.html").exists()

    figure = tmp_path / "figure.svg"
    again = said(tmp_path, ["--change", "ppo.kl_coef=0.5", "--beta", "1", "--plot", str(figure)], capsys)
    ran = dict(re.findall(r"^([a-z-]+) {2,}(as it was|\S+ was .*)$", again, re.M))
    assert ran["ppo"] == "kl_coef was 0.02, is 0.5"
    assert {name for name in POLICIES if ran[name] == "as it was"} == set(POLICIES) - {"ppo"}
    now = table(again)
    for name, (kl, _, reward, *_, worth) in now.items():
        assert worth == pytest.approx(reward - kl, abs=0.02)  # --beta 1; every number is rounded to two places
        if name != "ppo":
            assert now[name][:3] == rows[name][:3]
    assert ElementTree.parse(figure).getroot().findall("{http://www.w3.org/2000/svg}polyline")
