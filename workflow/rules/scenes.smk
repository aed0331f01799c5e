"""Find the cuts."""


rule detect_scenes:
    """Cut the time line of every video of a shard into scenes."""
    input:
        videos=f"{RUN}/ingest/{{shard}}.parquet",
    output:
        scenes=f"{RUN}/scenes/{{shard}}.parquet",
    log:
        f"logs/detect_scenes/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/detect_scenes/{config['run']}/{{shard}}.tsv"
    wildcard_constraints:
        shard=scene_shards("found"),
    threads: asks.threads("detect_scenes")
    resources:
        mem_mb=asks.mem_mb("detect_scenes"),
        runtime=asks.runtime("detect_scenes"),
    params:
        identity=identity(version=VERSIONS["detect_scenes"], **of_source("scenes")),
        detector=from_source("scenes", "detector"),
        threshold=lambda wildcards: " ".join(
            options(threshold=source_of(wildcards)["scenes"]["threshold"])
        ),
        min_scene_s=from_source("scenes", "min_scene_s"),
        transitions=from_source("scenes", "transitions"),
    shell:
        "opensora detect-scenes --videos {input.videos} --output {output.scenes} "
        "--detector {params.detector} {params.threshold} --min-scene-s {params.min_scene_s} "
        "--transitions {params.transitions} --workers {threads} --job-log {log} >> {log} 2>&1"
