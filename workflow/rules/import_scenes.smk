"""The run enters here with a table of scenes."""

# of several sources each names its table, or a table with a mark that no input can have
SCENE_TABLE = (
    {
        "table": from_source("scenes", "table"),
        "stamps": lambda wildcards: stamps([source_of(wildcards)["scenes"]["table"]]),
    }
    if config["sources"]
    else stamps([config["scenes"]["table"]])
)


rule import_scenes:
    """Join the table with the videos of a shard: a row for each scene, usable or not."""
    input:
        table=lambda wildcards: plain_names([source_of(wildcards)["scenes"]["table"]]),
        videos=f"{RUN}/ingest/{{shard}}.parquet",
    output:
        scenes=f"{RUN}/scenes/{{shard}}.parquet",
    log:
        f"logs/import_scenes/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/import_scenes/{config['run']}/{{shard}}.tsv"
    wildcard_constraints:
        shard=scene_shards("given"),
    threads: asks.threads("import_scenes")
    resources:
        mem_mb=asks.mem_mb("import_scenes"),
        runtime=asks.runtime("import_scenes"),
    params:
        identity=identity(
            version=VERSIONS["import_scenes"],
            roots=lambda wildcards: videos(source_of(wildcards)),
            num_shards=config["num_shards"],
            **SCENE_TABLE,
        ),
        # a function of input is not compared
        table=lambda wildcards, input: source_of(wildcards)["scenes"]["table"],
        roots=lambda wildcards: videos(source_of(wildcards)),
        shard=own_shard,
        num_shards=config["num_shards"],
    shell:
        "opensora import-scenes {params.table:q} --videos {input.videos} --roots {params.roots:q} "
        "--shard {params.shard} --num-shards {params.num_shards} --output {output.scenes} "
        "--workers {threads} --job-log {log} >> {log} 2>&1"
