"""The workflow's job graph with nothing in it: what Snakemake itself costs for this shape."""

# same rules, files and jobs as ours for videos of one's own, encoders that the run trains, and the
# two stages of the demo; no functions, parameters, resources, logs or benchmarks
BARE = """
S = [f"{k:04d}" for k in range(config["num_shards"])]
STAGES = ["stage1", "stage2"]
R = "results/bench"

rule all:
    input: f"{R}/report/index.html"

rule ingest_videos:
    input: ancient("videos")
    output: f"{R}/ingest/{{shard}}.parquet"
    shell: "false"

rule detect_scenes:
    input: f"{R}/ingest/{{shard}}.parquet"
    output: f"{R}/scenes/{{shard}}.parquet"
    shell: "false"

rule split_clips:
    input: f"{R}/scenes/{{shard}}.parquet"
    output: f"{R}/clips/{{shard}}.parquet"
    shell: "false"

rule caption_clips:
    input: f"{R}/clips/{{shard}}.parquet"
    output: f"{R}/captions/{{shard}}.parquet"
    shell: "false"

rule score_clips:
    input: f"{R}/clips/{{shard}}.parquet"
    output: f"{R}/scores/technical/{{shard}}.parquet", f"{R}/scores/flow/{{shard}}.parquet"
    shell: "false"

rule score_captions:
    input: f"{R}/clips/{{shard}}.parquet", f"{R}/captions/{{shard}}.parquet", f"{R}/models/clip"
    output: f"{R}/scores/match/{{shard}}.parquet"
    shell: "false"

rule train_vae:
    input: ancient(expand(f"{R}/clips/{{s}}.parquet", s=S))
    output: directory(f"{R}/models/vae")
    shell: "false"

rule train_clip:
    input: ancient(expand(f"{R}/{{d}}/{{s}}.parquet", d=["clips", "captions"], s=S))
    output: directory(f"{R}/models/clip")
    shell: "false"

rule train_text_encoder:
    input: ancient(expand(f"{R}/captions/{{s}}.parquet", s=S))
    output: directory(f"{R}/models/text_encoder")
    shell: "false"

rule index_tables:
    input:
        expand(f"{R}/{{d}}/{{s}}.parquet", d=["ingest", "scenes", "clips", "captions"], s=S),
        expand(f"{R}/scores/{{d}}/{{s}}.parquet", d=["technical", "flow", "match"], s=S),
    output: f"{R}/tables.json"
    shell: "false"

rule build_manifest:
    input: f"{R}/tables.json"
    output:
        expand(f"{R}/manifest/{{s}}.parquet", s=S),
        f"{R}/manifest/index.json",
        expand(f"{R}/{{name}}", name=["rejected.csv", "funnel.json", "data_card.md"]),
    shell: "false"

rule assign_buckets:
    input: f"{R}/manifest/index.json"
    output:
        f"{R}/buckets/{{stage}}/plan.parquet",
        f"{R}/buckets/{{stage}}/validation.parquet",
        f"{R}/buckets/{{stage}}/left_out.parquet",
        f"{R}/buckets/{{stage}}/summary.json",
        [f"{R}/buckets/{{stage}}/{s}.parquet" for s in S],
    shell: "false"

rule encode_videos:
    input: [f"{R}/buckets/{stage}/{{shard}}.parquet" for stage in STAGES], f"{R}/models/vae"
    output: [f"{R}/latents/{stage}/{{shard}}.parquet" for stage in STAGES]
    shell: "false"

rule encode_captions:
    input: f"{R}/manifest/{{shard}}.parquet", f"{R}/models/text_encoder"
    output: f"{R}/embeddings/{{shard}}.parquet"
    shell: "false"

rule settle_plan:
    input:
        f"{R}/manifest/index.json",
        f"{R}/buckets/{{stage}}/plan.parquet",
        f"{R}/buckets/{{stage}}/left_out.parquet",
        [f"{R}/latents/{{stage}}/{s}.parquet" for s in S],
        [f"{R}/embeddings/{s}.parquet" for s in S],
    output:
        f"{R}/buckets/{{stage}}/settled.parquet",
        f"{R}/buckets/{{stage}}/rejected.csv",
        f"{R}/buckets/{{stage}}/ledger.json",
    shell: "false"

rule train:
    input:
        f"{R}/buckets/{{stage}}/settled.parquet",
        [f"{R}/latents/{{stage}}/{s}.parquet" for s in S],
        [f"{R}/embeddings/{s}.parquet" for s in S],
        lambda w: [f"{R}/train/stage1/ema.safetensors"] if w.stage == "stage2" else [],
    output:
        f"{R}/train/{{stage}}/model.safetensors",
        f"{R}/train/{{stage}}/ema.safetensors",
        f"{R}/train/{{stage}}/config.py",
        f"{R}/train/{{stage}}/metrics.jsonl",
        f"{R}/train/{{stage}}/rejected.csv",
    shell: "false"

rule sample:
    input:
        f"{R}/train/{{stage}}/ema.safetensors", "prompts.txt",
        f"{R}/models/vae", f"{R}/models/text_encoder",
    output: f"{R}/samples/{{stage}}/samples.csv"
    shell: "false"

rule evaluate:
    input:
        f"{R}/samples/{{stage}}/samples.csv", f"{R}/manifest/index.json",
        f"{R}/models/vae", f"{R}/models/clip",
    output: f"{R}/evaluation/{{stage}}.json"
    shell: "false"

rule report:
    input:
        f"{R}/evaluation/stage2.json", f"{R}/samples/stage2/samples.csv", f"{R}/funnel.json",
        expand(f"{R}/buckets/{{stage}}/ledger.json", stage=STAGES),
        expand(f"{R}/buckets/{{stage}}/summary.json", stage=STAGES),
        expand(f"{R}/train/{{stage}}/{{name}}", stage=STAGES, name=["metrics.jsonl", "config.py"]),
        expand(f"{R}/latents/{{stage}}/{{s}}.parquet", stage=STAGES, s=S),
        f"{R}/manifest/index.json",
        expand(f"{R}/scores/{{d}}/{{s}}.parquet", d=["technical", "flow", "match"], s=S),
        expand(f"{R}/models/{{name}}", name=["vae", "clip", "text_encoder"]),
    output: f"{R}/report/index.html"
    shell: "false"
"""
