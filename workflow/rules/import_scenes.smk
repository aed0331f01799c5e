"""The run enters here with a table of scenes."""


rule import_scenes:
    """Join the table with the videos of a shard: a row for each scene, usable or not."""
    input:
        table=plain_names([config["scenes"]["table"]]),
        videos=f"{RUN}/ingest/{{shard}}.parquet",
    output:
        scenes=f"{RUN}/scenes/{{shard}}.parquet",
    log:
        f"logs/import_scenes/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/import_scenes/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("import_scenes")
    resources:
        mem_mb=asks.mem_mb("import_scenes"),
        runtime=asks.runtime("import_scenes"),
    params:
        identity=identity(
            version=VERSIONS["import_scenes"],
            roots=videos(),
            num_shards=config["num_shards"],
            **stamps([config["scenes"]["table"]]),
        ),
        # a function of input is not compared
        table=lambda wildcards, input: config["scenes"]["table"],
        roots=as_given(videos()),
        shard=lambda wildcards: int(wildcards.shard),
        num_shards=config["num_shards"],
    shell:
        "opensora import-scenes {params.table:q} --videos {input.videos} --roots {params.roots:q} "
        "--shard {params.shard} --num-shards {params.num_shards} --output {output.scenes} "
        "--workers {threads} --job-log {log} >> {log} 2>&1"
