# SPDX-License-Identifier: GPL-2.0-only
"""Fragments: merging, what counts as taken, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.kbuild import fragments
from harness.kbuild.fragments import Option, dropped, load, parse

pytestmark = pytest.mark.unit


def write(directory: Path, **fragments: str) -> Path:
    for name, text in fragments.items():
        (directory / f"{name}.config").write_text(text)
    return directory


def test_the_later_fragment_counts(tmp_path: Path) -> None:
    where = write(tmp_path, a="CONFIG_X=y\nCONFIG_Y=1\n", b="# a remark\n\n# CONFIG_X is not set\n")
    merged = load(where, ["a", "b"])
    assert merged.text == "CONFIG_Y=1\n# CONFIG_X is not set\n"
    assert merged.options[1].origin == "b.config:3"


def test_the_digest_is_of_the_request_alone(tmp_path: Path) -> None:
    where = write(
        tmp_path, a="CONFIG_X=y\nCONFIG_Y=1\n", b="# why\nCONFIG_Y=1\nCONFIG_X=y\n", c="CONFIG_X=n"
    )
    assert load(where, ["a"]).digest == load(where, ["b"]).digest
    assert load(where, ["a"]).digest != load(where, ["a", "c"]).digest


def test_a_fragment_that_does_not_exist(tmp_path: Path) -> None:
    where = write(tmp_path, guest="CONFIG_X=y\n")
    with pytest.raises(UserError) as caught:
        load(where, ["gest"])
    assert str(tmp_path / "gest.config") in caught.value.where
    assert "guest" in caught.value.why
    assert "did you mean 'guest'" in caught.value.hint


@pytest.mark.parametrize("line", ["X=y", "CONFIG_X", "CONFIG_X =y", "config_x=y"])
def test_a_line_that_is_not_an_option(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, a=f"CONFIG_A=y\n{line}\n"), ["a"])
    assert caught.value.where.endswith("a.config:2")


def test_what_was_dropped_is_named_with_what_it_got(tmp_path: Path) -> None:
    request = "CONFIG_A=y\nCONFIG_B=0x10\nCONFIG_C=y\n# CONFIG_D is not set\nCONFIG_E=5\n"
    merged = load(write(tmp_path, a=request), ["a"])
    got = "CONFIG_A=m\nCONFIG_B=16\n# CONFIG_C is not set\nCONFIG_D=y\nCONFIG_E=5\n"
    assert [(option.name, option.value, value) for option, value in dropped(merged, got)] == [
        ("A", "y", "m"),
        ("C", "y", "n"),
        ("D", "n", "y"),
    ]


def test_an_option_that_is_absent_counts_as_not_set(tmp_path: Path) -> None:
    merged = load(write(tmp_path, a="CONFIG_A=y\n# CONFIG_B is not set\n"), ["a"])
    assert [option.name for option, _ in dropped(merged, "")] == ["A"]


def test_parse_reads_both_forms() -> None:
    assert parse('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x y"\n# no option\n') == {
        "A": "y",
        "B": "n",
        "C": '"x y"',
    }


def test_a_suite_asks_for_what_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "a.config").write_text("CONFIG_KVM=y\n# CONFIG_NET is not set\n")
    own = fragments.load(tmp_path, ["a"])
    assert fragments.with_suite(own, "kvm", "CONFIG_KVM=m\n\n# why\n", "kvm/config") == own
    text = "CONFIG_KVM=y\nCONFIG_NET=y\nCONFIG_FUSE_FS=m\nCONFIG_SECCOMP=y\n"
    found = fragments.with_suite(own, "s", text, "s/config")
    assert found.names == ("a", "suite:s")
    # The project's own word on NET stands, and a module that cannot be built in may be missing.
    assert "# CONFIG_NET is not set" in found.text
    assert told(fragments.denied(found, "CONFIG_KVM=y\n")["s"]) == [("SECCOMP", "s/config:4", "n")]
    assert not fragments.dropped(found, "CONFIG_KVM=y\n")
    # What the only suite asks for is a demand.
    assert told(fragments.dropped(found.binding(), "CONFIG_KVM=y\n")) == [
        ("SECCOMP", "s/config:4", "n")
    ]
    with pytest.raises(UserError, match="not an option"):
        fragments.with_suite(own, "s", "KVM=y", "s/config")


def told(missing: list[tuple[Option, str]]) -> list[tuple[str, str, str]]:
    return [(option.name, option.origin, got) for option, got in missing]


def test_each_suite_is_denied_what_it_asked_for_itself(tmp_path: Path) -> None:
    own = load(write(tmp_path, a="CONFIG_KVM=y\n"), ["a"])
    found = own
    for suite, text in {
        "one": "CONFIG_NET_NS=y\nCONFIG_HZ=250\n",
        "two": "CONFIG_NET_NS=y\n",
        "three": "CONFIG_HZ=1000\nCONFIG_NET_NS=m\n",
        "four": "CONFIG_KVM=y\nCONFIG_HZ=250\n",
    }.items():
        found = fragments.with_suite(found, suite, text, f"{suite}/config")
    assert found.names == ("a", "suite:one")
    assert found.text == "CONFIG_KVM=y\nCONFIG_NET_NS=y\nCONFIG_HZ=250\n"
    denied = fragments.denied(found, "CONFIG_KVM=y\nCONFIG_HZ=250\n")
    assert {suite: told(missing) for suite, missing in denied.items()} == {
        "one": [("NET_NS", "one/config:1", "n")],
        "two": [("NET_NS", "two/config:1", "n")],
        "three": [("HZ", "three/config:1", "250")],
    }
    # The user's own demand is nothing that a suite could be denied.
    assert told(fragments.dropped(found, "")) == [("KVM", "a.config:1", "n")]


def test_what_the_project_has_for_a_suite_is_a_wish_of_it(tmp_path: Path) -> None:
    text = "CONFIG_KVM=y\n# CONFIG_NET is not set\nCONFIG_HZ=250\n"
    where = write(tmp_path, a="CONFIG_KVM=y\nCONFIG_NET=y\n", s=text)
    found = fragments.with_companion(load(where, ["a"]), "s", load(where, ["s"]))
    found = fragments.with_suite(found, "s", "CONFIG_HZ=1000\nCONFIG_NEW=y\n", "s/config")
    assert found.names == ("a", "s", "suite:s")
    assert sorted(found.text.splitlines()) == [
        "# CONFIG_NET is not set",
        "CONFIG_HZ=250",
        "CONFIG_KVM=y",
        "CONFIG_NEW=y",
    ]
    assert told(fragments.dropped(found, "")) == [("KVM", "a.config:1", "n")]
    assert told(fragments.denied(found, "CONFIG_NET=y\n")["s"]) == [
        ("NET", "s.config:2", "y"),
        ("HZ", "s.config:3", "n"),
        ("NEW", "s/config:2", "n"),
    ]
