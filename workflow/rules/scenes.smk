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
    threads: asks.threads("detect_scenes")
    resources:
        mem_mb=asks.mem_mb("detect_scenes"),
        runtime=asks.runtime("detect_scenes"),
    params:
        identity=identity(version=VERSIONS["detect_scenes"], **config["scenes"]),
        detector=config["scenes"]["detector"],
        threshold=(
            f"--threshold {config['scenes']['threshold']}"
            if config["scenes"]["threshold"]
            else ""
        ),
        min_scene_s=config["scenes"]["min_scene_s"],
        transitions=config["scenes"]["transitions"],
    shell:
        "opensora detect-scenes --videos {input.videos} --output {output.scenes} "
        "--detector {params.detector} {params.threshold} --min-scene-s {params.min_scene_s} "
        "--transitions {params.transitions} --workers {threads} --job-log {log} >> {log} 2>&1"
