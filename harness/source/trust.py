# SPDX-License-Identifier: GPL-2.0-only
"""Whose code it is: that of the user, or that of a stranger, which is built in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.model.spec import Trust

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|(?!debian:)[^/\s]+:")


def of_source(spec: str) -> Trust:
    """Return how far the kernel source *spec* is trusted if nothing else is said.

    A stranger's is what comes from a URL; directories, tarballs and branches of this machine are
    the user's own, and Debian vouches for its packages.
    """
    return Trust.STRANGER if _URL.match(spec) else Trust.OWN


def least(of: Iterable[Trust]) -> Trust:
    """Return the trust in a whole whose parts are trusted so: a stranger's where one part is."""
    return Trust.STRANGER if Trust.STRANGER in set(of) else Trust.OWN
