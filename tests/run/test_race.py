# SPDX-License-Identifier: GPL-2.0-only
"""Races: each is found by a schedule, shown again by it, shortened, and explained.

The sample has its race in a program.  The proofs have theirs in the kernel: a known one of v10,
which a program of ``selftests/faults/races/v10`` tries once, and the planted ones of
``selftests/faults/races/planted``.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model.races import Shortened, written
from harness.model.results import Results, Test
from harness.outcome import Outcome
from tests.run.commands import REPLAYS, harness, read
from tests.run.test_faults import FAULTS
from tests.run.test_main_job import REPOSITORY, suite

pytestmark = [pytest.mark.kernel]
RACES = FAULTS / "races"
PLANTED = RACES / "planted"
PREEMPT = [
    word for name in ("guest", "kvm", "mm", "crash", "preempt") for word in ("--config", name)
]
# Each thread holds a number while it looks away, so an addition of the other is lost; and a thread
# that is preempted nowhere ends before the other begins.
LOST = """
	#include <pthread.h>
	static volatile int total;

	static void *add(void *unused)
	{
		for (int i = 0; i < 500; i++) {
			int seen = total;

			for (volatile int away = 0; away < 50; away++)
				;
			total = seen + 1;
		}
		return unused;
	}
"""
RACE = """
	pthread_t thread;

	printf("TAP version 13\\n1..1\\n");
	pthread_create(&thread, NULL, add, NULL);
	add(NULL);
	pthread_join(thread, NULL);
	printf("# %d of 1000\\n%sok 1 sum\\n", total, total == 1000 ? "" : "not ");
	return total != 1000;
"""


def shortened(said: Results) -> list[tuple[Test, Shortened]]:
    return [(test, test.shortened) for test in said.tests if test.shortened is not None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with a suite of its own."""
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    fragments = tmp_path / "kernel-configs"
    fragments.mkdir()
    for file in (REPOSITORY / "kernel-configs").iterdir():
        # With it a recording would have a kernel of its own.
        if file.name != "replay.config":
            (fragments / file.name).symlink_to(file)
    (tmp_path / "harness.toml").write_text(f'{kernel}\n[suites.mine]\npath = "mine"\n')
    suite(tmp_path / "mine", lost=RACE)
    source = tmp_path / "mine" / "lost.c"
    source.write_text(source.read_text().replace("int main(", f"{LOST}\nint main("))
    makefile = tmp_path / "mine" / "Makefile"
    makefile.write_text(f"LDFLAGS += -pthread\n{makefile.read_text()}")
    return tmp_path


def test_a_race_in_a_program_is_found_shown_again_and_shortened(project: Path) -> None:
    code, text = harness(project, "race", "mine:lost", "--schedules", "4", "--out", "out")
    assert code == ExitCode.NOT_AS_EXPECTED, text
    said = read(project / "out")
    names = [f"mine:lost@{each}" for each in ("control", *(f"seed#{n}" for n in range(1, 5)))]
    assert [test.name for test in said.tests] == names
    assert said.tests[0].outcome is Outcome.PASS
    failed = [test for test in said.tests if test.outcome is Outcome.FAIL]
    assert failed
    assert said.races is not None
    (row,) = said.races.tests
    assert (row.planned, row.outcomes["fail"]) == (4, len(failed))
    ((test, story),) = shortened(said)
    assert test in failed
    assert story.shown == story.asked
    assert 1 <= len(story.points) <= len(story.planned)
    assert {each.thread for each in story.stands} <= {1, 2}
    assert f"after {story.points[0].at:,} instructions" in text
    text_of_race = text
    assert test.shortened in said.races.found
    # By its seed, and by what is left of it.
    for schedule in (str(test.schedule.seed if test.schedule else 0), written(story.points)):
        again = ("mine:lost", "--schedule", schedule, "--repeat", "2", "--out", "again")
        code, text = harness(project, "run", *again)
        assert code == ExitCode.NOT_AS_EXPECTED, text
        (rerun,) = read(project / "again").tests
        assert [each.outcome for each in rerun.attempts] == [Outcome.FAIL] * 2, text
    # And recorded: its guest is the same but for what writes the recording.
    assert story.replay in text_of_race
    words = shlex.split(story.replay)
    code, text = harness(project, *words[words.index("replay") :], "--out", "recorded")
    assert f"recorded: mine:lost@{written(story.points)}: fail" in text
    if not REPLAYS:
        assert code == ExitCode.MACHINE, text
        return
    assert code == ExitCode.NOT_AS_EXPECTED, text
    assert "replayed: 1 of 1 to the same end" in text
    (stand,) = read(project / "recorded").tests
    assert stand.shortened is not None
    assert [each.where for each in stand.shortened.stands] == [each.where for each in story.stands]


