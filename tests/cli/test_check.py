# SPDX-License-Identifier: GPL-2.0-only
"""``harness series check`` as a user calls it, on the kernel in miniature."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checks import CHECKS
from tests.cli import projects
from tests.cli.projects import Project
from tests.kerneltree import FakeLinux, replace, sh

pytestmark = [pytest.mark.unit, pytest.mark.slow]

CHECKPATCH = r"""#!/usr/bin/env perl
# SPDX-License-Identifier: GPL-2.0-only
# Says of added lines with a word what the kernel's own says of others, in its form.
my ($file, $found, $name, $line, $kept) = ($ARGV[-1], 0, "", 0, 0);
open(my $mail, "<", $file) or die "no mail";
while (<$mail>) {
	$name = $1 if m{^\+\+\+ b/(\S+)};
	$line = $1 - 1 if /^@@ -\S+ \+(\d+)/;
	$line++ if /^[+ ]/;
	$kept = 1 if /^\s*MAINTAINERS\s*\|/;
	print "WARNING:FILE_PATH_CHANGES: MAINTAINERS?\n#$.:\n$_\n" and $found = 1
		if /^new file mode/ and not $kept;
	if (/^\+.*(BADLY|LONG|TASTE)/) {
		my %level = (BADLY => "ERROR", LONG => "WARNING", TASTE => "CHECK");
		print "$level{$1}:$1: a word\n#$.: FILE: $name:$line:\n$_\n";
		$found = 1;
	}
}
print "WARNING:NO_AUTHOR: of the message\n\n" and $found = 1 if -e "$file.never";
exit $found;
"""
KERNEL_DOC = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
shift
grep -n UNDOCUMENTED "$@" /dev/null | while IFS=: read -r file line rest; do
	echo "$file:$line: warning: not described"
done
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose kernel in miniature has tools for checks, and history."""
    made = projects.make(tmp_path)
    for name, text in {"checkpatch.pl": CHECKPATCH, "kernel-doc": KERNEL_DOC}.items():
        path = made.fake.work / "scripts" / name
        path.write_text(text)
        path.chmod(0o755)
    made.fake.commit("scripts: Add checkers")
    return made


Edit = Callable[[FakeLinux], None]


def series(project: Project, *patches: tuple[Edit, str], sign: bool = True) -> Path:
    """Write a series of edits with their messages; return its directory."""
    fake = project.fake
    base = fake.git("rev-parse", "HEAD")
    for edit, message in patches:
        edit(fake)
        signed = f"{message}\n\nSigned-off-by: Ada Example <ada@example.org>" if sign else message
        fake.commit(signed)
    out = project.root / "series"
    fake.git("format-patch", "-q", "-n", "-o", str(out), base)
    fake.git("reset", "-q", "--hard", base)
    return out


def foo(body: str, before: str = "") -> Edit:
    """Write mm/foo.c with this body of its function, and lines before that."""

    def edit(fake: FakeLinux) -> None:
        fake.write(
            mm__foo_dot_c=f"#include <linux/foo.h>\n{before}\nvoid foo(void)\n{{\n{body}}}\n"
        )

    return edit


# The kernel in miniature does not boot.
ALL_BUT_BOOTS = tuple(word for name in CHECKS if name != "boots" for word in ("--check", name))


def outcomes(project: Project, path: Path, *arguments: str) -> tuple[int, dict[str, str], str]:
    """Check the series; return the status, the outcome of each test, and what was printed."""
    out = project.root / "out"
    if "--check" not in arguments:
        arguments += ALL_BUT_BOOTS
    said = project.harness("series", "check", str(path), "--out", str(out), *arguments)
    assert (out / "results.json").exists(), said.text
    found = json.loads((out / "results.json").read_text())
    return said.status, {t["name"]: t["outcome"] for t in found["tests"]}, said.text


def test_a_good_series_passes_every_check(project: Project) -> None:
    path = series(project, (foo("\tfor (;;)\n\t\t;\n"), "mm: Spin"), (foo(""), "mm: Do not"))
    status, found, text = outcomes(project, path)
    assert status == 0, text
    static, built = ("signed-off", "fixes", "checkpatch"), ("builds", "warnings")
    names = (*static, *built, "kernel-doc", "sparse", "headers")
    assert list(found) == [f"series:{n}-{name}" for n in (1, 2) for name in names]
    assert set(found.values()) <= {"pass", "skip"}
    assert "16 tests" in text


