# SPDX-License-Identifier: GPL-2.0-only
"""``harness series show`` and ``harness series apply`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.projects import Project
from tests.kerneltree import FakeLinux, replace, sh
from tests.series.mails import BOB, Letter, Thread, mboxrd

pytestmark = [pytest.mark.unit, pytest.mark.slow]

NO_USER = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}


@pytest.fixture
def patches(project: Project) -> Path:
    """Two patches that apply."""

    def first(fake: FakeLinux) -> None:
        replace(fake.work / "mm/memory.c", "return a + 3;", "return a + 33;")

    def second(fake: FakeLinux) -> None:
        replace(fake.work / "mm/memory.c", "return a + 9;", "return a + 99;")
        fake.write(mm__new_dot_c="int new_one;\nint new_two;\n")

    return project.patches(first, second)


def state(fake: FakeLinux) -> tuple[str, ...]:
    """Return everything that a refused apply must leave as it was."""
    return (
        fake.git("for-each-ref"),
        fake.git("rev-parse", "HEAD"),
        fake.git("status", "--porcelain"),
        fake.git("worktree", "list"),
        "\n".join(sorted(path.name for path in fake.repo.iterdir())),
    )


def test_show_names_files_counts_and_trust(project: Project, patches: Path) -> None:
    said = project.harness("series", "show", str(patches))
    assert said.status == 0
    for words in (
        "v1, 2 patches",
        "trust:        own",
        "1/2 mm: Change number 1  +1 -1",
        "2/2 mm: Change number 2  +3 -1",
        "mm/new.c  +2 -0",
    ):
        assert words in said.text
    assert not (project.root / "cache").exists()  # nothing is fetched or built


def test_show_as_json(project: Project, patches: Path) -> None:
    first = min(patches.iterdir())
    first.write_text(first.read_text() + f"\nprerequisite-patch-id: {'ab' * 20}\n")
    said = project.harness("series", "show", "--json", str(patches), "--upto", "1")
    shown = json.loads(said.text)
    (series,) = shown["series"]
    assert (shown["schema"], series["total"], len(series["patches"])) == (1, 2, 1)
    assert series["prerequisites"] == ["ab" * 20]
    assert series["patches"][0]["files"] == [{"name": "mm/memory.c", "added": 1, "removed": 1}]


def test_show_lists_trailers_and_what_was_left_out(project: Project) -> None:
    thread = Thread(prefix="PATCH v2").letters()
    review = Letter(
        "Re: [PATCH v2 1/3] mm: change three",
        f"Reviewed-by: {BOB}\n",
        BOB,
        "r@example.org",
        answers="s-1@example.org",
    )
    other = Letter("[PATCH] net: something else", "no diff here\n", BOB, "o@example.org")
    mbox = project.root / "thread.mbox"
    mbox.write_bytes(mboxrd([each.bytes() for each in (*thread, review, other)]))
    said = project.harness("series", "show", str(mbox))
    assert said.status == 0, said.text
    assert f"Reviewed-by: {BOB}" in said.text
    assert "trust:        stranger" in said.text


def test_show_works_outside_of_a_project(project: Project, patches: Path) -> None:
    (project.root / "harness.toml").unlink()
    assert project.harness("series", "show", str(patches)).status == 0
    said = project.harness("series", "show", "v10")
    assert said.status == 2
    assert "there is no series 'v10'" in said.text


def test_apply_makes_a_branch_and_touches_no_work_tree(project: Project, patches: Path) -> None:
    fake = project.fake
    before = fake.git("rev-parse", "HEAD")
    (fake.work / "mm/memory.c").write_text("/* an edit of mine */\n")
    said = project.harness(
        "series", "apply", str(patches), "--into", "linux", "--branch", "review/one", **NO_USER
    )
    assert said.status == 0, said.text
    assert "2 patches applied to the branch review/one of linux" in said.text
    assert fake.git("log", "--format=%s", f"{before}..review/one").splitlines() == [
        "mm: Change number 2",
        "mm: Change number 1",
    ]
    assert fake.git("rev-parse", "HEAD") == before
    assert (fake.work / "mm/memory.c").read_text() == "/* an edit of mine */\n"
    assert fake.git("worktree", "list").count("\n") == 0


def test_apply_moves_the_branch_of_a_work_tree(project: Project, patches: Path) -> None:
    fake = project.fake
    said = project.harness(
        "series", "apply", str(patches), "--into", "linux", GIT_COMMITTER_NAME="Nobody"
    )
    assert said.status == 0, said.text
    assert "return a + 99;" in (fake.work / "mm/memory.c").read_text()
    assert fake.git("symbolic-ref", "--short", "HEAD") == "master"
    assert fake.git("status", "--porcelain") == ""
    assert fake.git("log", "-1", "--format=%an") == "Ada Example"


def test_apply_commits_as_the_user(project: Project, patches: Path) -> None:
    sh("git", "config", "user.name", "Grace Example", cwd=project.fake.work)
    sh("git", "config", "user.email", "grace@example.org", cwd=project.fake.work)
    project.harness("series", "apply", str(patches), "--into", "linux", "--branch", "b")
    who = project.fake.git("log", "-1", "--format=%cn <%ce>", "b")
    assert who == "Grace Example <grace@example.org>"


def test_a_conflict_shows_both_sides_and_leaves_nothing(project: Project, patches: Path) -> None:
    fake = project.fake
    replace(fake.work / "mm/memory.c", "return a + 9;", "return a + 1009;")
    fake.commit("mm: In the way")
    before = state(fake)
    for arguments in (["--branch", "b"], []):
        said = project.harness("series", "apply", str(patches), "--into", "linux", *arguments)
        assert said.status == 2, said.text
        for words in (
            'patch 2/2 "mm: Change number 2" does not apply',
            "mm/memory.c: hunk @@ -",
            "the patch expects:",
            "return a + 9;",
            "the tree has at line",
            "return a + 1009;",
        ):
            assert words in said.text
        assert state(fake) == before


def test_what_apply_refuses(project: Project, patches: Path) -> None:
    fake = project.fake
    fake.git("branch", "taken")
    (fake.work / "mm/memory.c").write_text("edited\n")
    before = state(fake)
    into = ("series", "apply", str(patches), "--into", "linux")
    for arguments, words in (
        ((), "has changes that are not committed"),
        (("--branch", "taken"), "the branch 'taken' already exists"),
        (("--branch", "a..b"), "not a valid branch name"),
        (("--branch", "-f"), "not a valid branch name"),
        (("--branch", "new", "--base", "nonsense"), "has no such commit"),
        (("--base", "HEAD"), "needs a new branch"),
    ):
        said = project.harness(*into, *arguments)
        assert (said.status, words in said.text) == (2, True), said.text
        assert state(fake) == before
    said = project.harness("series", "apply", str(patches), "--into", "kernel-configs")
    assert said.status == 2
    assert "no git repository" in said.text


def test_the_base_that_the_series_names_is_offered(project: Project, patches: Path) -> None:
    fake = project.fake
    base = fake.git("rev-parse", "HEAD")
    first = sorted(patches.iterdir())[-1]
    first.write_text(first.read_text() + f"\nbase-commit: {base}\n")
    first = sorted(patches.iterdir())[0]
    first.write_text(first.read_text() + f"\nbase-commit: {base}\n")
    fake.write(mm__other_dot_c="int other;\n")
    fake.commit("mm: Something else")
    said = project.harness("series", "apply", str(patches), "--into", "linux", "--branch", "b")
    assert said.status == 0, said.text
    assert f"--base {base[:12]}" in said.text
    said = project.harness(
        "series", "apply", str(patches), "--into", "linux", "--branch", "c", "--base", base
    )
    assert "base-commit" not in said.text
    assert fake.git("rev-parse", "c~2") == base


def test_trailers_are_applied_only_when_asked_for(project: Project) -> None:
    thread = Thread().letters()
    review = Letter(
        "Re: [PATCH 1/3] mm: change three",
        f"Reviewed-by: {BOB}\nAcked-by: Eve Example <eve@example.org>\n",
        BOB,
        "r@example.org",
        answers="s-1@example.org",
    )
    mbox = project.root / "thread.mbox"
    mbox.write_bytes(mboxrd([each.bytes() for each in (*thread, review)]))
    into = ("series", "apply", str(mbox), "--into", "linux")
    assert project.harness(*into, "--branch", "plain").status == 0
    assert "Reviewed-by" not in project.fake.git("log", "-3", "--format=%B", "plain")
    assert project.harness(*into, "--branch", "with", "--apply-trailers").status == 0
    message = project.fake.git("log", "-1", "--format=%B", "with~2")
    assert f"Reviewed-by: {BOB}" in message
    assert "eve@example.org" not in message
    with_them, without = project.fake.git("rev-parse", "with^{tree}", "plain^{tree}").split()
    assert with_them == without


@pytest.mark.parametrize(
    "asked",
    [
        "s-0@example.org",
        "<s-0@example.org>",
        "https://lore.kernel.org/all/s-0@example.org/",
        "https://lore.kernel.org/r/s-0%40example.org",
    ],
)
def test_b4_fetches_a_thread(project: Project, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.series import lore, read

    mbox = project.root / "saved.mbox"
    mbox.write_bytes(mboxrd([each.bytes() for each in Thread().letters()]))
    program = project.root / "b4"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{project.root}/asked; cp {mbox} thread.mbx\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(lore, "_program", lambda: str(program))
    series = read(Path(asked))
    assert (len(series.patches), str(series.trust)) == (3, "stranger")
    said = (project.root / "asked").read_text().splitlines()[-1]
    assert said.rstrip("/") == asked.strip("<>").rstrip("/")


def test_without_network_a_message_id_is_the_machines_fault(project: Project) -> None:
    # The name cannot be resolved anywhere: RFC 2606.
    said = project.harness(
        "series", "show", "a@example.org",
        HTTPS_PROXY="http://proxy.invalid:1", HTTP_PROXY="http://proxy.invalid:1",
        HOME=str(project.root),
    )  # fmt: skip
    assert said.status == 3, said.text
    assert "b4 could not fetch the thread" in said.text


def test_a_file_is_no_message_id(project: Project, patches: Path) -> None:
    patches.rename(project.root / "me@example.org")
    assert project.harness("series", "show", "me@example.org").status == 0
