"""A run folder as the pipeline leaves it, with hostile captions and names."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.core.io import write_json, write_text
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST, REJECTED, SAMPLES, SCORES
from opensora.tables.io import write_table

HOSTILE = "<script>alert(\"x\")</script> & 'quotes'"
ATTRIBUTES = ("colour", "shape", "direction")


def score(correct: int, n: int) -> dict:
    return {
        **{"correct": correct, "n": n, "accuracy": correct / n, "low": 0.1, "high": 0.9},
        **{"chance": 0.25, "shuffled": 0.3},
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """`results/tiny` with two samples in one stage."""
    root = tmp_path / "results" / "tiny"
    rows = []
    for k, prompt in enumerate(("a red circle moving left", HOSTILE)):
        write_video(root / "samples" / "stage1" / f"{k}.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8)
        rows.append((f"s{k}", f"{k}.mp4", prompt, k, 2, 16, 16, 8.0))
    samples = pd.DataFrame(rows, columns=list(SAMPLES.columns))
    write_table(samples, root / "samples" / "stage1" / "samples.csv", SAMPLES)
    wanted = {"colour": "red", "shape": "circle", "direction": "left"}
    verdict = {"id": "s0", "prompt": rows[0][2], "split": "heldout", "expected": wanted}
    seen = {"colour": "red", "shape": "square", "direction": None}
    confusion = {"expected": ["red"], "detected": ["red", "none"], "counts": [[1, 0]]}
    scores = {name: score(1, 2) for name in (*ATTRIBUTES, "all")}
    split = {"num_samples": 2, **scores, "confusion": dict.fromkeys(ATTRIBUTES, confusion)}
    following = {"version": 1, "splits": {"heldout": split}, "unmatched": []}
    following["samples"] = [{**verdict, "detected": seen}]
    write_json(
        root / "evaluation" / "stage1.json",
        {
            **{"stage": "stage1", "num_samples": 2, "num_prompts": 2},
            **{"metrics": {"prompt_following": following}, "skipped": {"clipsim": HOSTILE}},
        },
    )
    lines = [{"step": k, "loss": 1 / k, "grad_norm": 1.0, "lr": 0.1} for k in range(1, 9)]
    write_text(
        root / "train" / "stage1" / "metrics.jsonl",
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "lo',
    )
    write_text(root / "train" / "stage1" / "config.py", f"name = '{HOSTILE}'\n")
    clip = {"id": "c0", "path": "c0.mp4", "text": HOSTILE, "split": "train", "sha256": ""}
    numbers = dict.fromkeys(("num_frames", "width", "height", "aspect_ratio", "resolution"), 1)
    more = {"text_len": 1, "fps": 8.0, "source": "v", "start": 0.0, "end": 2.0, "flow": 0.5}
    write_table(
        pd.DataFrame([{**clip, **numbers, **more}]), root / "manifest/0000.parquet", MANIFEST
    )
    flow = pd.DataFrame({"id": ["c0", "c1"], "flow": [0.5, 0.01], "status": "ok", "detail": ""})
    write_table(flow, root / "scores" / "flow" / "0000.parquet", SCORES)
    rejected = [("c1", f"/videos/{HOSTILE}.mp4", "build_manifest", "flow_too_low", HOSTILE)]
    rejected = pd.DataFrame(rejected, columns=list(REJECTED.columns))
    write_table(rejected, root / "rejected.csv", REJECTED)
    write_text(root / "models" / "vae" / "metrics.jsonl", '{"step": 1, "loss": 1.0}\n' * 2)
    seen = {"trained_on": {"clips": 1234, "listing": "0f0f0f0f0f0f"}}
    write_json(root / "models" / "vae" / "psnr.json", {"mean": 30.0, "min": 20.0, **seen})
    some = {"clips": 1, "seconds": 2.0}
    ledger = {"total": some, "splits": {"train": some}, "seen": [{"times": 3, **some}]}
    ledger |= {"max_times": 3, "never": {"no_bucket": {}, "left_over": {}, "rejected": {}}}
    write_json(root / "buckets" / "stage1" / "ledger.json", ledger)
    lost = pd.DataFrame(
        [("c9", "c9.mp4", "train", "corrupt", HOSTILE)], columns=list(REJECTED.columns)
    )
    write_table(lost, root / "train" / "stage1" / "rejected.csv", REJECTED)
    stage = {"stage": "build_manifest", "rows_in": 2, "seconds_in": 6.0, "rows_kept": 1}
    reasons = {"flow_too_low": {"rows": 1, "seconds": 4.0}}
    write_json(
        root / "funnel.json", {"stages": [{**stage, "seconds_kept": 2.0, "reasons": reasons}]}
    )
    return root
