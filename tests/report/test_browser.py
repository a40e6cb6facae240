"""The page in a real browser: no errors, filters work, a model's text never runs as script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
import report_world as world

from s1x import report

pytestmark = pytest.mark.browser

TEX = (
    r"Let $f(x)=\frac{{x^2-1}}{{x-1}}$; it costs \$5, or $6 and $7. "
    r"Then \boxed{{\sqrt{{{a}}}}} $\nosuch{{1}}$ $\href{{javascript:alert(1)}}{{x}}$"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.find() is None:
        pytest.skip("Chromium is not on this machine")
    folder = tmp_path_factory.mktemp("browser")
    made = world.run(
        folder / "run",
        [
            world.Benchmark(num_problems=40, hostile=True),
            world.Benchmark("math500", 12, question=TEX, domains=("Algebra",)),
        ],
    )
    context = world.context(made, name="s1k" + world.HOSTILE, notes=[world.HOSTILE], tokenizers={})
    report.run(context, made.evaluations, made.selection, made.training, folder / "out")
    with chromium.browser(folder / "profile") as opened:
        opened.look(1200, 900)
        opened.open(folder / "out" / "report.html")
        # traces and charts start as they come near; here all at once
        opened.look(1200, 20_000)
        opened.wait("window.traceViewer && document.querySelectorAll('.chart svg').length > 5")
        yield opened


def _count(page: chromium.Page) -> int:
    return int(page.run("parseInt(document.querySelector('.count').textContent.replace(',', ''))"))


def _choose(page: chromium.Page, name: str, value: str) -> None:
    page.run(
        f"(s => {{ s.value = {value!r}; s.dispatchEvent(new Event('change')); }})"
        f"(document.querySelector('.filters [name={name}]'))"
    )


def test_opens_without_a_word_on_the_console(page: chromium.Page) -> None:
    assert page.console == []
    charts = page.run("document.querySelectorAll('figure.chart').length")
    drawn = page.run(
        "[...document.querySelectorAll('figure.chart')].filter(f => f.querySelector('svg')).length"
    )
    assert charts == drawn > 5


def test_nothing_injected_runs(page: chromium.Page) -> None:
    page.run("window.traceViewer.list.querySelector('button').click()")
    page.wait("document.querySelectorAll('.pair .said').length >= 2")
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('img').length") == 0
    assert "<img src=x" in page.run("document.querySelector('.pair .question').textContent")
    assert "</script>" in page.run("document.querySelector('h1').textContent")
    # even a script put there by hand does not run: the page's policy knows its own by their hash
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.hacked=2>')")
    page.run(
        "(s => { s.textContent = 'window.hacked=3'; document.body.append(s); })"
        "(document.createElement('script'))"
    )
    page.run("new Promise(done => setTimeout(done, 200))")
    assert page.run("window.hacked") is None
    page.console.clear()


def test_filters_narrow_the_list(page: chromium.Page) -> None:
    everything = _count(page)
    assert everything == (40 + 12) * 13
    _choose(page, "benchmark", "math500")
    assert _count(page) == 12 * 13
    _choose(page, "setting", "Wait x 1")
    assert _count(page) == 12 * 2
    _choose(page, "verdict", "correct")
    right = _count(page)
    assert 0 < right < 24
    assert page.run(
        "[...document.querySelectorAll('.list .verdict')].every(v => v.textContent === 'correct')"
    )
    for name in ("benchmark", "setting", "verdict"):
        _choose(page, name, "")
    _choose(page, "flip", "*")
    assert 0 < _count(page) < everything
    _choose(page, "flip", "")
    assert _count(page) == everything


def test_two_budgets_of_one_problem_stand_side_by_side(page: chromium.Page) -> None:
    _choose(page, "benchmark", "puzzles_hard")
    _choose(page, "setting", "Wait x 2")
    page.run("window.traceViewer.list.querySelector('button').click()")
    page.wait("document.querySelectorAll('.pair article').length === 2")
    page.wait("document.querySelector('.pair article').textContent.includes('Wait x 2')")
    alike = "document.querySelector('.pair article .said .same').textContent"
    assert len(page.run(alike)) > 100, "what both traces begin with is dimmed"
    shown = page.run("document.querySelector('.pair select').selectedOptions[0].textContent")
    assert "Wait x 1" in shown
    page.run(
        "(s => { s.selectedIndex = 0; s.dispatchEvent(new Event('change')); })"
        "(document.querySelector('.pair select'))"
    )
    page.wait("document.querySelector('.pair select').selectedIndex === 0")
    _choose(page, "benchmark", "")
    _choose(page, "setting", "")


def test_a_search_is_drawn_as_a_tree(page: chromium.Page) -> None:
    """A lane for each trace under the one that it was forked from, and its steps' scores."""
    _choose(page, "benchmark", "puzzles_hard")
    _choose(page, "setting", "Wait x 2")
    page.run("window.traceViewer.list.querySelector('button').click()")
    page.wait("document.querySelector('.pair .tree')")
    tree = "document.querySelector('.pair .tree')"
    lanes = page.run(f"[...{tree}.querySelectorAll('g')].map(g => g.getAttribute('class'))")
    assert lanes == ["finished", "chosen", "dropped"]
    words = page.run(f"[...{tree}.querySelectorAll('text')].map(t => t.textContent)")
    assert words == [
        "<img src=x>, weight 0.50, answered",
        "7, weight 0.75, the answer",
        "no answer, dropped",
    ]
    steps = page.run(f"[...{tree}.querySelectorAll('.chosen title')].map(t => t.textContent)")
    assert steps == ["step 2, 25 tokens, score 0.75", "step 3, 40 tokens, score 1.00"]
    assert page.run("document.querySelectorAll('.pair img').length") == 0
    _choose(page, "setting", "natural")
    page.run("window.traceViewer.list.querySelector('button').click()")
    page.wait("document.querySelector('.pair article').textContent.includes('natural')")
    assert page.run("document.querySelectorAll('.pair article:first-of-type .tree').length") == 0
    _choose(page, "benchmark", "")
    _choose(page, "setting", "")