def test_warnings_are_those_that_a_patch_introduces_and_no_others(project: Project) -> None:
    old = "\tint old;\n"
    fake = project.fake
    foo(old)(fake)
    fake.commit("mm: A warning that was there before")
    path = series(
        project,
        (foo(old, before="int one;\nint two;\nint three;\n"), "mm: Shift it"),
        (foo(old + "\tint fresh;\n", before="int one;\nint two;\nint three;\n"), "mm: Add one"),
        (foo(old, before="int one;\n"), "mm: Take one away"),
        (
            foo("\t/* Why. */\n" + old + "\tint old2;\n", before="int one;\n"),
            "mm: One goes, one comes",
        ),
    )
    status, found, text = outcomes(project, path)
    assert status == 0, text
    warned = [line for line in text.splitlines() if "warning:" in line and "unused" in line]
    assert len(warned) == 2, text
    assert "fresh" in warned[0]
    assert "mm/foo.c:9, 0002-mm-Add-one.patch:" in warned[0]
    assert "old2" in warned[1]
    assert found["series:2-warnings"] == "pass"
    status, found, _ = outcomes(project, path, "--fail-on", "warning")
    assert status == 1
    failed = [name for name, outcome in found.items() if outcome == "fail"]
    assert [name for name in failed if "warnings" in name] == [
        "series:2-warnings",
        "series:4-warnings",
    ]


def test_a_file_that_is_renamed_brings_its_warnings_along(project: Project) -> None:
    def use(name: str) -> Edit:
        def edit(fake: FakeLinux) -> None:
            fake.git("mv", "mm/foo.c", f"mm/{name}.c")
            makefile = fake.work / "Makefile"
            makefile.write_text(makefile.read_text().replace("mm/foo.c", f"mm/{name}.c"))

        return edit

    foo("\tint old;\n")(project.fake)
    project.fake.commit("mm: A warning that was there before")
    path = series(project, (use("bar"), "mm: Rename it"))
    assert "rename from mm/foo.c" in next(path.iterdir()).read_text()
    status, found, text = outcomes(project, path, "--check", "warnings")
    assert (status, found) == (0, {"series:1-warnings": "pass"}), text
    assert "old" not in text


def test_the_place_in_the_patch_is_the_line_of_its_file(project: Project) -> None:
    path = series(project, (foo("\tint fresh;\n"), "mm: Add one"))
    _, _, text = outcomes(project, path, "--check", "warnings")
    place = next(line for line in text.splitlines() if "fresh" in line)
    number = int(place.partition(".patch:")[2].partition(":")[0])
    (patch,) = path.iterdir()
    assert patch.read_text().splitlines()[number - 1] == "+\tint fresh;"


def test_a_patch_that_applies_further_down(project: Project) -> None:
    """Its own line numbers are those of the tree that it was made for."""
    long = "".join(f"int before_{n};\n" for n in range(30))
    gap = "\n".join(f"int between_{n};" for n in range(30)) + "\n"

    def body(text: str, more: str = "") -> Edit:
        return foo("\tint old;\n" + text, before=f"{more}{gap}")

    body("")(project.fake)
    project.fake.commit("mm: What was there before")
    path = series(
        project,
        (body("\tint fresh; /* LONG */\n"), "mm: Warn"),
        (body("\tint fresh; /* LONG */\n\t;\n"), "mm: Add to it"),
    )
    body("", more=long)(project.fake)
    project.fake.commit("mm: Have more lines now")
    _, _, text = outcomes(project, path, "--check", "warnings", "--check", "checkpatch")
    lines = [line.strip() for line in text.splitlines() if "0001-mm-Warn.patch:" in line]
    assert len(lines) == 2, text
    assert len([line for line in text.splitlines() if "unused" in line]) == 1, text
    (tree_line,) = {line.split("mm/foo.c:")[1].split(",")[0] for line in lines}
    patch_line = {line.split(".patch:")[1].split(":")[0] for line in lines}
    there = project.fake.work / "mm/foo.c"
    old = 1 + there.read_text().splitlines().index("\tint old;")
    assert int(tree_line) == old + 1
    (at,) = patch_line
    patch = (path / "0001-mm-Warn.patch").read_text().splitlines()
    assert "int fresh" in patch[int(at) - 1]


