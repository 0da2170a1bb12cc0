# SPDX-License-Identifier: GPL-2.0-only
"""Variants of a kernel side by side: on the screen, in Markdown, and on a page with plots."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from harness.judge.variants import Comparison, Figure, Row, Size, Variant
from harness.model.metrics import amount
from harness.report.text import Span, columns, count, one_line, pad

Line = list[Span]

_MOST_NAMES = 4
_BAR = 420
_HEAD = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Variants</title>
<style>
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 1rem auto; padding: 0 1rem; max-width: 75rem;
	background: light-dark(#fff, #15181c); color: light-dark(#1b1f24, #e3e7ec);
	overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { border: 1px solid light-dark(#d5d9de, #39414a); padding: .2rem .6rem; text-align: left; }
a { color: light-dark(#0b57a8, #7db8ff); }
.bad { color: light-dark(#b3161b, #ff7b72); }
.good { color: light-dark(#116329, #5bc47a); }
.plot { overflow-x: auto; }
.plot text { fill: currentColor; }
.right { fill: light-dark(#4878a8, #5b8fc4); }
.wrong { fill: light-dark(#d8b0b0, #6b4a4a); }
@media print { :root { color-scheme: light; } }
</style></head><body>
<h1>Variants</h1><table><tr><th>variant<th>patch<th>correct</tr>"""


def size_text(size: Size) -> str:
    """Return the size of a variant's own patches as text."""
    if not size.patches:
        return "no patch"
    return f"{count(size.files, 'file')}, +{size.added} -{size.removed}"


def state(variant: Variant) -> str:
    """Return whether a variant works, in a few words."""
    if variant.reason:
        return "not built"
    if variant.wrong:
        return f"fails {len(variant.wrong)}"
    if not variant.skipped:
        return "passes all" if variant.passed else "nothing tried"
    return f"passes {variant.passed}, skips {len(variant.skipped)}"


def figure_text(figure: Figure | None) -> str:
    """Return a figure with its difference to the first variant."""
    if figure is None:
        return "-"
    text = amount(figure.value)
    if figure.percent is not None:
        text += f" ({figure.percent:+.2f} %"
        if figure.low is not None and figure.high is not None:
            text += f", {figure.low:+.2f} to {figure.high:+.2f}"
        elif not figure.exact:
            text += ", scatters"
        text += ")"
    elif figure.difference:
        text += f" ({figure.difference:+,.0f})"
    if figure.rank:
        text += f" #{figure.rank}"
    return f"{text} [{figure.note}]" if figure.note else text


def told(found: Comparison) -> Iterator[Line]:
    """Yield the comparison for the screen: variants, then a block for each metric of a test."""
    wide = max([7, *(columns(one_line(each.name)) for each in found.variants)])
    sizes = max([5, *(len(size_text(each.size)) for each in found.variants)])
    yield [(f"{'variant':<{wide}}  {'patch':<{sizes}}  correct", "dim")]
    for variant in found.variants:
        style = "good" if variant.right else "bad"
        line: Line = [(f"{pad(one_line(variant.name), wide)}  ", "bold")]
        line += [(f"{size_text(variant.size):<{sizes}}  ", ""), (state(variant), style)]
        why = variant.reason or _names(variant)
        yield [*line, (f": {one_line(why)}", "")] if why else line
    for row in found.rows:
        yield []
        better = f", {row.better} is better" if row.better else ""
        yield [(f"{one_line(row.test)}  {row.metric}", "bold"), (f"  {row.unit}{better}", "dim")]
        for variant, figure in zip(found.variants, row.figures, strict=True):
            style = "" if variant.right else "dim"
            yield [(f"  {pad(one_line(variant.name), wide)}  {figure_text(figure)}", style)]
    for note in found.notes:
        yield [("note: ", "warn"), (one_line(note), "")]
    if any(not variant.right for variant in found.variants):
        yield []
        yield [("A variant that does not pass all tests is not ranked.", "dim")]


