import pandas as pd

from opensora.report.pictures.watched import watched_curves

BANDS = ("0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00")


def line(step: int) -> dict:
    found = {
        **{"step": step, "tokens_per_s": 9.0 + step, "mfu": None, "data_wait_s": 0.1},
        **{"memory_gb": 2.0, "loss_by_bucket": {"a": 1.0}},
        "loss_by_band": {name: step + k for k, name in enumerate(BANDS)} | {BANDS[0]: None},
    }
    if step % 2 == 0:
        found |= {"held_out_loss": 0.5, "held_out_loss_by_bucket": {f"{k}": 1.0 for k in range(6)}}
    return found


def test_every_number_that_is_watched_has_a_chart_with_a_key():
    figures = {figure.title: figure for figure in watched_curves(pd.DataFrame(map(line, range(9))))}
    assert list(figures) == [
        *("Loss by noise, running mean", "Held-out loss", "Held-out loss by size"),
        *("Tokens a second", "Seconds waited for data, a line", "Peak memory, GB"),
    ]  # one size alone is the whole, and a CPU has no utilisation
    key = figures["Loss by noise, running mean"].legend
    assert [name for _, name in key] == list(BANDS[1:])
    assert figures["Held-out loss by size"].note == "and 2 more"
    assert figures["Held-out loss"].note == "0.500 at the end"


def test_a_run_of_before_has_none_of_them():
    assert watched_curves(pd.DataFrame([{"step": 1, "loss": 1.0}])) == []
