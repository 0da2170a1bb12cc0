# SPDX-License-Identifier: GPL-2.0-only
"""The page as a person uses it, in a browser: what can be read and clicked, not how it is made."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from harness.judge.compare import compare
from harness.judge.merge import merged, split
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import html, variants
from harness.report.formats import FORMATS, View
from harness.run.job import read_results
from tests.judge.test_variants import compared
from tests.judge.test_variants import results as figures
from tests.matrixrun import Posted, write_matrix
from tests.report import samples as s
from tests.report.browser import Visit, opened_browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A fresh page; a test fails if it did what a report must not do."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(15_000)
    found = Visit(context.new_page())
    found.watch()
    yield found
    context.close()
    assert found.wrongs == []


def show(visit: Visit, place: Path, *runs: r.Results, **named: r.Results) -> Page:
    """Open the page about *runs*, by their names or that of their series."""
    results: Mapping[str, r.Results] = named or {run.kernel.release: run for run in runs}
    # As a run has them: those of several kernels in one.
    page = FORMATS["html"].render(merged(results), View()) if len(results) > 1 else None
    (place / "report.html").write_bytes(page or html.render(results))
    return visit.open(place / "report.html")


def listed(page: Page) -> Locator:
    """Return the names of the tests that are listed, from top to bottom."""
    tests = page.get_by_role("region", name="tests")
    return tests.locator(":scope > details > summary > .name")


def shown(page: Page) -> list[str]:
    """Return what :func:`listed` reads now."""
    return listed(page).all_inner_texts()


def click_test(page: Page, name: str) -> None:
    """Click on the line of the test *name*."""
    page.get_by_role("region", name="tests").get_by_text(name, exact=True).click()


def test_the_verdict_stands_first_and_what_failed_above_what_passed(
    visit: Visit, tmp_path: Path
) -> None:
    page = show(visit, tmp_path, s.ALL)
    assert page.get_by_role("heading", level=1).inner_text().startswith("NOT AS EXPECTED (exit 1)")
    assert page.title().startswith("NOT AS EXPECTED (exit 1)")
    names = shown(page)
    assert sorted(names) == sorted(test.name for test in s.ALL.tests)
    assert names[0] == "mm:crash_test"
    green = {test.name for test in s.ALL.tests if test.outcome.as_expected}
    assert set(names[-len(green) :]) == green
    assert page.get_by_text("KVM was asked for, TCG was used").is_visible()


def test_a_green_run_is_green(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.ALL_PASS)
    assert page.get_by_role("heading", level=1).inner_text().startswith("AS EXPECTED (exit 0)")


def test_outcomes_suites_and_text_are_filters(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.ALL)
    page.get_by_role("button", name=re.compile(r"^timeout \d")).click()
    assert shown(page) == ["kvm:sync_regs_test"]
    page.get_by_role("button", name=re.compile(r"^crash \d")).click()
    assert shown(page) == ["mm:crash_test", "kvm:sync_regs_test"]
    page.get_by_role("button", name="Clear").click()
    assert len(shown(page)) == len(s.ALL.tests)
    page.get_by_role("combobox", name="Suite").select_option("mm")
    assert {name.split(":")[0] for name in shown(page)} == {"mm"}
    page.keyboard.press("Escape")
    # Of a case's output, of a reason, and of a name.
    for words, found in (
        ("Expected 0 (0) == RET", ["kvm:fd_memory_test"]),
        ("no TDX", ["mm:tdx_test"]),
        ("cpuid", ["kvm:cpuid_test"]),
        ("nowhere at all", []),
    ):
        page.get_by_role("searchbox").fill(words)
        expect(listed(page)).to_have_text(found)


def test_a_test_opens_and_shows_its_evidence(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.ALL)
    assertion = page.get_by_text("fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)")
    assert assertion.count() == 0
    click_test(page, "kvm:fd_memory_test")
    assert assertion.is_visible()
    assert page.get_by_text("no huge pages").is_visible()
    assert page.get_by_role("link", name="tests/fd_memory_test/output.log").is_visible()
    click_test(page, "kvm:state_test")
    frame = page.get_by_text("RIP: 0010:restricted_fallocate+0x31/0x80")
    assert frame.is_visible()
    # The kernel's report folds.
    page.get_by_text("what it printed during the test").click()
    assert not frame.is_visible()


def test_the_command_line_is_copied(visit: Visit, tmp_path: Path) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = show(visit, tmp_path, s.ALL)
    click_test(page, "mm:odd_test")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "harness run mm:odd_test --seed=5a5a"


def test_the_keyboard_is_enough(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.ALL)
    for key in ("j", "j", "Enter"):
        page.keyboard.press(key)
    assert page.get_by_text("harness run kvm:sync_regs_test --seed=5a5a").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("cpuid")
    expect(page.get_by_role("status")).to_have_text("1 of 11 tests")
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_have_text("11 of 11 tests")


def test_an_address_names_a_test(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.ALL)
    click_test(page, "mm:odd_test")
    (tmp_path / "link.html").write_bytes((tmp_path / "report.html").read_bytes())
    page.goto("about:blank")
    page.goto((tmp_path / "link.html").as_uri() + "#mm%3Aodd_test")
    assert page.get_by_text("harness run mm:odd_test --seed=5a5a").is_visible()
    visit.wrongs.clear()


def test_the_timeline_shows_when_tests_ran(visit: Visit, tmp_path: Path) -> None:
    tests = tuple(
        msgspec.structs.replace(test, started=f"2026-07-01T03:00:{n:02}.500Z")
        for n, test in enumerate(s.ALL.tests)
    )
    run = msgspec.structs.replace(s.ALL, tests=tests, prepare_s=60.0, tests_s=50.0)
    page = show(visit, tmp_path, run)
    page.get_by_text("Timeline of the run").click()
    # Two tests have no time: they did not run.
    assert page.get_by_text("9 of 11 tests are shown").is_visible()
    bars = {
        name: page.get_by_role("button", name=name, exact=True).bounding_box()
        for name in ("kvm:cpuid_test", "kvm:sync_regs_test")
    }
    first, second = bars["kvm:cpuid_test"], bars["kvm:sync_regs_test"]
    assert first is not None
    assert second is not None
    assert first["x"] < second["x"]
    assert second["width"] > 50 * first["width"]
    page.get_by_role("button", name="kvm:sync_regs_test", exact=True).click()
    assert page.get_by_text("harness run kvm:sync_regs_test --seed=5a5a").is_visible()


def test_attempts_are_counted_and_drawn(visit: Visit, tmp_path: Path) -> None:
    attempts = tuple(
        r.Attempt(outcome=outcome, reason="why it failed" * (outcome is Outcome.FAIL), total_s=0.1)
        for outcome in [Outcome.PASS] * 6 + [Outcome.FAIL]
    )
    test = s.program("a_test", Outcome.FAIL, reason="6/7 passed", attempts=attempts)
    page = show(visit, tmp_path, s.run(test))
    assert page.get_by_text("Attempts: 6/7 passed").is_visible()
    assert page.get_by_role("img", name="seconds of 7 attempts").is_visible()
    assert page.get_by_text("7: why it failed").is_visible()


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)></script><!--<script>"
    "{{ 7 * 7 }} ${alert(3)} \x1b[31mred\x1b[0m \u202egnp.exe\u202c \0 \udc80 \u2028 ' \" ` &lt;"
)


def test_hostile_text_is_text(visit: Visit, tmp_path: Path) -> None:
    test = s.program(
        HOSTILE,
        Outcome.FAIL,
        suite=HOSTILE,
        reason=HOSTILE,
        output=HOSTILE + "x" * 1_000_000,
        kernel_log=HOSTILE,
        rerun=f"harness run {HOSTILE}",
        cases=(r.Case(name=HOSTILE, outcome=Outcome.FAIL, reason=HOSTILE, text=HOSTILE),),
    )
    kernel = r.Kernel(
        release=HOSTILE, source=HOSTILE, base_commit=HOSTILE, series=HOSTILE, patches=(HOSTILE,)
    )
    run = s.run(test, kernel=kernel, notes=(HOSTILE,), command=("harness", HOSTILE))
    page = show(visit, tmp_path, **{HOSTILE: run, "other": run})
    for _ in range(2):
        text = page.locator("body").inner_text()
        assert "<script>alert(1)</script>" in text
        assert r"\x1b[31mred" in text
        assert r"\u202egnp.exe" in text
        assert "{{ 7 * 7 }}" in text
        assert not set(text) & set("\x1b\u202e\0")
        page.get_by_role("button", name=re.compile("fail")).first.click()
    assert page.locator("img").count() == 0
    # A click that reaches everything: what would act has had its chance.
    for each in page.locator("summary").all():
        if each.is_visible():
            each.click()


def test_a_second_sample_of_hostile_text(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, s.HOSTILE_RUN)
    assert r"\x1b[2J\x1b]0;owned" in page.locator("body").inner_text()


def matrix() -> dict[str, r.Results]:
    """A series of four patches of which the third breaks one test; another was always broken."""
    patches = ("mm: Prepare", "mm: Add a field", "KVM: Use the wrong lock", "KVM: Document it")
    runs = {}
    for count in range(len(patches) + 1):
        broken = count >= 3
        runs["base" if count == 0 else f"patch {count}"] = s.run(
            s.program(
                "lock_test",
                Outcome.SPLAT if broken else Outcome.PASS,
                reason="kernel warning: lock held" if broken else "",
                kernel_log=s.WARNING if broken else "",
            ),
            s.program("old_test", Outcome.FAIL, reason="fails everywhere"),
            s.program("fine_test", Outcome.PASS),
            kernel=msgspec.structs.replace(s.KERNEL, patches=patches[:count]),
        )
    return runs


def test_the_guilty_patch_is_found_by_clicking(visit: Visit, tmp_path: Path) -> None:
    page = show(visit, tmp_path, **matrix())
    table = page.get_by_role("table")
    row = table.get_by_role("row").filter(has_text="kvm:lock_test")
    assert [each.strip() for each in row.get_by_role("cell").all_inner_texts()] == [
        "✓ pass",
        "✓ pass",
        "✓ pass",
        "✗ splat",
        "✗ splat",
    ]
    row.get_by_role("button", name="broken here").click()
    sentence = page.get_by_text("Broken by patch 3")
    assert sentence.is_visible()
    assert "KVM: Use the wrong lock" in sentence.inner_text()
    assert "With patch 2: pass" in sentence.inner_text()
    assert page.get_by_text("RIP: 0010:restricted_fallocate+0x31/0x80").is_visible()
    assert page.get_by_role("combobox", name="Kernel").input_value() == "3"
    old = table.get_by_role("row").filter(has_text="kvm:old_test")
    assert old.get_by_role("button", name="broken here").count() == 0


def test_a_test_that_is_new_and_fails_is_broken_by_the_patch_that_brings_it(
    visit: Visit, tmp_path: Path
) -> None:
    one = s.run(s.program("new_test", Outcome.FAIL, reason="why"))
    page = show(visit, tmp_path, base=s.run(), first=one)
    row = page.get_by_role("row").filter(has_text="kvm:new_test")
    assert row.get_by_role("cell").first.inner_text() == "\N{EN DASH}"
    row.get_by_role("button", name="broken here").click()
    assert page.get_by_text("With base: not there").is_visible()


# As the run of `harness matrix` over v10+test-vm, whose eighth patch loses a check.
SERIES = [
    "mm/shmem: Introduce F_SEAL_AUTO_ALLOCATE",
    "selftests/memfd: Add tests for it",
    "mm: Add a restricted memfd",
    "KVM: Use kvm_userspace_memory_region_ext",
    "KVM: Extend the memslot",
    "KVM: Add an exit for faults on memory",
    "KVM: Handle page faults for private memory",
    "KVM: Update lpages when attributes change",
    "KVM: Enable private memory",
    "KVM: x86: Add a VM type to test private memory with",
]
ROWS = {
    "restrictedmem:size_test": "---.....FFF",
    "restrictedmem:create_test": "---........",
    "kvm_private_memory:memslot_test": "-----......",
    "kvm_private_memory:exit_test": "------xxxxx".replace("x", "F"),
    "kvm:set_sregs_test": "...........",
    "memfd:memfd_test": "F..........",
    "memfd:late_test": "..N...S....",
}


def test_who_broke_a_test_of_a_whole_matrix_is_found_by_clicking(
    visit: Visit, tmp_path: Path
) -> None:
    """From a journal, as a run leaves it; without knowing the page but by what a person reads."""
    run = write_matrix(tmp_path / "run", [Posted(subject) for subject in SERIES], ROWS)
    (run / "report.html").write_bytes(FORMATS["html"].render(read_results(run), View()))
    page = visit.open(run / "report.html")
    comparison = compare(split(read_results(run)))
    broken = {step.test: step for step in reversed(comparison.broken)}
    assert set(broken) == {
        "restrictedmem:size_test",
        "kvm_private_memory:exit_test",
        "memfd:late_test",
    }
    for name, step in broken.items():
        line = page.get_by_role("table").get_by_role("row").filter(has_text=name)
        line.get_by_role("button", name="broken here").click()
        subject = SERIES[int(step.kernel) - 1]
        assert page.get_by_text(f"Broken by {step.kernel}: {subject}").last.is_visible()
        assert page.get_by_role("combobox", name="Kernel").input_value() == step.kernel
    assert page.get_by_role("button", name="broken here").count() == len(broken)
    page.screenshot(path=tmp_path / "matrix.png")


def test_a_kernel_that_does_not_build_breaks_all_tests_of_its_suites(
    visit: Visit, tmp_path: Path
) -> None:
    rows = {"memfd:one": "..B", "memfd:two": "..B"}
    run = write_matrix(tmp_path / "run", [Posted("mm: Good"), Posted("mm: Does not build")], rows)
    (run / "report.html").write_bytes(FORMATS["html"].render(read_results(run), View()))
    page = visit.open(run / "report.html")
    assert page.get_by_role("button", name="broken here").count() == 2
    page.get_by_role("button", name="broken here").first.click()
    assert page.get_by_text("the kernel does not compile").first.is_visible()


def test_what_base_has_as_well_is_told_from_what_the_series_breaks(
    visit: Visit, tmp_path: Path
) -> None:
    rows = {"memfd:old_test": "FF", "memfd:new_test": ".F", "memfd:good_test": ".."}
    run = write_matrix(tmp_path / "run", [Posted("mm: Break it")], rows, base="base")
    (run / "report.html").write_bytes(FORMATS["html"].render(read_results(run), View()))
    page = visit.open(run / "report.html")
    assert page.get_by_role("heading", name="WORSE THAN BASE (exit 1)").is_visible()
    against = page.get_by_role("region", name="against the base")
    assert against.get_by_text("Regression: 1 case").is_visible()
    assert shown(page)[0] == "memfd:new_test"
    tests = page.get_by_role("region", name="tests")
    line = tests.locator("summary").filter(has_text="memfd:old_test")
    assert "it fails on base as well" in line.inner_text()
    assert line.locator(".outcome").evaluate("each => each.className") == "outcome warn"
    line = tests.locator("summary").filter(has_text="memfd:new_test")
    assert line.locator(".outcome").evaluate("each => each.className") == "outcome bad"
    page.screenshot(path=tmp_path / "against.png", full_page=True)


def test_each_kernel_has_a_line_and_the_table_comes_soon(visit: Visit, tmp_path: Path) -> None:
    """A kernel of a matrix is told from the others by its name and its patch, on a phone too."""
    run = write_matrix(tmp_path / "run", [Posted(subject) for subject in SERIES], ROWS)
    (run / "report.html").write_bytes(FORMATS["html"].render(read_results(run), View()))
    visit.page.set_viewport_size({"width": 1100, "height": 900})
    page = visit.open(run / "report.html")
    line = page.locator("header summary").filter(has_text="8 KVM: Update lpages")
    assert "7 tests: 5 pass, 2 fail" in line.inner_text()
    box = page.get_by_role("table").bounding_box()
    assert box is not None
    assert box["y"] < 900
    line.click()
    assert page.get_by_text("base commit").and_(page.locator(":visible")).count() == 1
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_bisection_marks_the_kernel_that_it_has_found(visit: Visit, tmp_path: Path) -> None:
    """And not one before it, on which nothing could be tested."""
    subjects = ("mm: One", "mm: Does not build", "mm: Break it", "mm: Four")
    rows = {"memfd:it_test": "..BFF"}
    run = write_matrix(tmp_path / "run", [Posted(subject) for subject in subjects], rows)
    found = r.Bisected(
        test="memfd:it_test", first_bad="3", last_good="1", title="mm: Break it", log="git <b>\n"
    )
    results = read_results(run)
    for bisected in ((found,), ()):
        whole = msgspec.structs.replace(results, bisected=bisected, bisection=bool(bisected))
        (run / "report.html").write_bytes(FORMATS["html"].render(whole, View()))
        page = visit.open(run / "report.html")
        section = page.get_by_role("region", name="Bisection")
        assert section.count() == len(bisected)
        if bisected:
            assert "First bad: patch 3, 'mm: Break it'" in section.inner_text()
            assert "fail: size.it" in section.inner_text()
            assert page.get_by_role("heading", level=1).inner_text().startswith("FOUND (exit 0)")
        (button,) = page.get_by_role("button", name="broken here").all()
        button.click()
        assert page.get_by_text("Broken by 3: mm: Break it").is_visible()


def test_a_bisection_knows_better_than_its_table(visit: Visit, tmp_path: Path) -> None:
    """In which a test that fails now and then is broken twice."""
    subjects = ("mm: One", "mm: Two", "mm: Three", "mm: Break it")
    run = write_matrix(
        tmp_path / "run", [Posted(subject) for subject in subjects], {"memfd:it_test": ".F..F"}
    )
    found = r.Bisected(test="memfd:it_test", first_bad="4", last_good="3", title="mm: Break it")
    whole = msgspec.structs.replace(read_results(run), bisected=(found,), bisection=True)
    (run / "report.html").write_bytes(FORMATS["html"].render(whole, View()))
    page = visit.open(run / "report.html")
    page.get_by_role("button", name="broken here").click()
    assert page.get_by_text("Broken by 4: mm: Break it").is_visible()


def test_the_page_of_variants_can_be_read_on_a_phone_and_in_the_dark(browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    try:
        page = context.new_page()
        page.set_content(variants.page(compared(figures(10), figures(20)), {"a graph": "x.svg"}))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        back, text = page.evaluate(
            "['backgroundColor', 'color'].map(each => getComputedStyle(document.body)[each])"
        )
        assert sum(rgb(back)) < sum(rgb(text))
        assert contrast(back, text) > 7
        figure = page.get_by_text("20 (+100.00 %)")
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
        colour = figure.evaluate("each => getComputedStyle(each).fill")
        assert contrast(back, colour) > 7
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_either_scheme_on_a_phone_and_on_paper(
    browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,
    )
    try:
        visit = Visit(context.new_page())
        visit.watch()
        page = show(visit, tmp_path, s.ALL)
        click_test(page, "kvm:state_test")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
        back, text = page.evaluate(
            "['backgroundColor', 'color'].map(each => getComputedStyle(document.body)[each])"
        )
        assert contrast(back, text) > 7
        assert (sum(rgb(back)) > sum(rgb(text))) == (scheme == "light")
        for style in ("good", "warn", "bad"):
            shade = page.locator(f"summary .{style}").first
            colour = shade.evaluate("each => getComputedStyle(each).color")
            assert contrast(back, colour) > 4.5
        assert len(page.screenshot(full_page=True)) > 10_000
        page.emulate_media(media="print")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert rgb(paper) == [255, 255, 255]
        assert not page.get_by_role("searchbox").is_visible()
        assert page.get_by_text("kvm:cpuid_test", exact=True).is_visible()
    finally:
        context.close()


def rgb(colour: str) -> list[int]:
    """Return the parts of a colour as the browser writes it."""
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [part / 255 for part in rgb(colour)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_without_scripts_the_verdict_and_what_failed_can_be_read(
    browser: Browser, tmp_path: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        (tmp_path / "report.html").write_bytes(html.render({"v10": s.ALL}))
        page.goto((tmp_path / "report.html").as_uri())
        text = page.locator("body").inner_text()
        assert "NOT AS EXPECTED (exit 1)" in text
        assert "kvm:state_test splat" in text
    finally:
        context.close()


def test_a_hundred_thousand_cases_open_at_once(visit: Visit, tmp_path: Path) -> None:
    """In the time of the page's own thread: what other processes do here does not count."""
    (tmp_path / "report.html").write_bytes(html.render({"v10": s.many(100_000)}))
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page = visit.open(tmp_path / "report.html")
    metrics = {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }
    assert metrics["TaskDuration"] < 3
    # The only test that failed is unfolded from the beginning.
    assert page.get_by_text("case_0", exact=True).is_visible()
    # It stays unfolded while the filter changes.
    page.get_by_role("searchbox").fill("case_99990")
    expect(page.get_by_text("99999 hidden by the filter")).to_be_visible()
    expect(page.get_by_text("case_99990", exact=True)).to_be_visible()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Show more (99800 left)").click()
    assert page.get_by_text("case_3990", exact=True).is_visible()


def test_a_click_in_a_large_page_is_answered(visit: Visit, tmp_path: Path) -> None:
    tests = [s.program(f"t{n}_test", Outcome.PASS) for n in range(30_000)]
    page = show(visit, tmp_path, s.run(*tests, s.program("bad_test", Outcome.FAIL)))
    assert shown(page)[0] == "kvm:bad_test"
    page.get_by_role("button", name="Show more").click()
    assert len(shown(page)) == 400
    start = time.process_time()
    page.get_by_role("searchbox").fill("t29999_test")
    expect(page.get_by_role("status")).to_have_text("1 of 30001 tests")
    assert time.process_time() - start < 5
