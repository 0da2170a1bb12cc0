# SPDX-License-Identifier: GPL-2.0-only
"""What was found beside the tests' outcomes is in each report that people read."""

from __future__ import annotations

import email
import io
import re
import shlex
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import default
from html import unescape
from pathlib import Path

import msgspec
import pytest

from harness.judge.merge import merged
from harness.model import results as r
from harness.model.faults import (
    Injection,
    Injections,
    PatchPaths,
    Survivor,
    SweepSummary,
    TakenPath,
    What,
)
from harness.model.metrics import Metric
from harness.model.races import Preemption, Races, RaceSummary, Shortened, Stand
from harness.outcome import Outcome
from harness.report import mutants
from harness.report.console import print_lines, print_summary
from harness.report.coverage import coverage_lines
from harness.report.findings import compared, measured
from harness.report.formats import FORMATS, View
from harness.report.injections import injection_lines
from harness.report.mutants import mutant_lines
from harness.report.races import race_rows
from harness.report.terminal import Terminal
from harness.report.text import Span, columns
from harness.run.job import read_results
from tests.judge.test_mutants import KILLED, SURVIVED, told
from tests.matrixrun import Posted, write_matrix
from tests.report import samples as s
from tests.report.test_coverage import COVERAGE
from tests.report.test_markdown import OWN, Page

pytestmark = pytest.mark.unit

AGAIN = "harness run 'v10:slot made' --schedule 2984013+433242,3242406+65897"
SHORTENED = Shortened(
    test="v10:slot_made",
    planned=(Preemption(1, 2), Preemption(3, 4)),
    points=(Preemption(2_984_013, 433_242),),
    shown=3,
    asked=3,
    stands=(Stand(point=0, thread=1, where=("shmem_fallocate+0x38e",)),),
    rerun=AGAIN,
)
RACES = Races(
    tests=(RaceSummary(test="v10:slot_made", planned=40, outcomes={"crash": 5, "pass": 35}),)
)
POINT = Injection(
    test="kvm:create_test",
    sweep="slab",
    nth=7,
    what=What.LEAK,
    where=("kmem_cache_alloc+0x1/0x2", "shmem_file_setup (mm/shmem.c:4120)"),
    leaked=(Survivor(cache="shmem_inode_cache", count=2, where="shmem_alloc_inode+0x17"),),
)
INJECTIONS = Injections(
    sweeps=(
        SweepSummary(
            test="kvm:create_test", sweep="slab", calls=9, planned=9, outcomes={"leak": 1}
        ),
    ),
    patches=(
        PatchPaths(
            number=3,
            subject="mm: Add it",
            taken=(
                TakenPath(
                    path="mm/restrictedmem.c", line=77, function="make", points=1, point="p#7"
                ),
            ),
        ),
    ),
)


def shown(name: str, results: r.Results) -> str:
    """Return what a reader of the report *name* finds in it, without markup."""
    text = FORMATS[name].render(results, View()).decode()
    if name == "html":
        text = re.sub(r"<[^>]*>", "", text)
        return unescape(text).replace("\\u003c", "<").replace("\\n", "\n").replace('\\"', '"')
    return text


PEOPLE = ("html", "markdown", "mail")


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"coverage": COVERAGE}, ["1 mm: whole", "never("]),
        ({"injections": INJECTIONS}, ["kvm:create_test", "1 leak", "mm/restrictedmem.c:77"]),
        ({"races": RACES}, ["v10:slot_made", "5 crash, 35 pass"]),
        ({"mutants": told(KILLED, SURVIVED)}, ["mm/a.c:10 in f()", "1 survived"]),
    ],
    ids=["coverage", "injections", "races", "mutants"],
)
def test_what_was_measured_is_told(name: str, more: Mapping[str, object], words: list[str]) -> None:
    text = shown(name, s.run(s.program("a", Outcome.PASS), **more))
    for word in words:
        # The page has the lines themselves, the others their numbers.
        if word == "never(":
            word = word if name == "html" else "not run: mm/a.c:3-4"
        assert word in text
    assert words[0] not in shown(name, s.run(s.program("a", Outcome.PASS)))