def test_a_patch_that_does_not_build_alone(project: Project) -> None:
    path = series(
        project,
        (foo("\n\tint x = 1 +;\n"), "mm: Break it"),
        (foo(""), "mm: Mend it"),
        (foo("\tint fresh;\n"), "mm: Warn"),
    )
    status, found, text = outcomes(project, path)
    assert status == 1
    assert found["series:1-builds"] == "fail"
    assert (found["series:1-warnings"], found["series:2-warnings"]) == ("notrun", "notrun")
    assert (found["series:2-builds"], found["series:3-builds"]) == ("pass", "pass")
    assert found["series:3-warnings"] == "pass"
    assert "mm/foo.c:6" in text
    assert "patch 1 does not build" in text


def test_a_source_that_does_not_build_blames_no_patch(project: Project) -> None:
    foo("\tint x = 1 +;\n")(project.fake)
    project.fake.commit("mm: Broken before")
    path = series(project, (lambda fake: fake.write(README="x"), "doc: Add one"))
    status, found, text = outcomes(project, path)
    assert status == 1
    assert (found["series:1-builds"], found["series:1-warnings"]) == ("notrun", "notrun")
    assert "the source itself does not build" in text


def test_checkpatch_of_the_source_with_places(project: Project) -> None:
    path = series(
        project,
        (foo("\t/* BADLY */\n"), "mm: Bad"),
        (foo("\t/* LONG */\n\t/* TASTE */\n"), "mm: Long"),
    )
    status, found, text = outcomes(project, path, "--check", "checkpatch")
    assert status == 1
    assert found == {"series:1-checkpatch": "fail", "series:2-checkpatch": "pass"}
    assert "error: mm/foo.c:5, 0001-mm-Bad.patch:" in text
    number = int(text.partition("0001-mm-Bad.patch:")[2].partition(":")[0])
    assert "BADLY" in (path / "0001-mm-Bad.patch").read_text().splitlines()[number - 1]
    assert "warning: mm/foo.c:5, 0002-mm-Long.patch:" in text
    assert "TASTE" not in text
    assert "TASTE" in outcomes(project, path, "--check", "checkpatch", "-v")[2]


def test_checkpatch_sees_which_files_a_patch_changes(project: Project) -> None:
    def with_maintainer(fake: FakeLinux) -> None:
        fake.write(mm__new_dot_c="/* */\n", MAINTAINERS="NEW\nF:\tmm/new.c\n")

    def without(fake: FakeLinux) -> None:
        fake.write(mm__other_dot_c="\n/* BADLY */\n")

    path = series(project, (with_maintainer, "mm: Add one"), (without, "mm: Add another"))
    status, _, text = outcomes(project, path, "--check", "checkpatch")
    assert status == 1
    assert text.count("FILE_PATH_CHANGES") == 1, text
    place = text.partition("mm/other.c:2, 0002-mm-Add-another.patch:")[2]
    patch = (path / "0002-mm-Add-another.patch").read_text().splitlines()
    assert "BADLY" in patch[int(place.partition(":")[0]) - 1]
    assert "new file mode" in patch[int(text.partition("another.patch:")[2].split(":")[0]) - 1]


def test_a_part_of_checkpatch_that_cannot_run_is_noted(project: Project) -> None:
    script = project.fake.work / "scripts/checkpatch.pl"
    broken = CHECKPATCH.replace("exit $found;", "print STDERR \"no module 'ply'\\n\"; exit $found;")
    script.write_text(broken)
    project.fake.commit("scripts: Miss one")
    path = series(project, (foo("\tfor (;;)\n\t\t;\n"), "mm: Spin"))
    status, _, text = outcomes(project, path, "--check", "checkpatch", "-v")
    assert status == 0
    assert "note: checkpatch did not check everything: no module 'ply'" in text


def test_a_series_cannot_silence_the_checkpatch_that_judges_it(project: Project) -> None:
    def silence(fake: FakeLinux) -> None:
        (fake.work / "scripts/checkpatch.pl").write_text("#!/usr/bin/env perl\nexit 0;\n")
        foo("\t/* BADLY */\n")(fake)

    path = series(project, (silence, "scripts: Be kind"))
    assert outcomes(project, path, "--check", "checkpatch")[0] == 1


def test_a_broken_checkpatch_is_an_error_and_no_pass(project: Project) -> None:
    (project.fake.work / "scripts/checkpatch.pl").write_text("die 'broken';\n")
    project.fake.commit("scripts: Break it")
    path = series(project, (foo(""), "mm: Fine"))
    status, found, text = outcomes(project, path, "--check", "checkpatch")
    assert (status, found) == (1, {"series:1-checkpatch": "error"})
    assert "checkpatch failed" in text