def _names(variant: Variant) -> str:
    """Return the first failed tests of a variant, or else the first skipped ones."""
    names = variant.wrong or variant.skipped
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def markdown(found: Comparison) -> str:
    """Return the comparison as tables in Markdown."""
    lines = ["| variant | patch | correct |", "|---|---|---|"]
    for variant in found.variants:
        why = variant.reason or _names(variant)
        text = f"{state(variant)}: {why}" if why else state(variant)
        lines.append(f"| {_cell(variant.name)} | {size_text(variant.size)} | {_cell(text)} |")
    for test in dict.fromkeys(row.test for row in found.rows):
        rows = [row for row in found.rows if row.test == test]
        heads = [f"{row.metric} ({row.unit})" for row in rows]
        lines += ["", f"### {_cell(test)}", ""]
        lines.append(f"| variant | {' | '.join(map(_cell, heads))} |")
        lines.append("|---" * (len(rows) + 1) + "|")
        for number, variant in enumerate(found.variants):
            cells = [_cell(figure_text(row.figures[number])) for row in rows]
            lines.append(f"| {_cell(variant.name)} | {' | '.join(cells)} |")
    lines += ["", *(f"Note: {_cell(note)}" for note in found.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    """Return *text* for a table: what Markdown or HTML could read is written as a reference."""
    line = one_line(text, 300)
    return "".join(f"&#{ord(char)};" if char in "|<>&`*_[]\\~" else char for char in line)


def page(found: Comparison, graphs: dict[str, str]) -> str:
    """Return the comparison as a page with a plot of each metric.

    *graphs* has links to differential flame graphs by the text of the link.
    """
    parts = [_HEAD]
    for variant in found.variants:
        why = variant.reason or _names(variant)
        text = f"{state(variant)}: {why}" if why else state(variant)
        css = "good" if variant.right else "bad"
        parts.append(
            f"<tr><td>{_html(variant.name)}<td>{size_text(variant.size)}"
            f'<td class="{css}">{_html(text)}</tr>'
        )
    parts.append("</table>")
    for row in found.rows:
        parts.append(f"<h2>{_html(row.test)}: {_html(row.metric)}</h2>")
        parts.append(f'<div class="plot">{plot(row, found.variants)}</div>')
    if graphs:
        parts.append("<h2>What the difference is made of</h2><ul>")
        parts += [
            f'<li><a href="{_html(path)}">{_html(text)}</a></li>' for text, path in graphs.items()
        ]
        parts.append("</ul>")
    parts += [f"<p>Note: {_html(note)}</p>" for note in found.notes]
    return "\n".join([*parts, "</body></html>\n"])


def plot(row: Row, variants: tuple[Variant, ...]) -> str:
    """Return a bar for each variant, as SVG; pale where it is not right.

    The figures stand before the bars: a phone shows the left of a plot.
    """
    top = max([1e-9, *(figure.value for figure in row.figures if figure)])
    figures = [f"{figure_text(each)} {row.unit if each else ''}" for each in row.figures]
    names = 8 * max(len(variant.name) for variant in variants) + 16
    start = names + 8 * max(map(len, figures)) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{start + _BAR}" '
        f'height="{24 * len(variants) + 8}" font-family="monospace" font-size="12">'
    ]
    for number, (variant, figure) in enumerate(zip(variants, row.figures, strict=True)):
        at = 24 * number + 4
        width = _BAR * max(0.0, figure.value) / top if figure else 0
        style = "right" if variant.right else "wrong"
        parts.append(
            f'<text x="0" y="{at + 14}">{_html(variant.name)}</text>'
            f'<text x="{names}" y="{at + 14}">{_html(figures[number])}</text>'
            f'<rect x="{start}" y="{at}" width="{width:.1f}" height="18" class="{style}"/>'
        )
    return "".join([*parts, "</svg>"])


def _html(text: str) -> str:
    return escape(one_line(text))