@pytest.mark.parametrize("name", [*PEOPLE, "junit", "kcidb"])
def test_a_call_that_failed_on_purpose_and_a_schedule_are_evidence(name: str) -> None:
    """Without them the failure of such a test means nothing."""
    leak = s.program("create_test@slab#7", Outcome.FAIL, reason="leak", injected=POINT)
    race = s.program("slot_made@seed#2", Outcome.CRASH, reason="died", shortened=SHORTENED)
    text = unescape(shown(name, s.run(leak, race)))
    for word in (
        "shmem_file_setup (mm/shmem.c:4120)",
        "never freed: 2 objects of shmem_inode_cache",
        "shmem_alloc_inode+0x17",
        "thread 1 stood back in shmem_fallocate+0x38e",
    ):
        assert word in text
    command = re.search(r"harness run 'v10:slot made'[^`]*?65897", text)
    assert command is not None
    assert shlex.split(command[0].replace("\\\n", "")) == shlex.split(AGAIN)


PATCHES = [Posted("mm: One"), Posted("mm: Break it"), Posted("mm: Does not build"), Posted("mm: x")]
ROWS = {
    "memfd:old_test": "FFFBF",
    "memfd:new_test": "..FBF",
    "memfd:splat_test": "..SBS",
    "memfd:good_test": "...B.",
}


@pytest.fixture
def matrix(tmp_path: Path) -> r.Results:
    """A series of which the second patch breaks two tests, and the third does not build."""
    return read_results(write_matrix(tmp_path / "run", PATCHES, ROWS))


@pytest.mark.parametrize("name", ["markdown", "mail"])
def test_a_matrix_says_which_patch_breaks_what_and_shows_each_evidence_once(
    matrix: r.Results, name: str
) -> None:
    text = re.sub(r"\s+", " ", shown(name, matrix))
    broken = "patch 2, 'mm: Break it', breaks memfd:new_test: pass, then fail"
    assert broken in text
    assert "Not as expected on base already, so no patch broke it" in text
    assert "patch 3, 'mm: Does not build', cannot be tested: the kernel does not compile" in text
    evidence = "# size_test.c:45:it:Expected -EINVAL (-22) == ret (0)"
    assert text.index(broken) < text.index(evidence)
    # Of new_test with patch 2 and of old_test on base, not of each kernel behind them.
    assert text.count(evidence) == 2
    assert text.count("mm/restrictedmem.c:77 restrict+0x31/0x80 ---[ end trace") == 1
    # What the series has broken comes before what was broken already; all are named.
    rest = text[text.index("cannot be tested") :]
    assert rest.index("2@memfd:new_test") < rest.index("base@memfd:old_test")
    for bad in ("base@memfd:old_test", "4@memfd:new_test", "4@memfd:splat_test"):
        assert bad in text


def test_variants_are_kernels_and_no_patches() -> None:
    each = {
        name: s.run(s.program("t", outcome))
        for name, outcome in (("as-posted", Outcome.PASS), ("v11", Outcome.FAIL))
    }
    (section,) = compared(merged(each))
    assert section.title == "Kernel by kernel"
    assert "kernel v11 breaks kvm:t" in "".join(text for line in section.lines for text, _ in line)


LOG = (
    "git bisect start '640baf1b9a5d479ef95d8dc69a79a7b2cfd9bfbf'"
    " '6ed705d73a5e4d4a7a24fc9683d7cf11084b75f8'\n"
)


