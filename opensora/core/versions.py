"""Versions of the steps whose results are kept on disk.

The workflow has them in the identities of its rules: raising one re-runs its rule and what follows,
while an edit that leaves results alone re-runs nothing. After an edit of a stage's code a test asks
which of the two it is: raise the number and run `make versions`, or only run `make versions`, which
states that results are equal. It keeps a hash of the code behind each number in versions.json.
"""

VERSIONS = {
    "make_demo": 3,
    "fetch": 1,
    "ingest_videos": 4,
    "detect_scenes": 4,
    "import_scenes": 2,
    "split_clips": 7,
    "caption_clips": 4,
    "technical": 5,
    "flow": 3,
    "match": 3,
    "phash": 3,
    "aesthetic": 2,
    "camera": 3,
    "ocr": 2,
    "index_tables": 1,
    "build_manifest": 5,
    "import_manifest": 5,
    "assign_buckets": 5,
    "train_vae": 3,
    "train_clip": 2,
    "train_text_encoder": 2,
    "encode_videos": 4,
    "encode_captions": 4,
    "settle_plan": 1,
    "train": 4,
    "sample": 7,
    "evaluate": 6,
    "report": 8,
}
