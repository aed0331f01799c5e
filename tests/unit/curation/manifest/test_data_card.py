import pandas as pd

from opensora.curation.manifest.data_card import data_card
from opensora.curation.manifest.selection import Selection

LOST = {"rows": 1201, "seconds": 3600.0}


def test_the_card_counts_hours_per_licence_and_names_the_rules() -> None:
    manifest = pd.DataFrame(
        {
            "source": ["a.mp4", "a.mp4", "b|c.mp4"],
            "start": [0.0, 10.0, 0.0],
            "end": [1800.0, 1810.0, 5400.0],
            "num_frames": [16, 16, 1],
            "split": ["train", "train", "test"],
            "licence": ["CC-BY", "CC-BY", ""],
            "flow": [1.0, 3.0, 2.0],
        }
    )
    funnel = {
        "stages": [
            {
                **{"stage": "build_manifest", "rows_in": 1204, "rows_kept": 3},
                **{"seconds_kept": 9000.0, "reasons": {"flow_too_low": LOST}},
            }
        ],
        "captions": {"rows_in": 9, "rows_kept": 7, "reasons": {"empty_caption": 2}},
    }
    card = data_card(manifest, funnel, Selection(filters={"flow": {"min": 1}}), ["flow-1"])
    assert "2 video clips and 1 images, 2.5 h of footage from 2 sources" in card
    assert "| CC-BY | 2 | 1 h | 1 |" in card
    assert "| unknown | 1 | 1.5 h | 1 |" in card
    assert "| build_manifest | 1204 | 3 | 2.5 h |" in card
    assert "| build_manifest | flow_too_low | 1,201 | 1 h |" in card
    assert "| captions | empty_caption | 2 |  |" in card
    assert "| filters | `{'flow': {'min': 1}}` |" in card
    assert "| flow | 1.1 | 2 | 2.9 | █····█···█ |" in card
    assert "Corrected" not in card
    funnel |= {"corrections": {"captions": 2, "out": 1, "unknown": []}}
    funnel |= {"replies": {"prompt_tokens": 5000, "completion_tokens": 40, "cost": 0.125}}
    card = data_card(manifest, funnel, Selection(), [])
    assert "Corrected by hand: 2 captions, 1 clips marked out.\n" in card
    assert "took 5,000 tokens of requests and 40 of replies, at a cost of 0.12." in card
