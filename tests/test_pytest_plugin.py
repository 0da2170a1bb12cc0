# SPDX-License-Identifier: GPL-2.0-only
"""Suites as items of pytest: what is collected, how each outcome counts, what is reported."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import UserError
from harness.model.plan import PlannedTest
from harness.model.results import Test
from harness.outcome import Outcome
from harness.run import single
from harness.run.request import Request
from tests.report.samples import ALL, HOSTILE, WARNING, program, run

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.unit

PROJECT = """
[kernel]
source = "linux"
config = ["a"]
[suites.mine]
path = "selftests/mine"
[suites.kvm]
path = "kernel:kvm"
default = false
"""


@pytest.fixture
def planted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> dict[str, Test]:
    """A project whose suite `mine` has these tests, which end so."""
    tests: dict[str, Test] = {}

    def prepared(request: Request, *rest: object) -> object:
        (suite,) = request.suites
        return SimpleNamespace(
            tests=[PlannedTest(name=f"{suite}:{name}", suite=suite, program=name) for name in tests]
        )

    def run_one(_request: object, test: PlannedTest, *rest: object) -> object:
        return run(tests[test.program])

    monkeypatch.setattr(single, "prepared", prepared)
    monkeypatch.setattr(single, "run_one", run_one)
    pytester.makefile(".toml", harness=PROJECT)
    makefile = pytester.path / "selftests" / "mine" / "Makefile"
    makefile.parent.mkdir(parents=True)
    makefile.write_text("include ../lib.mk\n")
    return tests


def plant(tests: dict[str, Test], *planted: Test) -> None:
    tests.update({test.program: test for test in planted})


def inline(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    # Of the session inside, whose modules this one has imported.
    imported = "ignore::pytest.PytestAssertRewriteWarning"
    return pytester.runpytest_inprocess("-W", imported, *args)


EXPECTED = {
    Outcome.PASS: "passed",
    Outcome.SKIP: "skipped",
    Outcome.XFAIL: "xfailed",
    Outcome.XPASS: "failed",
    Outcome.FAIL: "failed",
    Outcome.TIMEOUT: "failed",
    Outcome.SPLAT: "failed",
    Outcome.CRASH: "failed",
    Outcome.NOTRUN: "errors",
    Outcome.ERROR: "errors",
}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_outcome_counts_as_pytest_counts_it(
    pytester: pytest.Pytester, planted: dict[str, Test], outcome: Outcome
) -> None:
    plant(planted, program("a_test", outcome, suite="mine", reason="the reason"))
    done = inline(pytester, "selftests", "-rA")
    counts = done.parseoutcomes()
    # An error is told beside the set-up that went well.
    assert counts == {EXPECTED[outcome]: 1}, done.stdout.str()
    green = outcome.as_expected
    assert done.ret == (0 if green else 1)
    if outcome is not Outcome.PASS:
        done.stdout.fnmatch_lines(["*the reason*"])
    if outcome is Outcome.XPASS:
        done.stdout.fnmatch_lines(["*XPASS(strict)*"])


def test_a_known_failure_counts_where_pytest_is_told_so(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    plant(planted, program("a_test", Outcome.XFAIL, reason="known"))
    assert inline(pytester, "selftests", "--runxfail").parseoutcomes() == {"failed": 1}


def test_a_failure_shows_assertion_kernel_log_and_how_to_run_it_again(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    failed = ALL.tests[0]
    plant(planted, failed, program("state_test", Outcome.SPLAT, kernel_log=WARNING))
    done = inline(pytester, "selftests")
    done.stdout.fnmatch_lines(
        [
            "*fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)*",
            "*kernel log: *tests/fd_memory_test/kernel.log",
            f"*run again:  {failed.rerun}",
            "*WARNING: CPU: 0 PID: 61 at mm/memfd.c:77*",
        ]
    )
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")
    done.stdout.no_fnmatch_line("*Traceback*")


def test_junit_has_each_once_with_seed_and_rerun(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    plant(planted, *(program(f"{each}_test", each, reason="why") for each in Outcome))
    inline(pytester, "selftests", "--junitxml", "junit.xml")
    root = ET.parse(pytester.path / "junit.xml").getroot()  # noqa: S314  our own file
    suite = next(root.iter("testsuite"))
    kinds = {name: len(list(suite.iter(name))) for name in ("failure", "error", "skipped")}
    assert kinds == {"failure": 5, "error": 2, "skipped": 2}
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "10",
        "5",
        "2",
        "2",
    ]
    for case in suite.iter("testcase"):
        properties = {each.get("name"): each.get("value") for each in case.iter("property")}
        assert properties["seed"] == "5a" * 32
        assert properties["rerun"] == f"harness run kvm:{case.get('name')} --seed=5a5a"
        assert f"{properties['outcome']}_test" == case.get("name")


def test_hostile_text_reaches_neither_terminal_nor_xml(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    for outcome in Outcome:
        planted[f"{outcome}_test"] = program(
            f"x{HOSTILE}", outcome, reason=HOSTILE, output=HOSTILE, rerun=HOSTILE
        )
    done = inline(pytester, "selftests", "-rA", "--junitxml", "junit.xml")
    text = done.stdout.str()
    assert not {"\x1b", "\0", "\u202e", "\x07"} & set(text)
    assert len(list(ET.parse(pytester.path / "junit.xml").iter("testcase"))) == 10  # noqa: S314


def test_what_failed_last_and_names_select(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    plant(
        planted, *(program(f"{each}_test", each) for each in (Outcome.PASS, Outcome.FAIL)),
        program("punch_test", Outcome.ERROR),
    )  # fmt: skip
    first = inline(pytester, "selftests")
    assert first.parseoutcomes() == {"passed": 1, "failed": 1, "errors": 1}
    assert inline(pytester, "selftests", "--lf").parseoutcomes() == {
        "failed": 1,
        "errors": 1,
    }
    assert inline(pytester, "selftests", "-k", "punch").parseoutcomes() == {
        "errors": 1,
        "deselected": 2,
    }
    named = inline(pytester, "selftests/mine/Makefile::pass_test")
    assert named.parseoutcomes() == {"passed": 1}


def test_suites_without_a_directory_are_collected_at_the_project_file(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    plant(planted, program("a_test", Outcome.PASS))
    assert inline(pytester).parseoutcomes() == {"passed": 1}
    done = inline(pytester, "harness.toml", "-v")
    done.stdout.fnmatch_lines(["harness.toml::kvm::a_test PASSED*"])
    assert done.parseoutcomes() == {"passed": 1}


def test_what_is_wrong_is_told_in_four_parts_and_without_a_traceback(
    pytester: pytest.Pytester, planted: dict[str, Test], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*rest: object) -> object:
        raise UserError("the patch does not apply", where="0001.patch", why="it is", hint="mend it")

    plant(planted, program("a_test", Outcome.PASS))
    monkeypatch.setattr(single, "run_one", refused)
    done = inline(pytester, "selftests")
    assert done.parseoutcomes() == {"errors": 1}
    told = ["*the patch does not apply", "*where: 0001.patch", "*why:   it is", "*do:    mend it"]
    done.stdout.fnmatch_lines(told)
    done.stdout.no_fnmatch_line("*Traceback*")

    monkeypatch.setattr(single, "prepared", refused)
    done = inline(pytester, "selftests")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["*ERROR collecting selftests/mine/Makefile*", *told])
    done.stdout.no_fnmatch_line("*Traceback*")

    (pytester.path / "harness.toml").write_text("[kernel\n")
    done = inline(pytester, "selftests")
    assert done.ret != 0
    done.stdout.fnmatch_lines(["*harness.toml*"])
    done.stdout.no_fnmatch_line("*Traceback*")


def test_other_makefiles_and_other_projects_are_left_alone(pytester: pytest.Pytester) -> None:
    (pytester.path / "Makefile").write_text("all:\n")
    pytester.makepyfile("def test_mine(): pass")
    assert inline(pytester).parseoutcomes() == {"passed": 1}


def test_a_guest_without_a_suite_says_how_to_name_one(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    (pytester.path / "harness.toml").write_text(
        PROJECT + '[suites.other]\npath = "selftests/other"\n'
    )
    pytester.makepyfile("def test_mine(guest): pass")
    done = inline(pytester, "test_a_guest_without_a_suite_says_how_to_name_one.py")
    assert done.parseoutcomes() == {"errors": 1}
    done.stdout.fnmatch_lines(
        ["*it is not clear which suite*", "*mine, kvm, other*", "*mark.guest*"]
    )
    done.stdout.no_fnmatch_line("*Traceback*")


def test_named_in_a_conftest_it_is_still_one_plugin(
    pytester: pytest.Pytester, planted: dict[str, Test]
) -> None:
    plant(planted, program("a_test", Outcome.PASS))
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    assert inline(pytester).parseoutcomes() == {"passed": 1}


def _loaded(code: str) -> set[str]:
    text = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    argv = [sys.executable, "-c", text]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_loading_it_costs_other_projects_nothing_and_the_command_nothing() -> None:
    loaded = _loaded("import pytest, harness.pytest_plugin")
    mine = {name for name in loaded if name.partition(".")[0] == "harness"}
    assert mine == {"harness", "harness.errors", "harness.pytest_plugin", "harness.visible"}
    assert not loaded & {"msgspec", "rich", "jinja2", "asyncio", "qemu"}
    command = _loaded("import harness.cli.run")
    assert "harness.cli.run" in command
    assert not command & {"pytest", "_pytest", "harness.pytest_plugin"}


def test_a_directory_of_a_kernel_tree_is_looked_through_in_no_time(
    pytester: pytest.Pytester, planted: dict[str, Test], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(planted, program("a_test", Outcome.PASS))
    for number in range(200):
        (pytester.path / f"d{number}").mkdir()
        (pytester.path / f"d{number}" / "Makefile").write_text("obj-y += x.o\n")
    looked: list[Path] = []
    resolve = Path.resolve

    def watched(path: Path, strict: bool = False) -> Path:
        looked.append(path)
        return resolve(path, strict)

    monkeypatch.setattr(Path, "resolve", watched)
    assert inline(pytester).parseoutcomes() == {"passed": 1}
    assert not [path for path in looked if path.name.startswith("d1")]
