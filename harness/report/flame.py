# SPDX-License-Identifier: GPL-2.0-only
"""Flame graphs as SVG: calls in the kernel; the width of a box is its number of instructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape

from harness.model.cost import Stack
from harness.model.metrics import amount
from harness.visible import visible

_WIDTH = 1200
_ROW = 17
_TOP = 44
_NARROWEST = 0.3
"""The width in pixels below which boxes are left out."""
_CHAR = 7.0


@dataclass
class _Box:
    """A function below its callers."""

    name: str
    before: int = 0
    after: int = 0
    inner: dict[str, _Box] = field(default_factory=dict)


def render(stacks: Mapping[Stack, int], title: str) -> str:
    """Return the flame graph of *stacks*, the outermost function at the bottom."""
    return _draw(_tree({}, stacks), title, "", differs=False)


def render_difference(before: Mapping[Stack, int], after: Mapping[Stack, int], title: str) -> str:
    """Return the flame graph of *after*, coloured by the difference to *before*.

    Red is what takes more instructions than it did, blue what takes fewer; what has gone is not
    drawn, and the title says how much that is.
    """
    gone = sum(count for stack, count in before.items() if stack not in after)
    more = f"{amount(gone)} instructions before are in calls that are gone" if gone else ""
    return _draw(_tree(before, after), title, more, differs=True)


def _tree(before: Mapping[Stack, int], after: Mapping[Stack, int]) -> _Box:
    root = _Box("all")
    for counts, is_after in ((before, False), (after, True)):
        for stack, count in counts.items():
            at = root
            _add(at, count, is_after)
            for name in stack:
                inner = at.inner.get(name)
                if inner is None:
                    inner = at.inner[name] = _Box(name)
                at = inner
                _add(at, count, is_after)
    return root


def _add(box: _Box, count: int, is_after: bool) -> None:
    if is_after:
        box.after += count
    else:
        box.before += count


def _draw(root: _Box, title: str, more: str, *, differs: bool) -> str:
    scale = _WIDTH / max(1, root.after)
    boxes = list(_boxes(root, 0.0, 0, scale))
    depth = max(level for _, _, level in boxes) + 1
    height = _TOP + depth * _ROW + 8
    head = f"{visible(title)}: {amount(root.after)} instructions"
    if differs:
        head += f", {root.after - root.before:+,} ({_percent(root)})"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="11">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="6" y="18" font-size="14">{escape(head)}</text>',
        f'<text x="6" y="34" fill="#666">{escape(more)}</text>',
    ]
    for box, left, level in boxes:
        parts.append(_rect(box, left, height - 8 - (level + 1) * _ROW, scale, root, differs))
    return "\n".join([*parts, "</svg>\n"])


def _boxes(box: _Box, left: float, level: int, scale: float) -> Iterator[tuple[_Box, float, int]]:
    waiting = [(box, left, level)]
    while waiting:
        at, x, depth = waiting.pop()
        yield at, x, depth
        for name in sorted(at.inner):
            inner = at.inner[name]
            if inner.after * scale >= _NARROWEST:
                waiting.append((inner, x, depth + 1))
            x += inner.after * scale


def _rect(box: _Box, left: float, top: int, scale: float, root: _Box, differs: bool) -> str:
    width = box.after * scale
    share = 100 * box.after / max(1, root.after)
    told = f"{visible(box.name)}: {amount(box.after)} instructions, {share:.2f} %"
    if differs:
        told += f"; {box.after - box.before:+,} ({_percent(box)})"
    room = int((width - 4) / _CHAR)
    shown = visible(box.name)
    label = shown if len(shown) <= room else shown[: room - 2] + ".." if room > 4 else ""
    text = f'<text x="{left + 2:.1f}" y="{top + 12}">{escape(label)}</text>' if label else ""
    return (
        f"<g><title>{escape(told)}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.3, 0.2):.1f}" height="{_ROW - 1}" '
        f'fill="{_colour(box, root, differs)}"/>{text}</g>'
    )


def _percent(box: _Box) -> str:
    if not box.before:
        return "new"
    return f"{100 * (box.after - box.before) / box.before:+.2f} %"


def _colour(box: _Box, root: _Box, differs: bool) -> str:
    if not differs:
        # The same function has the same colour in each graph.
        tone = sum(map(ord, box.name)) % 60
        return f"rgb({205 + tone % 50},{120 + 2 * tone % 110},{60 + tone % 30})"
    change = (box.after - box.before) / max(1, root.before, root.after)
    strength = min(1.0, abs(change) * 20)
    if box.after == box.before:
        return "rgb(240,240,240)"
    pale = round(225 - 175 * strength)
    return f"rgb(255,{pale},{pale})" if change > 0 else f"rgb({pale},{pale},255)"
