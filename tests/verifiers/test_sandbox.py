"""A stranger's Python: what is right passes, what is hostile is contained and scored, and the run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from rather.errors import BadRecord, NotReady
from rather.verifiers import Limits, python
from rather.verifiers import sandbox as sandboxing
from rather.verifiers.sandbox import held, run

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
SHORT = Limits(seconds=2.0)
pytestmark = LINUX


def test_this_system_holds_files_processes_signals_and_the_network():
    assert held() == {"files": True, "processes": True, "signals": True, "network": True}


def test_code_is_scored_by_its_tests():
    response = "Here you are:\n```python\ndef double(x):\n    return 2 * x\n```\nIt doubles."
    tests = ["assert double(1) == 2", "assert double('a') == 'aa'", "assert double(0) == 1"]
    assert python(response, tests[:2]).score == 1
    verdict = python(response, tests)
    assert (verdict.score, verdict.reason) == (0, "2 of 3 tests passed: test 3: AssertionError: ")
    assert python(response, tests, share=True).score == pytest.approx(2 / 3)
    assert python("x = 1", "assert x == 1").score == 1


def test_threads_and_asyncio_work():
    code = "import asyncio, threading\nasync def one(): return 1\ndef f():\n    t = threading.Thread(target=int)\n"
    code += "    t.start(); t.join()\n    return asyncio.run(one())"
    assert run(code, ["assert f() == 1"]).passed == 1


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("while True: pass", "did not end within"),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "did not end within"),
        ("import os\nos.fork()", "PermissionError"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError"),
        ("import os; os.execv('/bin/true', ['true'])", "PermissionError"),
        ("x = bytearray(10**10)", "MemoryError"),
        ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()", "can't start"),
        ("while True: print('x' * 9999)", "File too large"),
        ("open('mine', 'w')", "PermissionError"),
        ("import tempfile; tempfile.TemporaryFile()", "FileNotFoundError"),
        ("import os; os.mkdir('mine')", "PermissionError"),
        ("import os; os.memfd_create('mine')", "PermissionError"),
        ("import os; os.kill(os.getppid(), 9)", "PermissionError"),
        ("import os; os.killpg(0, 9)", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 22), 1)", "PermissionError"),
        ("import socket; socket.getaddrinfo('localhost', 80); socket.socket(socket.AF_UNIX)", "rror"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (9999, 9999))", "rror"),
        ("import ctypes; ctypes.string_at(0)", "was ended by signal 11"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError"),
        ("import os; os._exit(0)", "ended before the tests were done"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(:", "SyntaxError"),
        ("x = '\ud800'", "rror"),
        ("x = 'a\0b'", "rror"),
        ("import numpy", "ModuleNotFoundError"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "raises E"),
    ],
)
def test_what_is_hostile_or_wrong_is_contained_and_scored(code, why, tmp_path):
    started = time.monotonic()
    verdict = python(code, "pass", limits=SHORT)
    assert verdict.score == 0
    assert why in verdict.reason
    assert time.monotonic() - started < 20
    assert python("x = 1", "assert x == 1").score == 1, "the next one is judged as ever"


def test_a_result_that_the_program_writes_itself_is_not_believed():
    forged = (
        'import os\nfor fd in range(3, 20):\n    try: os.write(fd, b\'{"nonce": "", "passed": 1, "failed": ""}\')\n'
    )
    forged += "    except OSError: pass\nos._exit(0)"
    assert python(forged, "assert False", limits=SHORT).score == 0


def test_files_outside_stay_as_they_are(tmp_path):
    file = tmp_path / "kept.txt"
    file.write_text("mine")
    for act in (f"open({str(file)!r}, 'a').write('x')", f"import os; os.remove({str(file)!r})"):
        assert python(act, "pass").score == 0
    for act in (f"import os; os.truncate({str(file)!r}, 0)", f"import os; os.rename({str(file)!r}, 'x')"):
        assert python(act, "pass").score == 0
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_it_starts_with_an_empty_folder_and_an_empty_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    code = "import os\nallowed = {'PATH', 'LANG', 'LC_CTYPE', 'HOME', 'TMPDIR'}"
    assert run(code, ["assert os.listdir('.') == []", "assert set(os.environ) <= allowed"]).passed == 2


def test_nothing_is_left_behind():
    before = set(os.listdir("/proc"))
    python("import time; time.sleep(60)", "pass", limits=Limits(seconds=0.5))
    left = [p for p in set(os.listdir("/proc")) - before if p.isdigit()]
    named = [subprocess.run(["cat", f"/proc/{p}/cmdline"], capture_output=True, text=True).stdout for p in left]
    assert not [line for line in named if "containment.py" in line]


def test_where_nothing_is_held_it_refuses_unless_told(monkeypatch):
    monkeypatch.setattr(sandboxing, "held", lambda: {"files": True, "network": False})
    with pytest.raises(NotReady, match="network are not contained"):
        python("x = 1", "pass")
    assert python("x = 1", "pass", limits=Limits(uncontained=True)).score == 1


@pytest.mark.parametrize("tests", ["", [], [""], [3]])
def test_no_tests_are_no_verdict(tests):
    with pytest.raises(BadRecord, match="no tests"):
        python("x = 1", tests)