def test_signed_off_by_author_and_sender(project: Project) -> None:
    path = series(project, (foo(""), "mm: Unsigned"), sign=False)
    status, _, text = outcomes(project, path, "--check", "signed-off")
    assert status == 1
    assert "there is no Signed-off-by" in text
    (patch,) = path.iterdir()
    other = "Grace Other <grace@example.org>"
    mail = patch.read_text().replace("From: Ada Example <ada@example.org>\n", f"From: {other}\n")
    ada = "Ada Example <ADA@example.org>"
    body = f"\n\nFrom: {ada}\n\nWhy.\n\nSigned-off-by: {ada}\n"
    patch.write_text(mail.replace("\n\n---\n", f"{body}---\n"))
    status, _, text = outcomes(project, path, "--check", "signed-off")
    assert status == 1, text
    assert "there is no Signed-off-by of the sender, Grace Other" in text
    patch.write_text(
        patch.read_text().replace("org>\n---\n", f"org>\nSigned-off-by: {other}\n---\n")
    )
    status, _, text = outcomes(project, path, "--check", "signed-off")
    assert status == 0, text


@pytest.mark.parametrize(
    ("tag", "words", "status"),
    [
        ('Fixes: {id:.12} ("scripts: Add checkers")', "", 0),
        ('Fixes: {id:.8} ("scripts: Add checkers")', "fewer than 12 digits", 0),
        ('Fixes: {id:.12} ("scripts: Add something")', 'another title, "scripts: Add checkers"', 1),
        ('Fixes: 0123456789ab ("scripts: Add checkers")', "no such commit", 1),
        ("Fixes: {id:.12}", "this is not Fixes:", 1),
        ('fixes: {id:.12} ("scripts: Add checkers")', "this is not Fixes:", 1),
    ],
)
def test_fixes_tags(project: Project, tag: str, words: str, status: int) -> None:
    commit = project.fake.git("rev-parse", "HEAD")
    path = series(project, (foo(""), f"mm: Mend it\n\n{tag.format(id=commit)}"))
    said = outcomes(project, path, "--check", "fixes")
    assert (said[0], words in said[2]) == (status, True), said[2]


def option(name: str, body: str = '\tbool "A switch"\n') -> Edit:
    """Add a configuration symbol."""

    def edit(fake: FakeLinux) -> None:
        path = fake.work / "Kconfig"
        path.write_text(f"{path.read_text()}\nconfig {name}\n{body}")

    return edit


def both(*edits: Edit) -> Edit:
    def edit(fake: FakeLinux) -> None:
        for each in edits:
            each(fake)

    return edit


BREAKS_WITH = "#ifdef CONFIG_SWITCH\n\tint x = 1 +;\n#endif\n"
BREAKS_WITHOUT = "#ifndef CONFIG_SWITCH\n\tint x = 1 +;\n#endif\n"


def test_each_new_option_is_built_with_and_without(project: Project) -> None:
    path = series(
        project,
        (option("SWITCH"), "mm: Add a switch"),
        (foo(BREAKS_WITH), "mm: Break it with the switch"),
        (foo("\tfor (;;)\n\t\t;\n"), "mm: Mend it"),
        (foo(""), "mm: Do not speak of it"),
    )
    status, found, text = outcomes(project, path, "--check", "builds", "--check", "options")
    assert status == 1, text
    assert [found.get(f"series:{n}-builds") for n in (1, 2, 3, 4)] == ["pass"] * 4
    # The third has the word in its hunk, and the last is asked about all.
    assert [found.get(f"series:{n}-options") for n in (1, 2, 3, 4)] == [
        "pass",
        "fail",
        "pass",
        "pass",
    ]
    assert "it does not build with CONFIG_SWITCH: mm/foo.c" in text


def test_a_new_option_that_is_on_is_built_without(project: Project) -> None:
    (project.root / "kernel-configs/a.config").write_text("CONFIG_PLAIN=y\nCONFIG_SWITCH=y\n")
    path = series(project, (both(option("SWITCH"), foo(BREAKS_WITHOUT)), "mm: Cannot do without"))
    status, found, text = outcomes(project, path, "--check", "options", "--check", "boots")
    assert found["series:1-options"] == "fail", text
    assert "it does not build without CONFIG_SWITCH" in text
    assert status == 1


