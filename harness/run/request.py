# SPDX-License-Identifier: GPL-2.0-only
"""The request of a run, and the commands that repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import series
from harness.errors import UserError
from harness.guest import vng
from harness.kbuild.toolchain import check_compiler
from harness.model.faults import InjectSpec
from harness.model.ids import ONLY, KernelName
from harness.model.races import RaceSpec
from harness.model.recording import RecordSpec
from harness.model.records import SCHEMA, Requested
from harness.model.spec import BisectTable, GuestTable, KernelSpec, MutantsAsked, Trust
from harness.project import NO_SERIES, Project, load
from harness.run.posted import unlike_posted
from harness.series import Stack
from harness.source.trust import least, of_source

INJECT, REPLAY = "inject", "replay"
"""The fragments of a kernel whose calls can fail on purpose, and of one that gdb can read."""


class Request(msgspec.Struct, frozen=True):
    """What the user wants tested: the project file and what overrides it."""

    project_file: Path
    project: Project
    working_dir: Path
    """Paths given on the command line are relative to it; those in the file, to the file."""
    kernels: tuple[KernelSpec, ...] = (KernelSpec(),)
    """What is tested; where there are several, each has a name."""
    suites: tuple[str, ...] = ()
    expression: str = ""
    guest: str = ""
    """The type of guest; empty means what the project file says."""
    trust: Trust | None = None
    """The trust in source and series; None means by project file and origin."""
    repeat: int = 1
    """The number of attempts at each test; 0 means endless."""
    until_fail: bool = False
    coverage: bool = False
    """Whether it is watched which changed lines the tests run."""
    reuse: bool = False
    """Whether observations of earlier runs with the same content may replace a test."""
    cost: bool = False
    """Whether the instructions of tests are counted, in guests that are made for that."""
    functions: bool = False
    """Whether it is counted, too, in which functions of the kernel they are."""
    metrics: tuple[str, ...] = ()
    """The metrics by which the kernels are compared, if they are variants."""
    for_patch: int | None = None
    """Only tests that may run changed lines of this patch are planned, by its number from 1."""
    left_out: tuple[str, ...] = ()
    """The tests that run none of them, by the coverage of an earlier run."""
    inject: InjectSpec | None = None
    """Which calls of the tests fail on purpose, if any."""
    recording: RecordSpec | None = None
    """How tests are recorded, if they are."""
    race: RaceSpec | None = None
    """Under which schedules the tests run; None is as the kernel schedules them."""
    reruns: int = 0
    """How often, on each kernel, a test is run again that differs between two; 0 is not at all."""
    base: KernelName = ONLY
    """The kernel that the others are compared with: only what is worse than there fails the run."""
    bisect: BisectTable | None = None
    """Between which kernels the first bad one is looked for; others are added as needed."""
    hosts: tuple[str, ...] = ()
    """The hosts that run the tests, by name; none is this machine, and others by need."""
    mutants: MutantsAsked | None = None
    """The faults to plant after the tests have run without one; None for none."""
    dask: str = ""
    """The scheduler of the Dask cluster that runs the tests, or ``auto``; empty for none."""
    command: tuple[str, ...] = ()
    """The command line, for the record."""
    program: tuple[str, ...] = ("harness",)
    """The command with which the user calls this program, for the printed command lines."""

    def record(self, time: str) -> Requested:
        """Return the record from which the request can be repeated, with its *time*."""
        return Requested(
            schema=SCHEMA,
            command=self.command,
            time=time,
            working_dir=str(self.working_dir),
            project_file=str(self.project_file),
            kernels=self.kernels,
            suites=self.suites,
            expression=self.expression,
            guest=self.guest,
            trust=self.trust,
            repeat=self.repeat,
            until_fail=self.until_fail,
            coverage=self.coverage,
            reuse=self.reuse,
            cost=self.cost,
            functions=self.functions,
            metrics=self.metrics,
            for_patch=self.for_patch,
            left_out=self.left_out,
            inject=self.inject,
            recording=self.recording,
            race=self.race,
            reruns=self.reruns,
            base=self.base,
            bisect=self.bisect,
            hosts=self.hosts,
            mutants=self.mutants,
            dask=self.dask,
        )

    @classmethod
    def again(cls, asked: Requested, program: tuple[str, ...]) -> Request:
        """Return the request that was recorded as *asked*; the project file is read again."""
        file = Path(asked.project_file)
        return cls(
            project_file=file,
            project=load(file),
            working_dir=Path(asked.working_dir),
            kernels=asked.specs,
            suites=asked.suites,
            expression=asked.expression,
            guest=asked.guest,
            trust=asked.trust,
            repeat=asked.repeat,
            until_fail=asked.until_fail,
            coverage=asked.coverage,
            reuse=asked.reuse,
            cost=asked.cost,
            functions=asked.functions,
            metrics=asked.metrics,
            for_patch=asked.for_patch,
            left_out=asked.left_out,
            inject=asked.inject,
            recording=asked.recording,
            race=asked.race,
            reruns=asked.reruns,
            base=asked.base,
            bisect=asked.bisect,
            hosts=asked.hosts,
            mutants=asked.mutants,
            dask=asked.dask,
            command=asked.command,
            program=program,
        )

    @property
    def reuses(self) -> bool:
        """Whether a test may be left to an earlier run, or to another kernel that is the same."""
        return self.reuse and self.repeat == 1 and not self.until_fail and not self.watched

    @property
    def watched(self) -> bool:
        """Whether tests run otherwise than they do by themselves: watched, or made to fail."""
        special = self.inject is not None or self.recording is not None or self.race is not None
        return self.coverage or self.cost or special

    @property
    def budget_s(self) -> float | None:
        """How many seconds variations of tests may take together; None is as long as they take."""
        return next((each.budget_s for each in (self.inject, self.race) if each), None)

    @property
    def project_dir(self) -> Path:
        """Where relative paths of the project file start."""
        return self.project_file.parent

    def guest_table(self) -> GuestTable:
        """Return the default guest of tests, which their suite can override."""
        asked = {"type": self.guest} if self.guest else {}
        # Lines are watched where QEMU translates code.
        if self.coverage and self.project.guest.accel == "auto":
            asked["accel"] = "tcg"
        table = msgspec.structs.replace(self.project.guest, **asked)
        if self.recording:
            return _counted(table, "harness replay", "recorded")
        if self.race is not None:
            return _counted(table, "a schedule", "chosen to preempt it")
        return _counted(table, "--cost", "counted") if self.cost else table

    def fragments(self, spec: KernelSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the fragments to build *spec* with, and a note on added ones.

        Raises MachineError where vng guests are asked for and virtme-ng cannot start them.
        """
        names = spec.config or self.project.kernel.config
        directory = self.project_dir / self.project.kernel.config_dir
        own = INJECT if self.inject else REPLAY if self.recording else ""
        if own and own not in names and (directory / f"{own}.config").exists():
            names = (*names, own)
        if self.guest_table().type != "vng":
            return names, ()
        vng.usable_virtme()
        # A project may have the same options in fragments of its own.
        there = [name for name in vng.FRAGMENTS if (directory / f"{name}.config").exists()]
        missing = tuple(name for name in there if name not in names)
        if not missing:
            return names, ()
        note = f"for vng guests the kernel is also built with: {', '.join(missing)}"
        # First, so that the user's fragments override it.
        return (*missing, *names), (note,)

    def compiler(self, spec: KernelSpec) -> str:
        """Return the compiler of *spec*; raises UserError where there is none of that name."""
        cc = spec.cc or self.project.kernel.cc
        check_compiler(cc)
        return cc

    def kernel(self, name: KernelName) -> KernelSpec:
        """Return the kernel of that name, which must be asked for."""
        return next(each for each in self.kernels if each.name == name)

    def stack(self, spec: KernelSpec) -> Stack:
        """Read the series of *spec*.

        The stack's name, by which expectations know it, is made of the names of stacks, directories
        and files, joined by ``+``.
        """
        names, paths = self._series(spec)
        if not paths and spec.upto:
            raise UserError("there is no series to apply a part of", where=f"--upto {spec.upto}")
        version = spec.series_version
        if version is not None and len(paths) != 1:
            raise UserError(
                "a version can be chosen for one series only",
                where=f"--series-version {version}",
                why=f"{len(paths)} series are requested",
                hint="name one mailbox or directory with --series",
            )
        name = "+".join(names) or NO_SERIES
        named = {self.project_dir / path: trust for path, trust in self.project.trust.items()}
        return series.read_stack(name, paths, upto=spec.upto, version=version, trust=named)

    def lineage(self, spec: KernelSpec, stack: Stack, source: str) -> str | None:
        """Return what the versions of a stranger's series on *source* have in common.

        None where the series and the source are the user's own; *source* is a specification.
        Raises UserError where a stranger's kernel would run in guests that see the user's files.
        """
        kernel = self.project.kernel
        of_file = kernel.trust if spec.source is None else None
        base = of_file or of_source(source)
        if (self.trust or least((base, stack.trust))) is Trust.OWN:
            return None
        if self.guest_table().type == "vng":
            raise UserError(
                "a stranger's series does not run in guests with your files",
                where="--guest vng, or [guest] type of the project file",
                why="such a guest sees the host's file system, and what it prints is kept",
                hint="--guest sealed; or read the series first, and say --trust own",
            )
        return stack.lineage + (source.partition("#")[0] if base is Trust.STRANGER else "")

    def unlike_posted(self, spec: KernelSpec) -> str:
        """Return why the series of *spec* are not what was posted; empty if they are."""
        return unlike_posted(self._series(spec)[1], self.project, self.project_file)

    def _series(self, spec: KernelSpec) -> tuple[list[str], list[Path]]:
        """Return the names and the paths of the series of *spec*."""
        wanted = spec.series or (self.project.series,)
        return series.resolve(wanted, self.project, self.project_file, self.working_dir)

    def rerun(self, spec: KernelSpec, suites: Sequence[str], test: str) -> str:
        """Return a shell command that runs *test* alone on *spec*, with all else as it is now.

        *suites* are the ``--suite`` options, as they were given, that its suite was made from.
        """
        command = "inject" if self.inject else "replay" if self.recording else "run"
        argv = self._argv(command, spec, suites)
        if self.recording and self.recording.seed != 1:
            argv += ["--seed", str(self.recording.seed)]
        # The seeds are the same, so the same run fails.
        argv += ["--hunt", str(self.repeat)] * (self.recording is not None and self.until_fail)
        return shlex.join([*argv, test] if command != "run" else [*argv, "-k", test])

    def rerun_schedule(
        self,
        spec: KernelSpec,
        suites: Sequence[str],
        test: str,
        schedule: str,
        *,
        recorded: bool = False,
    ) -> str:
        """Return a shell command that runs *test* under *schedule* again; see :meth:`rerun`.

        With *recorded* it records that, as this request may do anyway.
        """
        command = "replay" if recorded or self.recording else "run"
        return shlex.join([*self._argv(command, spec, suites), test, "--schedule", schedule])

    def rerun_mutant(self, spec: KernelSpec, line: str) -> str:
        """Return a shell command that plants the faults of *line* (``FILE:LINE``) again."""
        only = ["-k", self.expression] if self.expression else []
        return shlex.join([*self._argv("mutants", spec, self.suites), *only, "--at", line])

    def _argv(self, command: str, spec: KernelSpec, suites: Sequence[str]) -> list[str]:
        argv = [*self.program, command]
        if self.project_file != self.working_dir / self.project_file.name:
            argv += ["--project", str(self.project_file)]
        argv += ["--source", spec.source] if spec.source is not None else []
        argv += [word for name in spec.series for word in ("--series", name)]
        argv += ["--upto", str(spec.upto)] if spec.upto is not None else []
        if spec.series_version is not None:
            argv += ["--series-version", str(spec.series_version)]
        argv += [word for name in spec.config for word in ("--config", name)]
        argv += ["--cc", spec.cc] if spec.cc else []
        argv += ["--guest", self.guest] if self.guest else []
        argv += ["--trust", self.trust] if self.trust else []
        argv += ["--cost"] * self.cost + ["--functions"] * self.functions
        return argv + [word for name in suites for word in ("--suite", name)]


