# SPDX-License-Identifier: GPL-2.0-only
"""Firmware that the machine has for guests, from QEMU's descriptors and from the images themselves.

A distribution describes each of its firmware images in a JSON file; docs/interop/firmware.json of
QEMU has the format, and says how directories and file names decide which of several counts.  What
an OVMF image can do also stands in a table of GUIDs at its end, which is what QEMU goes by.
"""

from __future__ import annotations

import fnmatch
import json
import os
import uuid
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

_ROOT = Path("/")
_MACHINE = "pc-q35-"
"""What versioned names of q35 begin with; descriptors name machine types by such patterns."""
_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
_FOOTER_FROM_END = 48
"""The footer's GUID and the 32 bytes of the reset vector behind it."""
_ENTRY = 18
"""A table entry's length (2 bytes) and GUID (16 bytes); its data lie before them."""


class Has(StrEnum):
    """What QEMU looks for in the table of an OVMF image, by GUID (target/i386, hw/i386)."""

    SEV_HASHES = "7255371f-3a3b-4b04-927b-1da6efa8d454"
    """Room for the hashes of a kernel given with -kernel."""
    SNP_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
    """Which pages are to be validated before an SEV-SNP guest starts."""
    TDX_METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2"
    """What a TDX guest consists of before it starts."""


class Firmware(msgspec.Struct, frozen=True):
    """An image that a guest can start from.

    ``flash`` says that it is made for QEMU's parallel flash; else it is loaded with ``-bios``.
    """

    path: Path
    flash: bool
    size: int
    """In bytes."""
    features: frozenset[str] = frozenset()
    """As in the descriptor: ``amd-sev``, ``amd-sev-snp``, ``intel-tdx``, ..."""
    table: frozenset[Has] = frozenset()
    """As in the image."""


def directories(root: Path = _ROOT) -> tuple[Path, ...]:
    """Return where descriptors are, the one that overrides the others first."""
    user = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    places = (Path(user), Path("/etc"), Path("/usr/share"))
    return tuple(root / place.relative_to("/") / "qemu" / "firmware" for place in places)


UNDESCRIBED = (
    "usr/share/ovmf/OVMF.fd",
    "usr/share/edk2/ovmf/OVMF.inteltdx.fd",
    "usr/share/edk2/ovmf/OVMF.amdsev.fd",
)
"""Images that distributions have had without a descriptor; the table in the image decides."""


def find(root: Path = _ROOT) -> list[Firmware]:
    """Return the images for x86-64 guests of type q35 without SMM, the preferred one first.

    Those with descriptors come first, in the order of the descriptors' names.  A file in a user's
    directory stands for one of the same name further down, and hides it if it is empty.
    """
    found = list(_described(root))
    known = {each.path for each in found}
    for name in UNDESCRIBED:
        path = root / name
        if path not in known and path.is_file():
            size = path.stat().st_size
            found.append(Firmware(path, flash=False, size=size, table=read_table(path)))
    return found


def _described(root: Path) -> Iterator[Firmware]:
    named: dict[str, Path] = {}
    for directory in directories(root):
        for path in sorted(directory.glob("*.json")):
            named.setdefault(path.name, path)
    for name in sorted(named):
        try:
            text = named[name].read_text()
            firmware = _parse(json.loads(text), root) if text.strip() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Not our file; what cannot be read offers nothing.
            continue
        if firmware is not None:
            yield firmware


def _parse(described: Any, root: Path) -> Firmware | None:
    features = frozenset(described["features"])
    fits = any(
        target["architecture"] == "x86_64"
        and any(fnmatch.fnmatch(_MACHINE + "0.0", each) for each in target["machines"])
        for target in described["targets"]
    )
    if not fits or "uefi" not in described["interface-types"] or "requires-smm" in features:
        return None
    mapping = described["mapping"]
    if mapping["device"] == "memory":
        name, flash = mapping["filename"], False
    elif mapping["device"] == "flash" and mapping["executable"]["format"] == "raw":
        name, flash = mapping["executable"]["filename"], True
    else:
        return None
    path = root / Path(name).relative_to("/")
    if not path.is_file():
        return None
    return Firmware(path, flash, path.stat().st_size, features, read_table(path))


def read_table(image: Path) -> frozenset[Has]:
    """Return what the table at the end of an OVMF image has; nothing for any other file."""
    try:
        data = image.read_bytes()
    except OSError:
        return frozenset()
    known = {str(each): each for each in Has}
    return frozenset(known[each] for each in _guids(data) if each in known)


def _guids(data: bytes) -> Iterator[str]:
    """Walk the table backwards from its footer, as QEMU does (hw/i386/pc_sysfw_ovmf.c)."""
    footer = len(data) - _FOOTER_FROM_END
    if footer < 2 or data[footer : footer + 16] != _FOOTER.bytes_le:
        return
    end = footer - 2
    # The length in the footer counts the footer's own entry.
    start = end - (int.from_bytes(data[end:footer], "little") - _ENTRY)
    while start >= 0 and end - _ENTRY >= start:
        length = int.from_bytes(data[end - _ENTRY : end - 16], "little")
        if not _ENTRY <= length <= end - start:
            return
        yield str(uuid.UUID(bytes_le=data[end - 16 : end]))
        end -= length
