# SPDX-License-Identifier: GPL-2.0-only
"""Network namespaces as hosts, each behind a link that can be cut, slowed, or made lossy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class NoNamespaces(Exception):
    """Why this machine or this user cannot make any."""


@dataclass(frozen=True)
class Link:
    """A network namespace, and the only way to it."""

    name: str
    number: int

    @property
    def address(self) -> str:
        """The address of the host."""
        return f"10.213.{self.number}.2"

    @property
    def within(self) -> tuple[str, ...]:
        """The words before a command that runs it there."""
        return ("ip", "netns", "exec", self.name)

    @property
    def _near(self) -> str:
        return f"{self.name}n"

    @property
    def _far(self) -> str:
        return f"{self.name}f"

    def make(self) -> None:
        """Make the namespace and the link; raises NoNamespaces where that cannot be done."""
        try:
            _ip("netns", "add", self.name)
            pair = ("type", "veth", "peer", "name", self._far)
            _ip("link", "add", self._near, *pair, "netns", self.name)
            _ip("addr", "add", f"10.213.{self.number}.1/30", "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", self._far)
            _ip("-n", self.name, "link", "set", self._far, "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            why = getattr(error, "stderr", "") or str(error)
            raise NoNamespaces(f"uid {os.getuid()} cannot make network namespaces: {why}") from None

    def remove(self) -> None:
        """Remove both."""
        for words in (("link", "del", self._near), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], capture_output=True, check=False)

    def cut(self) -> None:
        """Let nothing through, and tell no sender: as when a cable is pulled far from here."""
        self._rule("-I", "-j", "DROP")

    def mend(self) -> None:
        """Let everything through again."""
        self._rule("-D", "-j", "DROP")

    def lossy(self) -> None:
        """Lose a quarter of all packets, both ways."""
        self._rule("-I", *_QUARTER)

    def whole(self) -> None:
        """Lose none."""
        self._rule("-D", *_QUARTER)

    def slow(self) -> None:
        """Let 250 kbit through in a second, so that what is sent waits for long."""
        shape = ("tbf", "rate", "250kbit", "burst", "16kb", "latency", "2s")
        _tc("add", "dev", self._near, "root", *shape)

    def fast(self) -> None:
        """Let through what there is."""
        _tc("del", "dev", self._near, "root")

    def _rule(self, act: str, *words: str) -> None:
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            argv = ["iptables", "-w", act, chain, way, self._near, *words]
            subprocess.run(argv, capture_output=True, check=True, text=True)


_QUARTER = ("-m", "statistic", "--mode", "random", "--probability", "0.25", "-j", "DROP")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True, text=True)


def _tc(*words: str) -> None:
    subprocess.run(["tc", "qdisc", *words], capture_output=True, check=True, text=True)


@contextmanager
def links(count: int) -> Iterator[list[Link]]:
    """Make so many hosts; raises NoNamespaces where that cannot be done."""
    made: list[Link] = []
    try:
        for number in range(count):
            link = Link(f"hh{os.getpid() % 10**6}{number}", (os.getpid() + number) % 250 + 1)
            link.make()
            made.append(link)
        yield made
    finally:
        for link in made:
            for undo in (link.mend, link.whole):
                try:
                    undo()
                except subprocess.CalledProcessError:
                    continue  # it was whole
            link.remove()