def test_a_mail_about_a_bisection_names_the_commit_and_has_no_log_that_git_could_not_read(
    matrix: r.Results,
) -> None:
    found = r.Bisected(
        test="memfd:new_test", first_bad="2", last_good="1", title="mm: Break it", log=LOG
    )
    results = msgspec.structs.replace(matrix, bisected=(found,), bisection=True)
    assert LOG.strip() in shown("markdown", results)
    text = shown("mail", results)
    assert "First bad: patch 2, 'mm: Break it'" in text
    assert "git bisect" not in text
    # The evidence is that of the first bad kernel alone.
    assert text.count("# size_test.c:45:it:Expected") == 1


def test_a_mail_about_a_matrix_is_as_narrow_and_goes_to_people_of_any_name(tmp_path: Path) -> None:
    people = (
        "Łukasz Żółć <lukasz@example.org>",
        '"山田, 太郎" <taro@example.org>',
        "l@example.org",
    )
    cover = r.CoverMail(
        message_id="<s-1@example.org>",
        subject="[PATCH v10 1/4] mm: Первый патч без письма к серии, имя длинное-предлинное",
        sender="Юрий Пример <yuri@example.org>",
        to=people[:2],
        cc=people[2:],
    )
    run = write_matrix(tmp_path / "run", PATCHES, ROWS, cover=cover)
    data = FORMATS["mail"].render(read_results(run), View())
    found = email.message_from_bytes(data, policy=default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    assert found["Subject"] == f"Re: {cover.subject}"
    assert found["In-Reply-To"] == "<s-1@example.org>"
    sent = [(each.display_name, each.addr_spec) for each in found["Cc"].addresses]
    assert sent[:2] == [("Łukasz Żółć", "lukasz@example.org"), ("山田, 太郎", "taro@example.org")]
    assert data.split(b"\n\n", 1)[0].isascii()
    assert max(map(columns, found.get_content().splitlines())) <= 72


LONG = (
    "mm: A subject of a patch that is as long as some people write theirs, and then some more of it"
)


def texts(lines: object) -> list[str]:
    assert isinstance(lines, list)
    return ["".join(text for text, _ in line) for line in lines]


@pytest.mark.parametrize("width", [72, 80, 100, 240])
def test_rows_of_tables_fit_where_they_are_shown(width: int) -> None:
    coverage = msgspec.structs.replace(
        COVERAGE,
        patches=tuple(msgspec.structs.replace(each, subject=LONG) for each in COVERAGE.patches),
    )
    planted = told(KILLED, SURVIVED)
    planted = msgspec.structs.replace(
        planted,
        patches=tuple(msgspec.structs.replace(each, subject=LONG) for each in planted.patches),
    )
    name = f"restrictedmem:{'a_long_name_' * 9}"
    sweep = msgspec.structs.replace(INJECTIONS.sweeps[0], test=name)
    race = msgspec.structs.replace(RACES.tests[0], test=name)
    tables: list[list[list[Span]]] = [
        list(coverage_lines(coverage, width)),
        list(mutant_lines(planted, width))[:2],
        list(injection_lines(msgspec.structs.replace(INJECTIONS, sweeps=(sweep,)), width))[:2],
        list(race_rows(msgspec.structs.replace(RACES, tests=(race,)), width)),
    ]
    for table in tables:
        assert max(map(columns, texts(table))) <= min(width, 120)


@pytest.mark.parametrize("width", [40, 80])
def test_a_command_is_folded_so_that_a_shell_still_takes_it(matrix: r.Results, width: int) -> None:
    """Wherever one stands: in a matrix, against a base, of a bisection, of a schedule."""
    command = "harness run --upto 2 -k 'memfd:new test' " + " ".join(
        f"--suite s{n}" for n in range(9)
    )
    tests = tuple(msgspec.structs.replace(test, rerun=command) for test in matrix.tests)
    results = msgspec.structs.replace(matrix, tests=tests)
    found = r.Bisected(test="memfd:new_test", first_bad="2", last_good="1", title="t")
    race = s.program(
        "a", Outcome.FAIL, rerun="", shortened=msgspec.structs.replace(SHORTENED, rerun=command)
    )
    for each in (results, msgspec.structs.replace(results, bisected=(found,)), s.run(race)):
        stream = io.StringIO()
        terminal = Terminal(live=False, colour=False, unicode=True, columns=width)
        print_summary(each, stream, terminal=terminal)
        whole = stream.getvalue().replace("\\\n", "")
        assert max(map(columns, stream.getvalue().splitlines())) <= max(width, 46)
        commands = re.findall(r"(?:run|same) again: +(harness run[^\n]*)", whole)
        assert commands
        for line in commands:
            assert shlex.split(line) == shlex.split(command)


def test_a_green_run_over_one_kernel_has_no_section() -> None:
    assert [*compared(s.ALL_PASS), *measured(s.ALL_PASS)] == []
    stream = io.StringIO()
    print_lines([line for each in compared(s.ALL_PASS) for line in each.lines], stream)
    assert stream.getvalue() == ""


def hostile() -> r.Results:
    """Return a run of which every finding has text that means harm."""
    bad = s.HOSTILE + "</pre></details><script>alert(1)</script>\n```\n| @torvalds "
    point = msgspec.structs.replace(
        POINT,
        where=(bad,),
        leaked=(Survivor(cache=bad, count=1, where=bad),),
    )
    stand = Stand(point=0, thread=1, where=(bad,), others=((2, f"__x64_sys_{bad} > {bad}"),))
    short = msgspec.structs.replace(SHORTENED, stands=(stand,), rerun=bad)
    taken = TakenPath(
        path=bad, line=1, function=bad, points=1, point=bad, outcomes={"leak": 1, "splat": 2}
    )
    sweep = msgspec.structs.replace(INJECTIONS.sweeps[0], test=bad, sweep=bad)
    found = r.Bisected(test=bad, first_bad="1", title=bad, author=bad, confirmed=bad, log=bad)
    lost = r.Bisected(test=bad, possible=(bad,), why=bad)
    return s.run(
        s.program("point", Outcome.FAIL, injected=point),
        s.program("race", Outcome.FAIL, shortened=short),
        bisected=(found, lost),
        races=Races(tests=(RaceSummary(test=bad, planned=1, outcomes={"crash": 1}),), notes=(bad,)),
        injections=Injections(
            sweeps=(sweep,),
            patches=(PatchPaths(number=1, subject=bad, taken=(taken,)),),
            notes=(bad,),
        ),
    )


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "lcov"])
def test_no_finding_acts_where_it_is_shown(name: str) -> None:
    text = FORMATS[name].render(hostile(), View("runs/latest")).decode()
    assert all(char.isprintable() or char in "\n\t" for char in text)
    if name in ("html", "junit"):
        assert "<script>alert" not in text
    if name == "mail":
        assert max(map(columns, text.partition("\n\n")[2].splitlines())) <= 72
    if name == "markdown":
        page = Page(text)
        assert set(page.tags) <= OWN
        assert "@torvalds" not in page.bare


@pytest.mark.parametrize("name", [*PEOPLE, "junit", "kcidb"])
def test_figures_of_tests_are_told(name: str) -> None:
    metrics = (
        Metric(name="throughput", value=12.5, unit="MiB/s", better="more", by="test"),
        Metric(name="instructions", value=3_188_991, unit="instructions", by="qemu"),
    )
    text = shown(name, s.run(s.program("a", Outcome.PASS, metrics=metrics)))
    assert "throughput" in text
    assert re.search(r"12\.5\W+(unit\W+)?MiB/s", text)
    assert re.search(r"3,?188,?991", text)


def test_faults_of_which_nothing_is_known_are_not_green() -> None:
    killed = mutants.page(told(KILLED, count=1))
    unknown = mutants.page(told(KILLED, count=2))
    survived = mutants.page(told(KILLED, SURVIVED, count=2))
    found = [page["style"] for page in (killed, unknown, survived) if page]
    assert found == ["good", "bad", "warn"]
