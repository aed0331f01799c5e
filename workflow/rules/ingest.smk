"""Find, probe, hash and shard the videos."""

LISTINGS = [
    files for source in SOURCES if source not in READY for files in listings(source)
]


rule ingest_videos:
    """Probe the files of one shard: a row for each, readable or not."""
    input:
        video_files,
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
            videos=lambda wildcards: videos(source_of(wildcards)),
            num_shards=config["num_shards"],
            listing=lambda wildcards: LISTINGS[int(wildcards.shard)],
            # what a run without `sources` has not
            **({"source": ingested_as} if config["sources"] else {}),
        ),
        videos=lambda wildcards: videos(source_of(wildcards)),
        shard=own_shard,
        num_shards=config["num_shards"],
        known=SHARD_LISTING,
        # a function of input is not compared: it stands in the identity
        named=lambda wildcards, input: options(**ingested_as(wildcards)),
    shell:
        "opensora ingest-videos {params.videos:q} --output {output.videos} --shard {params.shard} "
        "--num-shards {params.num_shards} --listing {params.known:q} {params.named:q} --workers {threads} --job-log {log} >> {log} 2>&1"
