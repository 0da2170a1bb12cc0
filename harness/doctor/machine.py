# SPDX-License-Identifier: GPL-2.0-only
"""Checks of the machine: processors, memory, disk, and what KVM and confidential guests need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.doctor.model import Check
from harness.errors import HarnessError
from harness.foreign import translate
from harness.guest.capabilities import HostFacts
from harness.guest.confidential import TECHNOLOGIES
from harness.guest.host import Access, Host
from harness.guest.launch import Kind
from harness.kbuild.kernel import slots
from harness.lab import capacity
from harness.model.spec import GuestTable
from harness.proc.packages import install
from harness.proc.process import why_no_sandbox
from harness.store import Store

GIB = 1 << 30
FRESH_GIB = 4
"""Git repository, one build and ccache (measured with 6.1: 0.4, 1.7 and 0.3 GB), and a margin."""
LATER_GIB = 1
"""Some kernels, suites and snapshots; one of each is about 60 MB."""
_BUILD_MIB = 1024
"""Memory for linking vmlinux and for a compiler on each of two processors."""


def checks(
    host_facts: HostFacts, store: Store | None, trouble: str, guest: GuestTable
) -> Iterator[Check]:
    """Check the machine; *store* is the cache, or None with the reason in *trouble*."""
    host = host_facts.host
    yield Check(
        name="cpus",
        group="machine",
        state="yes",
        detail=f"{len(os.sched_getaffinity(0))} for this process",
    )
    yield _memory(host, guest)
    yield _cache(store, trouble)
    yield _disk(store, trouble)
    yield _kvm_device(host)
    yield _sandbox()


def confidential_checks(host_facts: HostFacts, memory_mib: int) -> Iterator[Check]:
    """Return for each technology whether its guests can be started, and everything missing."""
    for kind in Kind:
        found = host_facts.offer(kind, memory_mib)
        launch = found.launch
        yield Check(
            name=str(kind),
            group="confidential",
            state="yes" if launch else "no",
            detail=f"guests start with {launch.firmware}" if launch else found.reason,
            do=f"confidential = \"{kind}\", and the fragment '{TECHNOLOGIES[kind].fragment}'"
            if launch
            else found.do,
        )


def _memory(host: Host, guest: GuestTable) -> Check:
    free = host.available_kib >> 10
    need = guest.memory_mib + _BUILD_MIB
    enough = free >= need
    jobs = capacity.jobs([guest], free)
    return Check(
        name="memory",
        group="machine",
        state="yes" if enough else "no",
        required=True,
        detail=f"{free} MiB available of {host.memory_kib >> 10}; "
        + (
            f"{jobs} guests of {guest.memory_mib} MiB at a time"
            if enough
            else f"a build and a guest need {need} MiB"
        ),
        do="" if enough else "end what uses the memory, or set a lower [guest] memory_mib",
    )


def _cache(store: Store | None, trouble: str) -> Check:
    """Check the cache by writing to it as a run does; files of another user may prevent that."""
    if store is not None:
        trouble = _unwritable(store)
    return Check(
        name="cache",
        group="machine",
        state="no" if trouble else "yes",
        required=True,
        detail=trouble or f"{store.root if store else ''} can be written",
        do="set HARNESS_CACHE to a directory of your own, or chown this one to one user"
        if trouble
        else "",
    )


def _unwritable(store: Store) -> str:
    """Return why *store*, which has no files of another user, is not writable; else empty."""
    try:
        with store.scratch("doctor") as work, store.try_lock("doctor"):
            (work / "file").write_bytes(bytes(4096))
            (work / "file").rename(work / "other")
    except (OSError, HarnessError) as error:
        found = translate(error)
        words = (found.what, found.where, found.why) if found else (str(error),)
        return ": ".join(filter(None, words))
    return ""


def _disk(store: Store | None, trouble: str) -> Check:
    if store is None:
        return Check(
            name="disk",
            group="machine",
            state="no",
            required=True,
            detail=trouble,
            do="set HARNESS_CACHE to a directory that you may write to",
        )
    fresh = not any((each.objects / "vmlinux").exists() for each in slots(store))
    need = FRESH_GIB if fresh else LATER_GIB
    free = shutil.disk_usage(store.root).free
    enough = free >= need * GIB
    kept = "nothing is built yet" if fresh else "a kernel has been built"
    return Check(
        name="disk",
        group="machine",
        state="yes" if enough else "no",
        required=True,
        detail=f"{free / GIB:.1f} GiB free in {store.root}, {need} GiB are needed ({kept})",
        do="" if enough else "free some, or move the cache with HARNESS_CACHE=DIR",
    )


def _kvm_device(host: Host) -> Check:
    texts = {
        Access.USABLE: ("this user can open /dev/kvm; only a boot shows whether it works", ""),
        Access.FORBIDDEN: ("this user cannot open /dev/kvm", "adduser $USER kvm, and log in again"),
        Access.ABSENT: (
            "there is no /dev/kvm",
            "turn virtualization on in the firmware set-up, then modprobe kvm_intel or kvm_amd",
        ),
    }
    detail, do = texts[host.kvm]
    state = "yes" if host.kvm is Access.USABLE else "no"
    return Check(
        name="kvm-device",
        group="machine",
        state="yes" if state == "yes" else "no",
        detail=detail,
        do=do,
    )


def _sandbox() -> Check:
    """Check the sandbox by running a program in it, as for a stranger's series."""
    why = why_no_sandbox()
    advice = ""
    if "bubblewrap is not installed" in why:
        advice = install("bubblewrap")
    elif "cgroup" in why:
        advice = "run as another user than root, or give this container cgroups that it may write"
    elif why:
        advice = (
            "allow user namespaces: sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; "
            "in a container of podman: --security-opt unmask=ALL --security-opt seccomp=unconfined"
        )
    return Check(
        name="sandbox",
        group="machine",
        state="no" if why else "yes",
        detail=f"a stranger's series cannot be built: {' '.join(why.split())}"
        if why
        else "bubblewrap works: a stranger's series is built without network, home and your rights",
        do=advice,
    )


def firmware_note(host_facts: HostFacts) -> Check:
    """Return which firmware is available: confidential guests start from it."""
    paths: list[Path] = [each.path for each in host_facts.images]
    return Check(
        name="firmware",
        group="confidential",
        state="yes" if paths else "no",
        detail=", ".join(map(str, paths)) or "no UEFI firmware for guests of type q35",
        do="" if paths else f"{install('ovmf')}; ordinary guests need none",
    )
