# SPDX-License-Identifier: GPL-2.0-only
"""Line numbers for a kernel that was built without debug information.

Debug information costs a sixth of every build and is read once in a hundred runs.  But ``-g`` does
not change the code that gcc generates, so the few objects that a report names are compiled once
more with it, by the commands that their ``.cmd`` files hold, and the offsets are looked up there.

A wrong line is worse than none, so nothing is believed:

- the work tree must hold the kernel's tree, unedited, and the ``.config`` be the kernel's;
- an object is that of a frame only if all functions of its section stand in vmlinux at the same
  distances from each other; so functions of the same name are told apart, and an object that has
  been built from something else is noticed;
- the new object must have the same functions at the same offsets with the same sizes.

What was found is kept by kernel: the same report in the next run costs no compiler.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.errors import MachineError, UserError
from harness.kbuild import toolchain
from harness.kbuild.kernel import Kernel, Slot, slots
from harness.kbuild.left import IMAGE_BYTES, TEXT_BYTES, is_left
from harness.klog.decode import (
    Entry,
    Symbols,
    annotate,
    find_in_vmlinux,
    find_lines,
    read_symbols,
)
from harness.proc.git import git
from harness.proc.process import check, run
from harness.proc.sandbox import Sandbox
from harness.progress import Step
from harness.store import Store

_MOST_OBJECTS = 60
"""A minute of compiling; the reports of one run rarely name more than thirty."""
_LIMIT_S = 120
_EM_X86_64 = 62
_DEBUG = ["-g", "-fno-var-tracking"]
"""As DEBUG_INFO_REDUCED (scripts/Makefile.debug): the same lines that such a kernel would have."""
NOT_IN_VMLINUX = ("scripts", "tools", "Documentation", "usr", "samples")
_FUNCTION = re.compile(
    r"^(?P<file>[^\n]*\.o):(?P<name>[^|\s]+)\s*\|(?P<value>[0-9a-f]+)\|\s*(?P<kind>[tTwW])\s*\|"
    r"[^|]*\|(?P<size>[0-9a-f]*)\s*\|[^|]*\|(?P<section>\S+)$",
    re.MULTILINE,
)
_COMMAND = re.compile(r"^(?:saved)?cmd_(?P<target>\S+) := (?P<command>.*)$", re.MULTILINE)


class Decoded(msgspec.Struct, frozen=True):
    """Reports with the lines that were found."""

    reports: tuple[str, ...]
    note: str = ""
    """Why frames were left without line, in one line; empty when there is nothing to tell."""


def decode_reports(
    kernel: Kernel, place: Slot, context: Context, reports: Sequence[str]
) -> Decoded:
    """Add ``(file:line)`` to the frames of *reports*, which *kernel* has printed.

    *place* is the slot in which the kernel was built.  Where vmlinux has debug information, or the
    frames of this kernel were looked up before, nothing is compiled.  Never raises for a frame, an
    object or a slot that is of no use: the note says why.  Without frames nothing is done at all.
    """
    notes: list[str] = []
    known = _Known(context.store, kernel.key)

    def find(entries: Collection[Entry]) -> Mapping[Entry, str]:
        found = known.load()
        new = [entry for entry in entries if entry not in found]
        if new:
            more = _find_new(kernel, place, context, new, notes)
            # Without a note there is nothing more to be found out about the others either.
            found |= more if notes else {entry: more.get(entry, "") for entry in new}
            known.save(found)
        return found

    decoded = annotate(reports, find)
    why = "; ".join(dict.fromkeys(notes))
    return Decoded(decoded, f"some stack traces have no line numbers: {why}" if why else "")


def find_slot(kernel: Kernel, store: Store) -> Slot | None:
    """Return the slot that still holds what *kernel* was built from; None if none does."""
    for place in slots(store):
        try:
            if not any(obstacles(kernel, place)):
                return place
        except (MachineError, OSError):
            continue  # a directory that is being made or removed
    return None


class _Known(msgspec.Struct, frozen=True):
    """The known lines of the frames of one kernel, kept in the store."""

    store: Store
    key: str
    """The kernel's: with another tree, configuration or toolchain the lines are others."""

    @property
    def _path(self) -> Path:
        return self.store.place("lines") / f"{self.key}.json"

    def load(self) -> dict[Entry, str]:
        """Return the line of every frame known so far; empty for a frame that has none."""
        try:
            rows = msgspec.json.decode(
                self._path.read_bytes(), type=list[tuple[str, int, int, str]]
            )
        except (OSError, msgspec.MsgspecError):
            return {}  # not there yet, or damaged: it is looked up again
        return {Entry(name, offset, size): line for name, offset, size, line in rows}

    def save(self, found: Mapping[Entry, str]) -> None:
        """Keep *found*, and forget kernels that are no longer in the store."""
        rows = [(each.name, each.offset, each.size, line) for each, line in found.items()]
        # Of two runs at a time the later one wins; the other's frames are looked up again.
        draft = self._path.with_name(f".{self.key}.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(rows))
        draft.replace(self._path)
        for path in self._path.parent.glob("*.json"):
            if path != self._path and not self.store.path("kernel", path.stem).exists():
                path.unlink(missing_ok=True)


def _find_new(
    kernel: Kernel,
    place: Slot,
    context: Context,
    entries: Collection[Entry],
    notes: list[str],
) -> dict[Entry, str]:
    """Look *entries* up; add to *notes* why some were not found."""
    try:
        looking = place.sandbox(readable=(kernel.path,))
        if has_lines(kernel.vmlinux, looking):
            return find_in_vmlinux(kernel.vmlinux, entries, sandbox=looking)
        with (
            context.step("Looking up the lines of stack traces") as step,
            context.store.try_lock(place.name) as mine,
        ):
            notes.extend(obstacles(kernel, place) if mine else [_BUSY])
            if notes:
                return {}
            found = _find(kernel, place, context.store, entries, notes, step)
            step.result(f"{len(found)} of {len(entries)} frames")
            return found
    except (MachineError, UserError, OSError) as error:
        notes.append(" ".join(str(error).split()))
        return {}


_BUSY = "another run is building where the kernel was built"


def obstacles(kernel: Kernel, place: Slot) -> Iterator[str]:
    """Yield why the slot cannot be used for this kernel."""
    with kernel.vmlinux.open("rb") as file:
        machine = int.from_bytes(file.read(20)[18:20], "little")
    if machine != _EM_X86_64:
        yield f"only those of x86-64 are looked up, and this kernel's machine is {machine}"
        return
    config = place.objects / ".config"
    if not place.source.is_dir() or not is_left(place.objects, config, TEXT_BYTES):
        yield "the directory in which the kernel was built is gone"
        return
    # The tree, not the commit: of two commits with the same files only one is built.
    head = git("rev-parse", "HEAD^{tree}", cwd=place.source, limit_s=_LIMIT_S)
    if head.text != kernel.meta.tree:
        yield "the directory in which the kernel was built contains another tree now"
        return
    state = git("status", "--porcelain", "--untracked-files=no", cwd=place.source, limit_s=_LIMIT_S)
    if not state.ok or state.stdout:
        yield "the source from which the kernel was built has been edited"
    if digest(config.read_bytes()) != kernel.meta.config_digest:
        yield "the directory in which the kernel was built has another configuration now"


class Section(msgspec.Struct, frozen=True):
    """The functions of one section of an object file."""

    object: str
    """Relative to the object directory."""
    section: str
    functions: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Offset and size in bytes."""
    weak: set[str] = msgspec.field(default_factory=set)

    def base(self, name: str, start: int, symbols: Symbols) -> int | None:
        """Return where vmlinux has this section if its function *name* begins at *start*.

        None if any of the others is not where it would have to be.
        """
        base = start - self.functions[name][0]
        for other, (offset, _) in self.functions.items():
            # Of several weak functions vmlinux has one, or a strong one instead.
            if other not in self.weak and base + offset not in symbols.by_name.get(other, ()):
                return None
        return base


def _find(
    kernel: Kernel,
    place: Slot,
    store: Store,
    entries: Collection[Entry],
    notes: list[str],
    step: Step,
) -> dict[Entry, str]:
    looking = place.sandbox(readable=(kernel.path, place.objects))
    symbols = read_symbols(kernel.vmlinux, sandbox=looking)
    starts = {
        entry: start for entry in entries if (start := symbols.start(entry, exact=True)) is not None
    }
    sections = _sections(place.objects, {entry.name for entry in starts}, looking)
    wanted: defaultdict[str, list[tuple[Entry, Section]]] = defaultdict(list)
    for entry, start in starts.items():
        fitting = [
            section
            for section in sections
            if entry.name in section.functions
            and section.base(entry.name, start, symbols) is not None
        ]
        if len(fitting) == 1:
            wanted[fitting[0].object].append((entry, fitting[0]))
    if len(wanted) > _MOST_OBJECTS:
        notes.append(f"{len(wanted)} files are affected, and only {_MOST_OBJECTS} were examined")
    found: dict[Entry, str] = {}
    with store.for_make().scratch("lines") as scratch, ThreadPoolExecutor(toolchain.jobs()) as pool:
        work = partial(_look_up, place, toolchain.environment(place.ccache, place.path))
        jobs = [
            pool.submit(work, name, tuple(frames), scratch / str(number))
            for number, (name, frames) in enumerate([*wanted.items()][:_MOST_OBJECTS])
        ]
        for number, job in enumerate(jobs):
            lines, note = job.result()
            found |= lines
            notes.extend([note] if note else [])
            step.update(done=number + 1, total=len(jobs))
    return found


def _look_up(
    place: Slot,
    env: Mapping[str, str],
    name: str,
    frames: Sequence[tuple[Entry, Section]],
    scratch: Path,
) -> tuple[dict[Entry, str], str]:
    """Return the lines of *frames* in the object *name*, or why there are none."""
    sandbox = compile_sandbox(place, scratch)
    new, why = compile_with_lines(place, env, name, scratch)
    if new is None:
        return {}, why
    twins = {s.section: s.functions for s in read_functions(scratch, [new.name], sandbox)}
    found: dict[Entry, str] = {}
    for section in {section.section: section for _, section in frames}.values():
        if twins.get(section.section) != section.functions:
            return {}, f"{name} changes when it is compiled with debug information"
        offsets = {
            entry: entry.offset + section.functions[entry.name][0]
            for entry, owner in frames
            if owner.section == section.section
        }
        lines = find_lines(
            new, offsets.values(), section=section.section, timeout=_LIMIT_S, sandbox=sandbox
        )
        found |= {entry: lines[offset] for entry, offset in offsets.items() if offset in lines}
    return found, ""


def compile_sandbox(place: Slot, scratch: Path) -> Sandbox | None:
    """Return what :func:`compile_with_lines` may reach, and what reads its objects."""
    # The command is what the tree's makefiles have recorded, so it is the tree's.
    return place.sandbox(readable=(place.objects,), writable=(scratch, place.ccache))


def compile_with_lines(
    place: Slot, env: Mapping[str, str], name: str, scratch: Path
) -> tuple[Path | None, str]:
    """Compile the object *name* once more, with debug information, into the new *scratch*.

    Returns the new object, or None and why there is none.  It holds the lines of the kernel's own
    object only where its functions are at the same offsets.
    """
    argv = debug_command(place.objects, name, scratch)
    if argv is None:
        return None, f"there is no record of how {name} was compiled"
    scratch.mkdir()
    sandbox = compile_sandbox(place, scratch)
    done = run(argv, cwd=place.objects, env=env, limit_s=_LIMIT_S, sandbox=sandbox)
    if not done.ok:
        return None, f"{name} does not compile with debug information"
    new = scratch / "new.o"
    if not is_left(scratch, new, IMAGE_BYTES):
        return None, f"compiling {name} again creates no object file"
    return new, ""


def debug_command(objects: Path, name: str, scratch: Path) -> list[str] | None:
    """Return the command that compiled the object *name*, with debug information and to *scratch*.

    ``.cmd`` files hold it quoted for make and for the shell (scripts/Kbuild.include).
    """
    found = _COMMAND.search(command_record(objects / name).read_text())
    # KVM's is arch/x86/kvm/../../../virt/kvm/kvm_main.o: make keeps a name as a makefile has it.
    if found is None or os.path.normpath(found["target"]) != name:
        return None
    words = shlex.split(found["command"].replace("$(pound)", "#").replace("$$", "$"))
    argv = words[: words.index(";")] if ";" in words else words
    target = [found["target"]]
    if argv.count("-o") != 1 or argv[argv.index("-o") + 1 :][:1] != target or "-c" not in argv:
        return None
    argv[argv.index("-o") + 1] = str(scratch / "new.o")
    # Where the dependencies go; those of the slot are make's.
    argv = [re.sub(r"^(-Wp,-MM?D,).*", rf"\g<1>{scratch / 'new.d'}", word) for word in argv]
    argv[argv.index("-c") : argv.index("-c")] = _DEBUG
    return argv


def _sections(objects: Path, names: Collection[str], sandbox: Sandbox | None) -> list[Section]:
    """Return the sections of all compiled objects that may define one of the functions *names*."""
    compiled = []
    for directory, below, inside in os.walk(objects):
        below[:] = [d for d in below if Path(directory) != objects or d not in NOT_IN_VMLINUX]
        for record in inside:
            path = Path(directory) / record[1 : -len(".cmd")]
            # vmlinux.o is made of others: it has all functions and was not compiled.
            if record.startswith(".") and record.endswith(".o.cmd") and is_compiled(objects, path):
                compiled.append(str(path.relative_to(objects)))
    if not compiled:
        return []
    # Only names at first: what comes next is more, and takes three times as long.
    argv = ["nm", "--print-file-name", "--defined-only", *sorted(compiled)]
    rows = run(argv, cwd=objects, limit_s=_LIMIT_S, sandbox=sandbox).output.splitlines()
    words = (row.split() for row in rows)
    files = {row[0].partition(":")[0] for row in words if row[-1:] and row[-1] in names}
    return read_functions(objects, sorted(files), sandbox)


def command_record(path: Path) -> Path:
    """Return the file in which make keeps how it made the object *path*."""
    return path.with_name(f".{path.name}.cmd")


def is_compiled(objects: Path, path: Path) -> bool:
    """Return whether *path* is an object that a compiler has made, and not a linker."""
    record = command_record(path)
    if not (is_left(objects, path) and is_left(objects, record, TEXT_BYTES)):
        return False
    return " -c " in record.read_text()


def read_functions(directory: Path, files: Sequence[str], sandbox: Sandbox | None) -> list[Section]:
    """Return the sections of the object *files* in *directory*, with their functions."""
    if not files:
        return []
    argv = ["nm", "--print-file-name", "--format=sysv", "--defined-only", *files]
    # Without a log the whole output is kept; nm complains of objects without symbols.
    done = run(argv, cwd=directory, limit_s=_LIMIT_S, sandbox=sandbox)
    output = check(done, "nm failed").output
    sections: dict[tuple[str, str], Section] = {}
    for row in _FUNCTION.finditer(output):
        if row["name"].startswith((".L", "$")):
            continue
        key = (row["file"], row["section"])
        section = sections.setdefault(key, Section(*key))
        size = int(row["size"] or "0", 16)
        section.functions[row["name"]] = (int(row["value"], 16), size)
        if row["kind"] in "wW":
            section.weak.add(row["name"])
    return list(sections.values())


def has_lines(vmlinux: Path, sandbox: Sandbox | None) -> bool:
    """Return whether *vmlinux* has debug information."""
    done = run(["readelf", "-SW", str(vmlinux)], limit_s=_LIMIT_S, sandbox=sandbox)
    check(done, "readelf failed")
    return " .debug_line " in done.output