@pytest.mark.proof
@pytest.mark.long(200)
def test_a_race_in_the_kernel_is_found_20_of_20_times_and_explained(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--series", "v10+test-vm", "--suite", str(RACES / "v10"), "--out", str(out))
    code, text = harness(REPOSITORY, "race", "v10:slot_made", "--schedules", "20", *options)
    print(text)
    assert code == ExitCode.NOT_AS_EXPECTED
    said = read(out)
    assert len(said.tests) == 21
    assert said.tests[0].outcome is Outcome.PASS
    ((test, story),) = shortened(said)
    assert "kernel BUG at virt/kvm/kvm_main.c" in story.how
    assert story.shown == story.asked
    assert len(story.points) <= len(story.planned)
    # One thread is in the middle of a punch, the other makes a slot.
    where = [frame for stand in story.stands for frame in stand.where]
    ran = [chain for stand in story.stands for _, chain in stand.others]
    assert any("restrictedmem" in frame or "shmem" in frame for frame in where), where
    assert any("kvm_set_memory_region" in chain for chain in ran)
    assert "kvm_set_memory_region" in text
    for command in (test.rerun, story.rerun):
        again = tmp_path / "again"
        code, text = harness(
            REPOSITORY,
            *shlex.split(command)[shlex.split(command).index("run") :],
            "--repeat",
            "20",
            "--out",
            str(again),
        )
        assert code == ExitCode.NOT_AS_EXPECTED, text
        (rerun,) = read(again).tests
        assert [each.outcome for each in rerun.attempts] == [Outcome.CRASH] * 20


@pytest.mark.proof
@pytest.mark.long(900)
@pytest.mark.parametrize(
    ("config", "found"),
    [
        # Where it is not preempted, only a place that may sleep lets the other thread in.
        pytest.param([], {"sleeps": "sleeps_write"}, id="voluntary"),
        pytest.param(PREEMPT, {"sleeps": "sleeps_write", "plain": "plain_write"}, id="preempt"),
    ],
)
def test_planted_races_are_found_where_the_kernel_can_have_them(
    tmp_path: Path, config: list[str], found: dict[str, str]
) -> None:
    out = tmp_path / "out"
    stack = ("--series", "v10+test-vm", "--series", str(PLANTED / "kernel"))
    options = (*stack, *config, "--suite", str(PLANTED / "suite"), "--out", str(out))
    code, text = harness(REPOSITORY, "race", "--schedules", "40", *options)
    print(text)
    assert code == ExitCode.NOT_AS_EXPECTED
    said = read(out)
    assert len(said.tests) == 3 * 41
    bad = {
        test.schedule.test for test in said.tests if test.schedule and not test.outcome.as_expected
    }
    assert bad == {f"suite:{name}" for name in found}
    stories = {story.test: (test, story) for test, story in shortened(said)}
    assert stories.keys() == bad
    for name, function in found.items():
        test, story = stories[f"suite:{name}"]
        assert "lib/refcount.c" in story.how
        assert "refcount_t: underflow" in test.kernel_log
        assert story.shown == story.asked
        # One thread has looked and not dropped yet; the other's drop is what the kernel shows.
        assert any(function in at for stand in story.stands for at in stand.where)
        assert f"from {function}+" in text
        assert f"{function}+" in test.kernel_log
        for number, command in enumerate((test.rerun, story.rerun)):
            again = tmp_path / f"{name}{number}"
            words = shlex.split(command)[shlex.split(command).index("run") :]
            code, told = harness(REPOSITORY, *words, "--repeat", "20", "--out", str(again))
            assert code == ExitCode.NOT_AS_EXPECTED, told
            (rerun,) = read(again).tests
            assert [each.outcome for each in rerun.attempts] == [Outcome.SPLAT] * 20