@pytest.mark.parametrize("body", ["\tbool\n", '\tbool "A switch"\n'])
def test_an_option_that_cannot_be_changed_is_no_pass(project: Project, body: str) -> None:
    """The first has no prompt, and the second has what it depends on off."""
    path = series(
        project,
        (option("NEEDS_ABSENT_TOO", body), "mm: Add what nothing selects"),
        (foo(""), "mm: Change something"),
    )
    edit = project.fake.work / "Makefile"
    replace(edit, "/CONFIG_NEEDS_ABSENT=/d", "/CONFIG_NEEDS_ABSENT/d")
    project.fake.commit("kbuild: Drop more")
    _, found, text = outcomes(project, path, "--check", "options")
    assert found == {"series:1-options": "skip", "series:2-options": "skip"}, text
    assert "CONFIG_NEEDS_ABSENT_TOO is off and cannot be changed" in text


def test_what_is_no_new_switch_is_not_tried(project: Project) -> None:
    def moved(fake: FakeLinux) -> None:
        path = fake.work / "Kconfig"
        text = path.read_text()
        entry = '\nconfig ABSENT\n\tbool "Absent"\n'
        path.write_text(text.replace(entry, "") + entry)

    again = option("PLAIN", "\tdefault y\n")
    path = series(
        project,
        (moved, "mm: Move an option"),
        (option("LIMIT", "\tint\n\tdefault 3\n"), "mm: Add a number"),
        (again, "mm: Give a default"),
    )
    _, found, text = outcomes(project, path, "--check", "options", "--check", "signed-off")
    assert list(found) == [f"series:{n}-signed-off" for n in (1, 2, 3)], text


def test_what_was_checked_can_be_read_from_the_journal(project: Project) -> None:
    path = series(project, (foo("\tint x = 1 +;\n"), "mm: Break it"), (foo(""), "mm: Mend it"))
    _, found, _ = outcomes(project, path)
    book = project.root / "out/journal.jsonl"
    again = project.harness("report", str(project.root / "out"), "--format", "json")
    assert {t["name"]: t["outcome"] for t in json.loads(again.text)["tests"]} == found
    # Cut off after the plan and three checks: every check is told of all the same.
    lines = book.read_text().splitlines(keepends=True)
    book.write_text("".join(lines[:4]))
    cut = json.loads(project.harness("report", str(book.parent), "--format", "json").text)
    assert [t["name"] for t in cut["tests"]] == list(found)
    assert [t["outcome"] for t in cut["tests"]].count("notrun") == len(found) - 3
    assert cut["interrupted"]
    resumed = project.harness("run", "--resume", str(book.parent))
    assert resumed.status == 2, resumed.text
    assert "harness series check" in resumed.text
    assert "--resume" in resumed.text


def compiled(project: Project) -> int:
    """Return how often the compiler has run in the slot of checks."""
    (runs,) = (project.root / "cache" / "places" / "build").glob("*/obj/compiler-runs")
    return len(runs.read_text().splitlines())


def three(project: Project) -> Path:
    bodies = ("\tint one;\n", "\tint two;\n", "\tfor (;;)\n\t\t;\n")
    return series(project, *((foo(body), f"mm: Change {n}") for n, body in enumerate(bodies, 1)))


def test_a_tree_is_built_once(project: Project) -> None:
    path = three(project)
    first = outcomes(project, path)
    built = compiled(project)
    assert built == 4  # the source, and one for each patch
    again = outcomes(project, path)
    assert again[:2] == first[:2]
    assert "two" in again[2]
    assert compiled(project) == built
    # A new version begins at its first new patch.
    last = path / "0003-mm-Change-3.patch"
    last.write_text(last.read_text().replace("for (;;)", "while (1)"))
    outcomes(project, path)
    assert compiled(project) == built + 1


def test_checks_that_were_cut_off_are_resumed(project: Project) -> None:
    path = three(project)
    _, whole, _ = outcomes(project, path)
    book, built = project.root / "out/journal.jsonl", compiled(project)
    records = [json.loads(line) for line in book.read_text().splitlines()]
    kept = [r for r in records if r["type"] == "checks" or r.get("result", {}).get("number") == 1]
    # What has a result keeps it, and what this machine has prevented is made again.
    kept[1]["result"]["notrun"] = "kept"
    trouble = {"number": 2, "check": "builds", "trouble": "no disk"}
    kept.append({"type": "check-ended", "result": trouble})
    book.write_text("".join(f"{json.dumps(each)}\n" for each in kept))
    status, found, text = outcomes(project, path, *ALL_BUT_BOOTS, "--resume")
    first = f"series:1-{kept[1]['result']['check']}"
    assert found == {**whole, first: "notrun"}, text
    assert status == 1
    assert compiled(project) == built
    records = [json.loads(line) for line in book.read_text().splitlines()]
    ended = [(r["result"]["number"], r["result"]["check"]) for r in records if "result" in r]
    assert ended.count((2, "builds")) == 2
    assert all(ended.count(at) == 1 for at in ended if at != (2, "builds"))
    assert sum(record["type"] == "checks" for record in records) == 1


