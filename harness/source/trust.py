# SPDX-License-Identifier: GPL-2.0-only
"""Trust in code: the user's own code, or a stranger's, which is built in a sandbox."""

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
    """Return the trust in the combination of parts: a stranger's if one part is."""
    return Trust.STRANGER if Trust.STRANGER in set(of) else Trust.OWN
