# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of tests, from the command line to the reports, on the project's own kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.model import results
from harness.model.cost import unfold
from harness.model.metrics import named
from harness.outcome import Outcome
from tests.run.test_coverage import harness
from tests.run.test_main_job import PROVOKE, REPOSITORY, suite

pytestmark = pytest.mark.kernel

ROUNDS = 1_000_000
REPEATS = 4
LOOP = """
	unsigned long left = {0};
	__asm__ volatile("1:\\n\\tdec %0\\n\\tjnz 1b" : "+r"(left));
	return 0;
"""
# Children, sleep across ticks, memory, and output that the agent reads meanwhile.
BUSY = """
	printf("TAP version 13\\n1..1\\n# metric: answer 42 calls better=less\\n");
	fflush(stdout);
	for (int i = 0; i < 5; i++) {
		if (!fork()) {
			char *memory = malloc(1 << 20);

			for (int at = 0; at < 1 << 20; at += 4096)
				memory[at] = 1;
			usleep(3000);
			_exit(0);
		}
		usleep(1000);
		printf("# child %d\\n", i);
		fflush(stdout);
	}
	usleep(20000);
	extern int wait(int *status);
	while (wait(NULL) > 0)
		;
	printf("ok 1 busy\\n");
	return 0;
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a suite of its own, and runs apart from the user's."""
    root = tmp_path_factory.mktemp("project")
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    kernel = kernel.replace("[kernel]\n", f'[kernel]\nconfig_dir = "{REPOSITORY}/kernel-configs"\n')
    (root / "harness.toml").write_text(f'{kernel}\n[suites.mine]\npath = "mine"\n')
    suite(
        root / "mine",
        loop1=LOOP.format(ROUNDS),
        loop2=LOOP.format(2 * ROUNDS),
        busy=BUSY,
        crashes=PROVOKE.format("PANIC"),
    )
    return root


@pytest.fixture(scope="module")
def counted(project: Path) -> results.Results:
    status, text = harness(project, "run", "--cost", "--functions", "--repeat", str(REPEATS), "-v")
    assert status == 1, text
    found = results.decode((project / "runs/latest/results.json").read_bytes())
    assert {test.program: test.outcome for test in found.tests} == {
        "loop1": Outcome.PASS,
        "loop2": Outcome.PASS,
        "busy": Outcome.PASS,
        "crashes": Outcome.CRASH,
    }
    return found


def result_of(counted: results.Results, program: str) -> results.Test:
    return next(test for test in counted.tests if test.program == program)


def value(test: results.Test | results.Attempt, name: str) -> float:
    found = named(test.metrics, name)
    assert found is not None
    return found.value


@pytest.mark.parametrize("program", ["loop1", "loop2", "busy"])
def test_the_same_test_costs_the_same_each_time(counted: results.Results, program: str) -> None:
    attempts = result_of(counted, program).attempts
    assert len(attempts) == REPEATS
    assert len({attempt.metrics for attempt in attempts}) == 1


def test_a_loop_of_known_length_is_counted_to_the_instruction(counted: results.Results) -> None:
    once, twice = result_of(counted, "loop1"), result_of(counted, "loop2")
    # Names of the same length: the C library looks through that of a program.
    difference = value(twice, "instructions_user") - value(once, "instructions_user")
    assert difference == 2 * ROUNDS  # dec and jnz
    # The rest is the start of the C library: 137,790 with that of Debian 13.
    assert value(once, "instructions_user") < 2 * ROUNDS + 250_000
    # The clock ticks on during the longer loop, and that is all that the kernel has more to do.
    assert value(once, "instructions_kernel") <= value(twice, "instructions_kernel")
    assert value(twice, "instructions_kernel") < 1.2 * value(once, "instructions_kernel")


@pytest.mark.parametrize("program", ["loop1", "busy"])
def test_each_instruction_has_its_place(counted: results.Results, program: str) -> None:
    test = result_of(counted, program)
    total = value(test, "instructions")
    assert total == value(test, "instructions_user") + value(test, "instructions_kernel")
    assert sum(function.own for function in test.functions) == total
    assert not test.metric_faults


def test_functions_are_found_below_their_callers(project: Path, counted: results.Results) -> None:
    test = result_of(counted, "busy")
    stacks = unfold((project / "runs/latest" / test.logs.folded).read_text())
    assert sum(stacks.values()) == value(test, "instructions")
    faults = [stack for stack in stacks if stack[-1].startswith("clear_page")]
    assert any("asm_exc_page_fault" in stack and "handle_mm_fault" in stack for stack in faults)
    clones = [stack for stack in stacks if stack[-1] == "copy_process"]
    assert any(stack[0].startswith("entry_SYSCALL_64") for stack in clones)
    assert max(map(len, stacks)) < 60
    assert "clear_page" in (project / "runs/latest" / test.logs.graph).read_text()


def test_entries_into_functions_are_counted(counted: results.Results) -> None:
    calls = {each.name: each.calls for each in result_of(counted, "busy").functions}
    assert calls["kernel_clone"] == 5
    assert calls["do_exit"] == 6
    assert calls["clear_page_erms"] > 5 * 256


def test_a_test_that_does_not_end_has_no_figure(counted: results.Results) -> None:
    test = result_of(counted, "crashes")
    assert named(test.metrics, "instructions") is None
    assert test.metric_faults == ("its instructions are not known: the test did not end",)
