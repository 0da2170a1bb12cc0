# SPDX-License-Identifier: GPL-2.0-only
"""How a run in a guest ends: what the agent or QEMU says of it, and what that makes of the run."""

from __future__ import annotations

import os

import msgspec
from qemu.qmp import QMPError

from harness.guest import frames, processors
from harness.guest.process import Exited, QemuProcess, Shutdown
from harness.guest.starved import GuestTime
from harness.model.events import Exit, Final, GuestDied, How, NotStarted, Unquiet

POWERED_OFF = "guest-shutdown"
"""QEMU's reason for a shutdown that the guest asked for."""
STUCK = (How.HANG, How.UNKILLABLE)
"""Ends of which the stacks of all processors say more."""
_SAID = 200
"""How many characters are shown of what is not the agent's own."""
_AGENT_ERRORS = {
    frames.ErrorCode.UNKILLABLE: How.UNKILLABLE,
    frames.ErrorCode.PROTOCOL: How.PROTOCOL,
    frames.ErrorCode.AGENT: How.AGENT_FAILED,
}
_SHUTDOWNS = {"guest-reset": How.RESET, POWERED_OFF: How.POWER_OFF}
_RESTLESS = {Unquiet.BUSY: "busy", Unquiet.RCU: "rcu"}


class Closed(msgspec.Struct, frozen=True):
    """A channel's end of file; ``error`` says what was wrong with its content."""

    name: str
    error: str = ""


class GivenUp(msgspec.Struct, frozen=True):
    """The harness does not wait for the guest any longer: ``how`` and ``detail`` say why."""

    how: How
    detail: str


End = Shutdown | Exited | Closed | GivenUp


def in_words(end: End) -> str:
    """Return in words how a recorded guest has ended."""
    match end:
        case Shutdown(reason):
            return f"QEMU says {reason}"
        case GivenUp(how, detail):
            return f"{how}: {detail}"
        case _:
            return "QEMU is gone"


def died(end: Shutdown | Exited | GivenUp, panicked: bool, errors: str) -> GuestDied:
    """Return the final event of a guest with that end; *errors* are QEMU's own words."""
    match end:
        case _ if panicked:
            return GuestDied(How.PANIC, "the kernel panicked")
        case Shutdown(reason) if reason in _SHUTDOWNS:
            return GuestDied(_SHUTDOWNS[reason], f"QEMU says {reason}")
        case Shutdown(reason):
            return GuestDied(How.QEMU_DIED, f"QEMU shut down: {reason}")
        case Exited(code):
            way = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
            return GuestDied(How.QEMU_DIED, f"QEMU {way}" + (f": {errors}" if errors else ""))
        case GivenUp(how, detail):
            return GuestDied(how, detail)


def final(last: frames.Ended | frames.AgentError, time: GuestTime, *, log_complete: bool) -> Final:
    """Return the final event of a guest that lives, and whose agent has said *last*."""
    if isinstance(last, frames.AgentError):
        return NotStarted(last.errno, _text(last))
    return Exit(
        status=None if last.signaled else last.code,
        signal=last.code if last.signaled else None,
        timed_out=last.timed_out,
        utime_s=last.utime_us / 1e6,
        stime_s=last.stime_us / 1e6,
        maxrss_kib=last.maxrss_kib,
        wall_s=last.wall_ns / 1e9,
        log_complete=log_complete,
        taint=last.taint,
        restless=tuple(_RESTLESS[each] for each in Unquiet(last.unquiet)),
        # What this side could not see the guest has seen, and the other way round.
        stood_still_s=time.stood_still_s + min(time.unseen_s, last.lost_ns / 1e9),
        starved_s=time.starved_s,
        faults_left=None if last.faults_left == frames.UNKNOWN else last.faults_left,
    )


def of_error(error: frames.AgentError) -> GivenUp | None:
    """Return the end of a guest whose agent reports *error*; None if it is only the program's."""
    if error.code is frames.ErrorCode.START:
        return None
    return GivenUp(_AGENT_ERRORS[error.code], _text(error))


def not_the_agents(claim: frames.Ended | frames.AgentError) -> GivenUp:
    """Return the end of a run that was claimed without the run's token.

    Root in the guest can get at the agent's port, with pidfd_getfd() for one.
    """
    if isinstance(claim, frames.Ended):
        return GivenUp(How.PROTOCOL, "a program other than the agent ended the test")
    said = " ".join(claim.text.split())[:_SAID] + _strerror(claim.errno)
    return GivenUp(How.PROTOCOL, f"an error was reported without the token of the run: {said}")


async def where_it_hangs(qemu: QemuProcess, hang: GivenUp, limit_s: float) -> GivenUp:
    """Read all processors' registers, then send the NMI that makes the kernel panic.

    QEMU's NMI reaches the first processor, whose panic fetches the others' stacks.  So the log of a
    HANG and of an UNKILLABLE ends in a panic that the host has caused.

    A process that cannot be killed because its processor takes no interrupts hangs the guest:
    whether the agent's own processor comes to wait for that one is chance.

    *limit_s* is the time limit of each command of the monitor.
    """
    try:
        cpus = await processors.states(qemu, limit_s)
        if hang.how is How.UNKILLABLE and (deaf := await processors.deaf(qemu, cpus, limit_s)):
            names = ", ".join(f"CPU {cpu}" for cpu in sorted(deaf))
            hang = GivenUp(How.HANG, f"{hang.detail}: {names} took no interrupts")
        await qemu.execute("inject-nmi", limit_s)
    except TimeoutError:
        return GivenUp(How.QEMU_STUCK, f"{hang.detail}, and QEMU's monitor does not answer")
    except QMPError as e:
        return GivenUp(hang.how, f"{hang.detail}; no stack traces: {e}")
    where = ", ".join(f"CPU {number} at 0x{cpu['at']}" for number, cpu in enumerate(cpus))
    return GivenUp(hang.how, f"{hang.detail}; {where}")


def _text(error: frames.AgentError) -> str:
    return f"{error.text}{_strerror(error.errno)}"


def _strerror(errno: int) -> str:
    return f": {os.strerror(errno)}" if errno else ""
