"""Find, probe, hash and shard the videos."""


rule ingest_videos:
    """List every input file, readable or not."""
    input:
        video_files(),
    output:
        videos=f"{RUN}/ingest/videos.csv",
        shards=expand(f"{RUN}/ingest/shards/{{shard}}.csv", shard=SHARDS),
    log:
        f"logs/ingest_videos/{config['run']}/all.log",
    benchmark:
        f"benchmarks/ingest_videos/{config['run']}/all.tsv"
    conda:
        "../../environment.yml"
    threads: config["resources"]["threads"]
    resources:
        mem_mb=4_000,
        runtime=60,
    params:
        version=VERSIONS["ingest_videos"],
        videos=videos(),
        shards=lambda wildcards, output: Path(output.shards[0]).parent,
        num_shards=config["num_shards"],
        listing="" if config["demo"] else listing_hash(videos()),
    shell:
        "opensora ingest-videos {params.videos:q} --output {output.videos} "
        "--shards-dir {params.shards} --num-shards {params.num_shards} --workers {threads} > {log} 2>&1"
