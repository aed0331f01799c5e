"""Versions of the steps whose results are kept on disk.

The workflow passes them as rule parameters: raising one re-runs its rule and what follows,
while an edit that leaves results alone re-runs nothing.
"""

VERSIONS = {
    "make_demo": 2,
    "ingest_videos": 1,
    "detect_scenes": 1,
    "split_clips": 2,
    "caption_clips": 1,
    "technical": 2,
    "flow": 1,
    "match": 1,
    "build_manifest": 1,
    "assign_buckets": 1,
    "train_vae": 1,
    "train_clip": 1,
    "train_text_encoder": 1,
    "encode_videos": 1,
    "encode_captions": 1,
    "train": 1,
    "sample": 1,
    "evaluate": 1,
    "report": 1,
}
