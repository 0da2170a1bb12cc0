# SPDX-License-Identifier: GPL-2.0-only
"""``harness mcp`` as an agent uses it: a real client over standard input and output."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.run.prepare import Prepared
from tests.cli import projects
from tests.cli.projects import REPOSITORY, Project
from tests.matrixrun import Posted, write_matrix
from tests.run.commands import LIMIT_S

pytestmark = pytest.mark.extra

SUITE = str(REPOSITORY / "selftests" / "restrictedmem")
Conversation = Callable[[Any], Awaitable[None]]


def talk(project_file: Path, conversation: Conversation) -> None:
    """Start the server, and hold the *conversation* with it."""
    import anyio
    from mcp import Client, StdioServerParameters, stdio_client

    words = ["-m", "harness", "mcp", "--project", str(project_file)]
    # Clients give a server few variables: its cache would be another one.
    env = {name: os.environ[name] for name in ("HARNESS_CACHE",) if name in os.environ}
    server = StdioServerParameters(command=sys.executable, args=words, cwd=REPOSITORY, env=env)

    async def main() -> None:
        with anyio.fail_after(LIMIT_S):
            async with Client(stdio_client(server)) as client:
                await conversation(client)

    anyio.run(main)


def text(answer: Any) -> str:
    return "\n".join(each.text for each in answer.content)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = projects.make(tmp_path)
    made.write()
    return made


def test_an_agent_sees_the_tools_and_what_they_take(project: Project) -> None:
    async def conversation(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"run", "matrix", "why", "rerun", "series_check", "shell_command"}
        for tool in tools.values():
            assert tool.description
            assert "ctx" not in tool.input_schema["properties"]
            assert "trust" not in tool.input_schema["properties"]
        assert tools["why"].annotations.read_only_hint
        assert tools["why"].input_schema["required"] == ["test"]

    talk(project.root / "harness.toml", conversation)


def test_what_is_wrong_is_an_error_of_the_tool_in_four_parts(project: Project) -> None:
    async def conversation(client: Any) -> None:
        for name, arguments, said in (
            ("run", {"suites": ["nowhere"]}, "there is no suite 'nowhere'"),
            ("run", {"series": ["--help"]}, "--help"),
            ("matrix", {"series": ["none"]}, "there is no series"),
            ("why", {"test": "mine:it"}, "there is no run 'latest'"),
            ("rerun", {"test": "mine:it", "run": "nope"}, "there is no run 'nope'"),
            ("shell_command", {"command": "true", "run": "nope"}, "there is no run 'nope'"),
            ("series_check", {"series": ["nope.mbox"]}, "nope.mbox"),
        ):
            answer = await client.call_tool(name, arguments)
            assert answer.is_error, (name, answer)
            assert said in text(answer)
            assert "where:" in text(answer)
            assert "Traceback" not in text(answer)

    talk(project.root / "harness.toml", conversation)


def test_why_shows_the_evidence_of_a_verdict(project: Project) -> None:
    rows = {"memfd:seal": "..F", "memfd:splat": "..S", "mine:it": "..."}
    posted = [Posted("mm: One"), Posted("mm: Two")]
    write_matrix(project.root / "runs" / "1", posted, rows)

    async def conversation(client: Any) -> None:
        answer = await client.call_tool("why", {"test": "2@memfd:seal", "run": "1"})
        assert not answer.is_error
        for said in ("size_test.c:45:it:Expected -EINVAL", "run again:", "kernel log:"):
            assert said in text(answer)
        splat = await client.call_tool("why", {"test": "2@memfd:splat", "run": "1"})
        assert "WARNING: CPU: 0 PID: 9 at mm/restrictedmem.c:77" in text(splat)
        several = await client.call_tool("why", {"test": "seal", "run": "1"})
        assert several.is_error
        assert "base@memfd:seal" in text(several)

    talk(project.root / "harness.toml", conversation)


def test_the_checks_of_a_series_come_as_findings(project: Project) -> None:
    patches = project.patches(lambda fake: fake.write(mm__foo_dot_c="void foo(void) { }\n"))

    async def conversation(client: Any) -> None:
        arguments = {"series": [str(patches)], "checks": ["signed-off"]}
        answer = await client.call_tool("series_check", arguments)
        assert not answer.is_error, text(answer)
        found = answer.structured_content
        assert found["exit_code"] == 1
        assert found["verdict"].startswith("Not as expected: series:1-signed-off")
        assert found["findings"][0]["severity"] == "error"
        assert "Signed-off-by" in found["findings"][0]["text"]

    talk(project.root / "harness.toml", conversation)


def test_a_call_that_is_cancelled_ends_its_programs(project: Project, tmp_path: Path) -> None:
    import anyio

    noted = tmp_path / "pid"
    makefile = project.fake.work / "Makefile"
    # make reads it whatever the target is.
    slow = f"$(shell echo $$PPID >{noted}; sleep 300)\n"
    makefile.write_text(f"{slow}{makefile.read_text()}")
    project.fake.commit("Makefile: Take long")

    async def conversation(client: Any) -> None:
        with anyio.move_on_after(60) as limit:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "run", {"suites": [SUITE]})
                while not (noted.exists() and noted.read_text()):
                    await anyio.sleep(0.1)
                group.cancel_scope.cancel()
        assert not limit.cancelled_caught
        with anyio.fail_after(30):
            while Path(f"/proc/{noted.read_text().strip()}").exists():
                await anyio.sleep(0.1)
        # The server goes on.
        assert (await client.call_tool("why", {"test": "x", "run": "nope"})).is_error

    talk(project.root / "harness.toml", conversation)


@pytest.mark.kernel
def test_an_agent_runs_asks_why_runs_again_and_looks_around(
    prepared: Prepared, tmp_path: Path
) -> None:
    told: list[str] = []

    async def progress(_number: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    async def conversation(client: Any) -> None:
        arguments = {"suites": ["restrictedmem"], "expression": "size_test"}
        answer = await client.call_tool("run", arguments, progress_callback=progress)
        verdict = answer.structured_content
        assert not answer.is_error, text(answer)
        assert (verdict["exit_code"], verdict["tests"]) == (0, {"xfail": 1})
        assert verdict["verdict"].startswith("AS EXPECTED (exit 0): 1 test: 1 xfail")
        assert any("restrictedmem:size_test" in line for line in told)
        run = verdict["run"]
        why = await client.call_tool("why", {"test": "size_test", "run": run})
        assert "zero_keeps_pages_past_the_end" in text(why)
        again = await client.call_tool("rerun", {"test": "size_test", "run": run})
        assert again.structured_content["tests"] == {"xfail": 1}
        assert again.structured_content["run"] != run
        command = "uname -r; echo told >&2; exit 3"
        answer = await client.call_tool("shell_command", {"command": command, "run": run})
        looked = answer.structured_content
        assert looked["exit_code"] == 1
        for said in (prepared.kernel.meta.release, "told", "ended with status 3"):
            assert said in looked["output"]

    talk(REPOSITORY / "harness.toml", conversation)
