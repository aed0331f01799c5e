from opensora.report.pictures.seen_chart import seen_chart
from opensora.report.seen import Seen, seen_lines


def ledger(times: list[int]) -> dict:
    some = {"clips": 2, "seconds": 3.0}
    return {
        "seen": [{"times": k, **some} for k in times],
        "max_times": max(times, default=0),
        "never": {
            "no_bucket": {"too_short": {"clips": 1, "seconds": 0.5}},
            "left_over": {"remainder": {"clips": 4, "seconds": 9.0}},
            "rejected": {"too_short": {"clips": 3, "seconds": 1.0}},
        },
        "splits": {"train": some, "validation": some, "test": {"clips": 1, "seconds": 0.0}},
    }


def test_every_line_is_named_and_the_largest_reason_comes_first():
    assert seen_lines(ledger([3, 1])) == [
        Seen("seen", "seen once", 2, 3.0),
        Seen("seen", "seen 3 times", 2, 3.0),
        Seen("never", "never: remainder", 4, 9.0),
        Seen("never", "never: rejected, too short", 3, 1.0),
        Seen("never", "never: too short", 1, 0.5),
        Seen("held out", "validation", 2, 3.0),
        Seen("held out", "test", 1, 0.0),
    ]


def test_many_numbers_of_times_are_put_together_and_none_is_lost():
    lines = [line for line in seen_lines(ledger([*range(1, 101)])) if line.kind == "seen"]
    assert len(lines) == 8
    assert lines[0].label == "seen 1 to 13 times"
    assert lines[-1].label == "seen 92 to 100 times"
    assert sum(line.clips for line in lines) == 200
    assert [line for line in seen_lines(ledger([])) if line.kind == "seen"] == []


def test_the_bars_are_as_long_as_their_seconds_and_say_them():
    chart = str(seen_chart(seen_lines(ledger([1])), label="footage"))
    assert "never: remainder: 9.0 s · 4 clips" in chart
    assert "test: 1 clip<" in chart
    assert chart.startswith("<svg")
    assert seen_chart([], label="") == ""


def test_images_are_drawn_by_their_number():
    lines = [Seen("seen", "seen once", 5, 0.0), Seen("never", "never: remainder", 1, 0.0)]
    assert "seen once: 5 clips" in str(seen_chart(lines, label="footage"))
