# SPDX-License-Identifier: GPL-2.0-only
"""What is asked of a run whose tests are recorded."""

from __future__ import annotations

import msgspec

from harness.digest import digest


class RecordSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the tests of a run are recorded."""

    seed: int = 1
    """The seed of the first attempt at each test; each further one takes the next."""

    def seed_of(self, test: str, attempt: int) -> str:
        """Return what an attempt at *test* gets its random numbers and its start from, in hex."""
        return digest(test, str(self.seed_number(attempt)))

    def seed_number(self, attempt: int) -> int:
        """Return the seed of an attempt as the user knows it."""
        return self.seed + attempt - 1
