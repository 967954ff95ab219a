"""Which slices are shown when there are many."""

from kfp_ratchet.components.gate.figures import MOST_SLICES, slices, worst_slices
from kfp_ratchet.components.shared.decision import Check, Interval


def check(name: str, outcome: str, value: float | None) -> Check:
    return Check(name=f"slice {name}", outcome=outcome, reason="", observed=Interval(value=value), bound=0.0)


def test_slice_that_fails_lost_among_those_that_pass():
    passing = [check(f"store={i}", "pass", i / 100) for i in range(500)]
    small = Check(name="slices", outcome="pass", reason="too small to judge: store=501")
    shown = worst_slices([small, *passing, check("store=bad", "fail", 0.9)])
    assert len(shown) == MOST_SLICES
    assert [one.name for one in shown[:3]] == ["slice store=bad", "slice store=0", "slice store=1"]


def test_slices_that_are_too_small_left_out():
    small = Check(name="slices", outcome="pass", reason="too small to judge: a, b")
    assert worst_slices([small, check("c", "pass", 0.1)])[-1] == small


def test_slice_that_fails_told_by_colour_alone():
    drawn = slices([check("a", "fail", -0.1), check("b", "pass", 0.1)])
    assert drawn.count('<span class="note">fails</span>') == 1
    assert drawn.count("<path") == 1
    assert drawn.count("<circle") == 1
