"""Find, probe, hash and shard the videos."""

LISTINGS = listings()


rule ingest_videos:
    """Probe the files of one shard: a row for each, readable or not."""
    input:
        # a folder's own time changes with every file in it; the listing tells whose shard it is
        (video_files() if config["demo"] else ancient(plain_names(video_files()))),
    output:
        videos=f"{RUN}/ingest/{{shard}}.parquet",
    log:
        f"logs/ingest_videos/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/ingest_videos/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("ingest_videos")
    resources:
        mem_mb=asks.mem_mb("ingest_videos"),
        runtime=asks.runtime("ingest_videos"),
    params:
        identity=identity(
            version=VERSIONS["ingest_videos"],
            videos=videos(),
            num_shards=config["num_shards"],
            listing=lambda wildcards: LISTINGS[int(wildcards.shard)],
        ),
        videos=as_given(videos()),
        shard=lambda wildcards: int(wildcards.shard),
        num_shards=config["num_shards"],
        known=SHARD_LISTING,
    shell:
        "opensora ingest-videos {params.videos:q} --output {output.videos} --shard {params.shard} "
        "--num-shards {params.num_shards} --listing {params.known:q} --workers {threads} --job-log {log} >> {log} 2>&1"