def _counted(guest: GuestTable, asked: str, done: str) -> GuestTable:
    """Return the guest that is like *guest* and whose instructions are counted.

    Raises UserError where there is no such guest; *asked* is what wants one, and *done* what is
    done with its instructions.
    """
    if guest.accel == "kvm":
        without = "leave out --cost: each test has its times, and --repeat shows how these scatter"
        raise UserError(
            f"with KVM the instructions of a test cannot be {done}",
            where=f'{asked}, and guest.accel = "kvm" in the project file',
            why="the host's processor runs them, and stops for others at any of them",
            hint=(f"{without}; or " if asked == "--cost" else "") + 'let guest.accel be "auto"',
        )
    if guest.type != "sealed":
        raise UserError(
            f"instructions are {done} in sealed guests only",
            where=f"{asked}, and a {guest.type} guest",
            why="each has to wake from one snapshot, and a guest with the host's files has none",
            hint="--guest sealed",
        )
    if guest.confidential not in ("none", "auto"):
        raise UserError(
            f"the instructions of a confidential guest cannot be {done}",
            where=f'{asked}, and guest.confidential = "{guest.confidential}" in the project file',
            why="it needs KVM, and its memory is closed to the host",
        )
    return msgspec.structs.replace(guest, cpus=1, accel="tcg", confidential="none", counted=True)