def test_what_cannot_be_resumed(project: Project) -> None:
    path = three(project)
    wanted = ("--check", "signed-off")
    said = project.harness("series", "check", str(path), "--resume", *wanted)
    assert (said.status, "--resume needs --out" in said.text) == (2, True), said.text
    out = ("--out", str(project.root / "out"), "--resume")
    said = project.harness("series", "check", str(path), *out, *wanted)
    assert (said.status, "there is no run" in said.text) == (2, True), said.text
    outcomes(project, path, *wanted)
    (path / "0003-mm-Change-3.patch").unlink()
    said = project.harness("series", "check", str(path), *out, *wanted, "--upto", "2")
    assert (said.status, "the series, the checks differ" in said.text) == (2, True), said.text
    # Nothing of the earlier one is lost.
    assert len(outcomes_of(project)) == 3


def outcomes_of(project: Project) -> dict[str, str]:
    said = project.harness("report", str(project.root / "out"), "--format", "json")
    return {test["name"]: test["outcome"] for test in json.loads(said.text)["tests"]}


def test_the_time_that_is_left_is_said(project: Project) -> None:
    _, _, text = outcomes(project, three(project), "--check", "builds")
    titles = [line for line in text.splitlines() if "✓ Building" in line]
    assert "the source at W=1" in titles[0]
    assert "patch 1/3 at W=1" in titles[1]
    assert "patch 2/3, about 1 min left at W=1" in titles[2]


def test_kernel_doc_and_sparse_tell_what_is_new(project: Project) -> None:
    before = "/* UNDOCUMENTED */\nint seen;\n"
    foo("", before=before)(project.fake)
    project.fake.commit("mm: What was there before")
    after = "int shift;\n/* UNDOCUMENTED */\nint seen;\n/* UNDOCUMENTED */\nint unseen;\n"
    path = series(project, (foo("", before=after), "mm: More"))
    status, found, text = outcomes(project, path, "--check", "kernel-doc", "--check", "sparse")
    assert status == 0
    assert set(found) == {"series:1-kernel-doc", "series:1-sparse"}
    assert text.count("not described") == 1
    assert "mm/foo.c:5" in text
    assert "'unseen' was not declared" in text
    assert "'seen' was not declared" not in text


def test_a_file_that_is_compiled_through_another_directory(project: Project) -> None:
    """As KVM is: the makefiles name its objects, and compilers its sources, with ``..``."""
    makefile = project.fake.work / "Makefile"
    text = makefile.read_text().replace("$(src)/mm/foo.c", "$(src)/mm/../mm/foo.c")
    makefile.write_text(text.replace("CC      mm/foo.o", "CC      mm/../mm/foo.o"))
    old = "\tint old;\n"
    foo(old, before="int seen;\n")(project.fake)
    project.fake.commit("mm: What was there before")
    path = series(
        project,
        (foo(old, before="int a;\nint seen;\n"), "mm: Shift it"),
        (lambda fake: fake.write(README="x"), "doc: Add one"),
        (foo(old, before="int a;\n\nint seen;\n"), "mm: Shift it again"),
    )
    status, found, text = outcomes(project, path, "--check", "warnings", "--check", "sparse")
    assert status == 0
    assert set(found.values()) == {"pass"}
    assert "unused" not in text
    assert "warning: mm/foo.c:2, 0001-mm-Shift-it.patch:" in text
    assert text.count("was not declared") == 1, text


