"""Labels of a curve's points: none covers a point, a line or another label, at any width."""

from __future__ import annotations

import itertools

import pytest

from s1x.curve import Estimate
from s1x.report.charts import NARROW, WIDE, WIDTH, for_page
from s1x.report.lines import LETTER, LINE_HEIGHT, Area, Line, Mark, labels, lines

#: a curve that crowds at its end, as the laptop's does
CURVE = (
    *(("max 8", 8, 0.3), ("max 16", 16, 3.7), ("max 32", 31.9, 16.3), ("max 48", 45.4, 42.0)),
    *(("max 96", 55.3, 75.7), ("natural", 55.9, 78.3), ("Wait x 1", 70.5, 90.7)),
    *(("Wait x 2", 80.5, 91.7), ("Wait x 4", 100.5, 91.0)),
)
TUNED = Line("tuned", "orange", [Mark(x, Estimate(y), t) for t, x, y in CURVE], labelled=True)
BASE = Line("base", "blue", [Mark(x * 0.9, Estimate(y / 3), t) for t, x, y in CURVE])
LEVEL = Line("direct", "blue", [Mark(0, Estimate(14.7))], level=True)


@pytest.mark.parametrize("width", [NARROW, WIDTH, WIDE])
def test_labels_cover_nothing(width: int) -> None:
    shown = [TUNED, BASE, LEVEL]
    area = Area.of(width, shown)
    placed = labels(area, shown)
    boxes = [
        (x - len(t) * LETTER / 2, y - LINE_HEIGHT / 2, x + len(t) * LETTER / 2, y + LINE_HEIGHT / 2)
        for t, (x, y) in placed
    ]
    assert {"natural", "max 8", "Wait x 4"} <= {text for text, _ in placed}
    points = [area.pixels(m.x, m.y.value or 0.0) for line in (TUNED, BASE) for m in line.marks]
    for box in boxes:
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in points)
        assert box[0] >= 0
        assert box[2] <= width
    for a, b in itertools.combinations(boxes, 2):
        assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_a_label_stands_by_its_own_point() -> None:
    area = Area.of(NARROW, [TUNED])
    points = {m.label: area.pixels(m.x, m.y.value or 0.0) for m in TUNED.marks}
    for text, (x, y) in labels(area, [TUNED]):
        assert abs(points[text][1] - y) < 2 * LINE_HEIGHT
        assert abs(points[text][0] - x) < len(text) * LETTER


def test_hostile_names_stay_text_and_holes_stay_holes() -> None:
    texts = {8: "</svg><script>", 16: "", 32: ""}
    known = {8: 1.0, 16: None, 32: 3.0}
    marks = [Mark(x, Estimate(known[x]), text) for x, text in texts.items()]
    chart = lines("k", "<b>&", "x", "y", [Line("<img onerror=1>" * 30, "orange", marks)])
    text = for_page(chart.svg(), "k")
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>" not in text
    assert text.count('role="graphics-symbol" aria-roledescription="circle"') == 2


def test_a_point_without_thinking_has_no_place_on_a_logarithmic_axis() -> None:
    marks = [Mark(0, Estimate(50.0), "direct"), Mark(None, Estimate(40.0)), Mark(8, Estimate(30.0))]
    line = Line("mixed", "orange", marks, labelled=True)
    assert [x for _, x, _ in line.known] == [8]
    assert "<svg" in lines("k", "t", "tokens", "%", [line]).svg()
