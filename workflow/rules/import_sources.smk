"""Ready clips of sources, before they join those that are cut."""

SOURCE = {source["name"]: source for source in READY}


rule import_manifest:
    """Check the clips of a source once; every row is taken or rejected with its reason."""
    input:
        table=lambda wildcards: watched_layout(SOURCE[wildcards.source]["manifest"]),
        corrections=plain_names(CORRECTIONS),
    output:
        index=f"{IMPORTED}/{{source}}/manifest/index.json",
        rejected=f"{IMPORTED}/{{source}}/rejected.csv",
        funnel=f"{IMPORTED}/{{source}}/funnel.json",
        clips=f"{IMPORTED}/{{source}}/clips.parquet",
        captions=f"{IMPORTED}/{{source}}/captions.parquet",
        partitions=[
            f"{IMPORTED}/{{source}}/manifest/{shard:04d}.parquet"
            for shard in range(config["num_shards"])
        ],
    log:
        f"logs/import_manifest/{config['run']}/{{source}}.log",
    benchmark:
        f"benchmarks/import_manifest/{config['run']}/{{source}}.tsv"
    wildcard_constraints:
        source="|".join(SOURCE),
    threads: asks.threads("import_manifest")
    resources:
        mem_mb=asks.mem_mb("import_manifest"),
        runtime=asks.runtime("import_manifest"),
    params:
        identity=identity(
            version=VERSIONS["import_manifest"],
            num_shards=config["num_shards"],
            test_fraction=config["test_fraction"],
            **stamps(CORRECTIONS),
            source=lambda wildcards: {
                **{
                    field: SOURCE[wildcards.source][field]
                    for field in ("manifest", "root", "licence", "validation_fraction")
                },
                **layout_fields(SOURCE[wildcards.source]),
            },
        ),
        # functions of input: not compared, for they stand in the identity
        table=lambda wildcards, input: SOURCE[wildcards.source]["manifest"],
        options=lambda wildcards, input: options(
            root=SOURCE[wildcards.source]["root"],
            format=SOURCE[wildcards.source]["format"],
            licence=SOURCE[wildcards.source]["licence"],
            validation_fraction=SOURCE[wildcards.source]["validation_fraction"],
            test_fraction=config["test_fraction"],
            corrections=CORRECTIONS,
        ),
        num_shards=config["num_shards"],
        # clips of archives, named by their content
        store=f"{STORE}/unpacked",
        folder=lambda wildcards, input: f"{IMPORTED}/{wildcards.source}",
    shell:
        "opensora import-manifest {params.table:q} {params.options:q} --store {params.store} "
        "--source-name {wildcards.source} --num-shards {params.num_shards} "
        "--manifest {params.folder}/manifest --rejected {output.rejected} "
        "--funnel {output.funnel} --clips {output.clips} --captions {output.captions} "
        "--workers {threads} --job-log {log} >> {log} 2>&1"
