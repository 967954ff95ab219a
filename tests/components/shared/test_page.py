"""The page shell and its figures."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_ratchet.components.shared.charts import (
    Row,
    Series,
    Span,
    bars,
    chosen,
    intervals,
    lines,
    number,
    short_name,
    spans,
)
from kfp_ratchet.components.shared.page import page

HOSTILE = "<script>alert('x')</script>&\"it's\""
floats = st.one_of(st.none(), st.floats())


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def palettes() -> list[dict[str, str]]:
    css = page("t", "").split("<style>")[1]
    roots = re.findall(r":root \{(.*?)\}", css, flags=re.S)[:2]
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", root)) for root in roots]
    assert [len(one) for one in found] == [20, 20]
    return found


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_too_faint_to_read(theme):
    colours = palettes()[theme]
    pairs = [(ink, ground) for ink in ("ink", "muted", "link") for ground in ("bg", "surface")]
    for tone in ("promote", "reject", "inconclusive", "failed", "blocked"):
        pairs += [(tone, "bg"), (tone, f"{tone}-tint"), ("ink", f"{tone}-tint"), ("muted", f"{tone}-tint")]
    for front, back in pairs:
        high, low = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{front} on {back}"


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_mark_too_faint_to_see(theme):
    colours = palettes()[theme]
    for front in ("accent", "second", "muted", "failed", "ink"):
        high, low = sorted((luminance(colours[front]), luminance(colours["bg"])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, f"{front} on bg"


@pytest.mark.parametrize("odd", ["\u202e", "\u2066", "\x00", "\x1b", "\x9b", "\ud800"])
def test_name_that_reorders_the_page_or_cannot_be_written(odd):
    text = page(f"a{odd}b", intervals("t", [Row(f"carrier{odd}=UA", 1.0)]))
    assert odd not in text
    assert text.count(f"[U+{ord(odd):04X}]") == 4
    text.encode()


def test_names_that_only_differ_at_their_ends():
    one, other = (short_name("a_feature_of_many_words_" * 10 + end) for end in ("mean", "maximum"))
    assert len(one) == len(other) == 72
    assert one != other
    assert short_name("distance") == "distance"


def test_page_that_needs_the_network_or_a_script():
    text = page("Report", "<p>body</p>")
    assert text.startswith("<!doctype html>")
    assert not re.search(r"<script|<link|@import|url\(|https?://", text)
    assert 'name="viewport"' in text


def test_title_that_breaks_out():
    text = page(HOSTILE, "")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2


def test_label_that_breaks_out_of_a_figure():
    row = Row(HOSTILE, 1.0, 0.5, 1.5)
    drawn = [
        intervals(HOSTILE, [row], 0.0, HOSTILE, HOSTILE),
        bars(HOSTILE, [row]),
        lines(HOSTILE, [Series(HOSTILE, [(0, 1), (1, 2)])], HOSTILE, HOSTILE, HOSTILE),
        spans(HOSTILE, [Span(HOSTILE, 0.0, 1.0, HOSTILE, HOSTILE)], HOSTILE),
        bars("t", [Row("r", 1.0, note=HOSTILE)]),
    ]
    for figure in drawn:
        assert "<script" not in figure
        ElementTree.fromstring(figure)


@given(st.lists(st.tuples(floats, floats, floats), max_size=4), floats)
def test_number_that_is_drawn_outside_or_as_nan(rows, bound):
    held = [Row("row", *row) for row in rows]
    for figure in (intervals("t", held, bound), bars("t", held)):
        check_drawing(figure)
        if not any(row.value is not None and abs(row.value) <= 1e300 for row in held):
            assert figure == ""


@given(
    st.lists(st.tuples(st.integers(0, 20), floats), max_size=6),
    st.sampled_from(["line", "dots", "rings", "dashed", "marked", "ringed", "faint"]),
    st.lists(st.tuples(st.integers(0, 20), floats, floats), max_size=3),
)
def test_curve_that_is_drawn_outside_or_as_nan(points, style, ends):
    check_drawing(lines("t", [Series("s", points, style, ends)], "x", "y"))


@given(st.lists(st.tuples(floats, floats), max_size=4))
def test_time_that_is_drawn_outside_or_as_nan(times):
    check_drawing(spans("t", [Span("step", start, end, "?") for start, end in times]))


def test_step_of_no_time_that_cannot_be_seen():
    figure = spans("t", [Span("long", 0.0, 600.0, "10 min"), Span("short", 600.0, 600.0, "0.0 s")])
    assert '<rect class="span" x="99.70%" width="0.30%"' in figure
    assert ">10 min</text>" in figure


def test_steps_within_one_millisecond_that_are_not_drawn():
    figure = spans("t", [Span("pin", 0.0, 0.0, "0.0 s"), Span("train", None, None, "from the cache")])
    assert figure.count("<rect") == 1
    assert "from the cache" in figure
    assert spans("t", [Span("train", None, None, "from the cache")]) == ""


def test_step_that_did_not_run_with_a_bar():
    figure = spans("t", [Span("pin", 0.0, 1.0, "1.0 s"), Span("train", None, None, "from the cache")])
    assert figure.count("<rect") == 1
    assert figure.count("from the cache") == 2


@pytest.mark.parametrize(
    "figures",
    [
        [intervals("t", [Row("a", 1.0, note=note), Row("b", 2.0)]) for note in ("", "fails")],
        [spans("t", [Span("a", 0.0, 1.0, "1 s", note)]) for note in ("", "failed")],
    ],
)
def test_what_only_colour_tells(figures):
    plain, odd = (re.sub(r' (?:class|style)="[^"]*"', "", figure) for figure in figures)
    assert plain != odd


def test_curves_that_only_colour_tells_apart():
    styles = ["line", "dashed", "dots", "rings", "marked", "ringed", "faint"]
    figures = [
        re.sub(r"--mark:[^;\"]*", "", lines("t", [Series("s", [(0, 1), (1, 2)], one)], "x", "y")) for one in styles
    ]
    assert len(set(figures)) == len(styles)


def check_drawing(figure: str) -> None:
    if not figure:
        return
    ElementTree.fromstring(figure)
    assert not re.search(r"[\"\s,](nan|inf)", figure)
    places = [float(place) for place in re.findall(r'(?:x1|x2|cx|cy|x|y)="(-?[0-9.e+-]+)%"', figure)]
    assert all(-0.01 <= place <= 100.01 for place in places)


def test_figure_that_a_screen_reader_cannot_read():
    figure = intervals("gain", [Row("candidate", 0.0077, 0.0049, 0.0105)], bound=0.0, bound_label="margin 0")
    image = ElementTree.fromstring(figure).find(".//svg[@role='img']")
    assert image is not None
    assert [child.text for child in image][:2] == ["candidate", "0.0077 [0.0049, 0.0105]"]


def test_missing_value_that_looks_like_zero():
    figure = intervals("t", [Row("a", 1.0, 0.9, 1.1), Row("b", None)])
    assert "not measured" in figure
    assert figure.count("<circle") == 1


def test_curve_that_bridges_a_gap():
    points = [(0, 1.0), (1, 2.0), (2, None), (3, 2.0), (4, 1.0)]
    assert lines("t", [Series("s", points)], "x", "y").count("<polyline") == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.70123, "0.7012"),
        (-0.0021, "\N{MINUS SIGN}0.0021"),
        (336776, "336,776"),
        (24312.0, "24,312"),
        (0.0, "0"),
        (3.14159, "3.142"),
        (12.345, "12.35"),
        (1.2e-7, "1.20e\N{MINUS SIGN}07"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (float("-inf"), "\N{EN DASH}"),
        (True, "True"),
    ],
)
def test_number_in_words(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-7.13e-06, "0.0000"), (6e-05, "0.0001"), (-0.0021, "\N{MINUS SIGN}0.0021"), (0.0, "0")]
)
def test_power_of_ten_among_four_decimals(value, text):
    assert number(value, [value, 0.0049, None]) == text


def test_tiny_numbers_that_all_become_zero():
    assert number(2e-6, [2e-6, 3e-6]) == "2.00e\N{MINUS SIGN}06"
    assert "0.0049 [0.0000, 0.0105]" in intervals("t", [Row("a", 0.0049, -7.13e-06, 0.0105)])


@pytest.mark.parametrize(("last", "shown"), [(1, ["0", "1"]), (0, ["0"]), (3, ["0", "1", "2", "3"])])
def test_axis_of_trials_with_fractions(last, shown):
    figure = lines("t", [Series("s", [(x, 0.5) for x in range(last + 1)], "dots")], "trial", "loss")
    assert re.findall(r'dy="17" text-anchor="middle">([^<]*)<', figure) == shown


def test_bound_with_digits_nobody_wrote():
    assert chosen(-0.02) == "\N{MINUS SIGN}0.02"
    assert chosen(None) == "\N{EN DASH}"