def test_math_is_set_and_prices_are_not(page: chromium.Page) -> None:
    _choose(page, "benchmark", "math500")
    page.run("window.traceViewer.list.querySelector('button').click()")
    page.wait("document.querySelector('.pair .question math')")
    assert page.run("document.querySelectorAll('.pair .question mfrac').length") == 1
    assert page.run("document.querySelectorAll('.pair .question msqrt').length") == 1
    text = page.run("document.querySelector('.pair .question').textContent")
    assert "or $6 and $7" in text
    assert r"\nosuch" in text, "what cannot be set stays as it was written"
    assert page.run("document.querySelectorAll('.pair a').length") == 0
    _choose(page, "math", "")
    page.wait("!document.querySelector('.pair math')")
    _choose(page, "math", "1")
    _choose(page, "benchmark", "")


def test_tooltips_say_what_a_mark_is(page: chromium.Page) -> None:
    chart = "document.querySelector('[data-chart=curve_puzzles_hard]')"
    mark = f"{chart}.querySelector('.desk [aria-label^=\"fine-tuned: natural\"]')"
    page.run(
        f"{mark}.dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: 300, clientY: 300, bubbles: true}))"
    )
    tip = page.run(f"{chart}.querySelector('.tip').textContent")
    assert "fine-tuned: natural" in tip
    assert "95%:" in tip
    assert "thinking tokens" in tip


def test_charts_are_there_without_scripts_and_follow_the_colours(page: chromium.Page) -> None:
    """What a pointer is told is in the SVG; its colours are the page's own."""
    text = page.run("document.querySelector('.hero .desk').innerHTML")
    assert "var(--orange)" in text
    assert "#d9480f" not in text
    page.look(1200, 20_000, dark=True)
    line = "document.querySelector('.hero .desk path[stroke=\"var(--orange)\"]')"
    assert page.run(f"getComputedStyle({line}).stroke") == "rgb(255, 138, 76)"
    page.look(1200, 20_000)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_it_fits_its_window(page: chromium.Page, width: int, dark: bool, tmp_path: Path) -> None:
    page.look(width, 900, dark)
    page.run("new Promise(done => setTimeout(done, 200))")
    assert page.run("document.documentElement.scrollWidth") <= width
    lightness = page.run("getComputedStyle(document.body).backgroundColor")
    assert (lightness == "rgb(255, 255, 255)") is not dark
    page.screenshot(tmp_path / "seen.png")
    assert (tmp_path / "seen.png").stat().st_size > 10_000
    page.look(1200, 20_000)


def test_differences_of_runs_are_drawn(page: chromium.Page, tmp_path: Path) -> None:
    runs = []
    for label, skill in (("s1k", 0.0), ("random_1k", -0.25)):
        folder = world.evaluation(tmp_path / label, world.Benchmark(num_problems=40), skill=skill)
        runs.append({"label": label, "evaluations": [folder]})
    report.run({"runs": runs}, [], None, None, tmp_path / "out")
    page.look(390, 20_000)
    page.open(tmp_path / "out" / "report.html")
    chart = "document.querySelector('[data-chart=differences_puzzles_hard]')"
    words = page.run(f"{chart}.querySelector('svg').textContent")
    assert "random_1k: natural" in words
    assert page.run("document.documentElement.scrollWidth") <= 390
    page.look(1200, 20_000)


def test_console_stayed_silent(page: chromium.Page) -> None:
    assert page.console == []