def test_a_checker_that_fails_is_an_error_and_no_pass(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = project.root / "tools"
    tools.mkdir()
    sparse = tools / "sparse"
    sparse.write_text('#!/bin/sh\n[ "$1" = --version ] || kill -SEGV $$\n')
    sparse.chmod(0o755)
    project.fake.write(scripts__kernel_doc="#!/bin/sh\necho no perl; exit 127\n")
    (project.fake.work / "scripts/kernel_doc").replace(project.fake.work / "scripts/kernel-doc")
    (project.fake.work / "scripts/kernel-doc").chmod(0o755)
    project.fake.commit("scripts: Break one")
    path = series(project, (foo("\tfor (;;)\n\t\t;\n"), "mm: Spin"))
    wanted = ("--check", "sparse", "--check", "kernel-doc")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        broken = Project(project.root, project.fake)
        status, found, text = outcomes(broken, path, *wanted)
    assert (status, set(found.values())) == (1, {"error"}), text
    assert "sparse ended with status 139: mm/foo.c" in text
    assert "scripts/kernel-doc ended with status 127: no perl" in text
    # The next time it is asked again.
    assert outcomes(project, path, "--check", "sparse")[:2] == (0, {"series:1-sparse": "pass"})


def test_a_checker_that_is_not_asked_is_no_pass(project: Project) -> None:
    (project.fake.work / "scripts/kernel-doc").unlink()
    replace(project.fake.work / "Makefile", "\t@$(if $(C),$(CHECK)", "\t@$(if $(D),$(CHECK)")
    project.fake.commit("kbuild: Do without")
    path = series(
        project,
        (foo("\tfor (;;)\n\t\t;\n"), "mm: Spin"),
        (lambda fake: fake.write(README="x"), "doc: Add one"),
    )
    _, found, text = outcomes(project, path, "--check", "sparse", "--check", "kernel-doc")
    assert list(found.values()) == ["skip", "skip", "pass", "pass"], text
    assert "the tree has no kernel-doc" in text
    assert "mm/foo.c: sparse has not looked at it" in text


def test_what_becomes_of_user_space_headers(project: Project) -> None:
    name = "include/uapi/linux/foo.h"

    def add(fake: FakeLinux) -> None:
        fake.write(include__uapi__linux__bar_dot_h="#define BAR 1\n")
        replace(fake.work / name, "FOO_LIMIT", "FOO_LIMIT 3\n#define OTHER")

    def remove(fake: FakeLinux) -> None:
        fake.git("rm", "-q", "include/uapi/linux/bar.h")

    path = series(project, (add, "uapi: Add"), (remove, "uapi: Remove"), (foo(""), "mm: Other"))
    wanted = ("--check", "headers")
    status, found, text = outcomes(project, path, *wanted)
    assert (status, set(found.values())) == (0, {"pass"}), text
    assert text.count("header linux/bar.h is gone") == 1
    text = outcomes(project, path, *wanted, "-v")[2]
    assert text.count("header linux/bar.h is new") == 1
    assert text.count("header linux/foo.h has changed") == 1
    assert outcomes(project, path, *wanted, "--fail-on", "warning")[0] == 1


def test_the_reports_are_those_of_tests(project: Project) -> None:
    path = series(project, (foo("\tint x = 1 +;\n"), "mm: Break it"))
    junit = project.root / "checks.xml"
    said = project.harness("series", "check", str(path), "--junit", str(junit), *ALL_BUT_BOOTS)
    assert said.status == 1
    report = junit.read_text()
    assert report.count("<testcase ") == 8
    assert report.count("<failure ") == 1
    assert 'name="series"' in report
    assert "mm/foo.c:5" in report
    rerun = next(line for line in report.splitlines() if "1-builds.rerun" in line)
    assert "--upto 1 --check builds" in rerun


def test_a_job_s_page_has_a_summary(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where it is asked for, and on the page of GitHub's job; also of what was refused."""
    page = tmp_path / "page.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    path = series(project, (foo("\tint x = 1 +;\n"), "mm: Break it"))
    asked = ("series", "check", str(path), "--check", "builds")
    assert project.harness(*asked, "--summary", "checks.md").status == 1
    for told in (page, project.root / "checks.md"):
        text = told.read_text()
        assert text.startswith("## \N{CROSS MARK} NOT AS EXPECTED (exit 1): 1 test: 1 fail")
        assert "mm/foo.c:5" in text
        assert "--upto 1 --check builds" in text
    assert project.harness("series", "check", "nothing", "--summary", "checks.md").status == 2
    assert "(exit 2)" in (project.root / "checks.md").read_text()
    assert page.read_text().count("## ") == 2


def test_a_killed_build_is_not_taken_for_a_whole_one(project: Project) -> None:
    foo("\tint old;\n")(project.fake)
    project.fake.commit("mm: A warning that was there before")
    path = series(project, (foo("\tint old;\n", before="int a;\n"), "mm: Shift it"))
    assert "unused" not in outcomes(project, path, "--check", "warnings")[2]
    (state,) = (project.root / "cache" / "places" / "build").glob("*/said.json")
    state.unlink()
    shutil.rmtree(project.root / "cache" / "entries" / "checked")
    assert "unused" not in outcomes(project, path, "--check", "warnings")[2]
    # The series again, and nothing is compiled that was compiled.
    runs = next((project.root / "cache" / "places" / "build").glob("*/obj/compiler-runs"))
    before = runs.read_text()
    outcomes(project, path, "--check", "warnings")
    assert len(runs.read_text().splitlines()) <= len(before.splitlines()) + 2


def test_an_interrupted_build_forgets_no_warning(project: Project, tmp_path: Path) -> None:
    """Objects that were compiled stay, with what was said of them."""
    foo("\tint old;\n")(project.fake)
    makefile = project.fake.work / "Makefile"
    told = "\t@echo '  CC      mm/foo.o'\n"
    compiled = "\t@$(CC) $(flags) $(switches) -c -o $@ $(src)/mm/foo.c\n"
    assert told in makefile.read_text()
    pause = f"\t@if [ ! -e {tmp_path}/on ]; then touch {tmp_path}/here; sleep 60; fi\n"
    replace(makefile, compiled, compiled + pause)
    project.fake.commit("mm: A warning that was there before")
    path = series(project, (foo("\tint old;\n", before="int a;\n"), "mm: Shift it"))
    arguments = ("series", "check", str(path), "--check", "warnings", "--check", "builds")
    with project.begun(*arguments, "--out", str(project.root / "out")) as running:
        for _ in range(600):
            if (tmp_path / "here").exists():
                break
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
        assert running.returncode == 130
    assert b"--resume" in output.rpartition(b"continue: ")[2]
    (tmp_path / "on").touch()
    status, _, text = outcomes(project, path, *arguments[3:], "--resume")
    assert status == 0, text
    # Known to have been there before, so no patch has introduced it.
    assert "unused" not in text
    objects = next((project.root / "cache" / "places" / "build").glob("*/obj"))
    assert len((objects / "compiler-runs").read_text().splitlines()) == 3


def test_a_strangers_checks_run_in_the_sandbox(project: Project) -> None:
    trap = project.root / "trap"

    def attack(fake: FakeLinux) -> None:
        script = fake.work / "scripts/kernel-doc"
        script.write_text(f"#!/bin/sh\ntouch {trap}\n")
        replace(fake.work / "Makefile", "headers:\n", f"$(shell touch {trap})\nheaders:\n")
        foo("\tfor (;;)\n\t\t;\n")(fake)

    path = series(project, (attack, "scripts: Steal"))
    status, found, text = outcomes(project, path, "--trust", "stranger")
    assert found["series:1-builds"] == found["series:1-sparse"] == "pass", text
    assert found["series:1-kernel-doc"] == "pass"  # in a /tmp of its own
    assert not trap.exists()
    assert status == 0
    outcomes(project, path)
    assert trap.exists()  # what the test would see


def test_what_is_wrong_with_the_request(project: Project) -> None:
    assert project.harness("series", "check", "none").status == 2
    said = project.harness("series", "check", "nowhere")
    assert said.status == 2
    assert "there is no series 'nowhere'" in said.text
    assert sh("git", "status", "--porcelain", cwd=project.fake.work) == ""


def test_sarif_has_what_was_found_and_nothing_else_on_standard_output(project: Project) -> None:
    out = series(project, (foo("\tBADLY();\n"), "mm: Do it"))
    argv = [sys.executable, "-m", "harness", "series", "check", str(out)]
    argv += ["--check", "checkpatch", "--format", "sarif"]
    done = subprocess.run(argv, cwd=project.root, capture_output=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)["runs"][0]["results"]
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "mm/foo.c"
    assert place["region"]["startLine"] > 1
    assert found["level"] == "error"
    assert b"checkpatch" in done.stderr


def test_boots_that_cannot_be_tried_say_so_patch_by_patch(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = series(project, (foo("\tfor (;;)\n\t\t;\n"), "mm: Spin"), (foo(""), "mm: Do not"))
    tools = project.root / "tools"
    tools.mkdir()
    qemu = tools / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\necho no QEMU today >&2\nexit 1\n")
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    file = project.root / "harness.toml"
    file.write_text(file.read_text() + '\n[guest]\naccel = "kvm"\n')
    status, found, text = outcomes(project, path, "--check", "boots")
    assert status != 0
    assert set(found.values()) == {"error"}
    assert "a path cannot be used" not in text
    assert text.count("error  boots  KVM is requested") == 2, text
