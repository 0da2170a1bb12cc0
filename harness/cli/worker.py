# SPDX-License-Identifier: GPL-2.0-only
"""``harness worker``: the side of another machine; people do not call it.

It runs there with few libraries: what draws on a terminal is not among them.
"""

from __future__ import annotations

import sys

import click

from harness.errors import HarnessError


@click.command(hidden=True)
@click.option("--doctor", is_flag=True, help="Print as JSON what this machine can do, and exit.")
@click.option("--quick", is_flag=True, help="With --doctor: boot no kernel.")
def worker(doctor: bool, quick: bool) -> int:
    """Take attempts from standard input and give records to standard output (docs/hosts.md)."""
    try:
        return _diagnose(quick) if doctor else _serve()
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _serve() -> int:
    from harness.lab.worker import serve
    from harness.store import Store

    return serve(Store.default())


def _diagnose(quick: bool) -> int:
    from harness.doctor.diagnose import Doctor
    from harness.doctor.model import encode
    from harness.guest.capabilities import HostFacts
    from harness.model.spec import GuestTable
    from harness.progress import Quiet

    diagnosis = Doctor(HostFacts(), Quiet(), GuestTable(), quick=quick).diagnose()
    sys.stdout.buffer.write(encode(diagnosis))
    return 0
