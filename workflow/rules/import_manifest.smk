"""The run enters here with a table of ready clips."""


rule import_manifest:
    """Check the table once; every row is taken or rejected with its reason."""
    input:
        table=watched_layout(config["manifest"]),
        corrections=plain_names(CORRECTIONS),
    output:
        manifest=PARTITIONS,
        index=PARTITION_INDEX,
        rejected=f"{RUN}/rejected.csv",
        funnel=f"{RUN}/funnel.json",
        card=f"{RUN}/data_card.md",
        clips=shard_tables("clips"),
        captions=shard_tables("captions"),
    log:
        f"logs/import_manifest/{config['run']}/all.log",
    benchmark:
        f"benchmarks/import_manifest/{config['run']}/all.tsv"
    threads: asks.threads("import_manifest")
    resources:
        mem_mb=asks.mem_mb("import_manifest"),
        runtime=asks.runtime("import_manifest"),
    params:
        identity=identity(
            version=VERSIONS["import_manifest"],
            root=config["root"],
            num_shards=config["num_shards"],
            validation_fraction=config["validation_fraction"],
            test_fraction=config["test_fraction"],
            **(
                {
                    "layout": lambda wildcards: layout_fields(config),
                    **stamps(CORRECTIONS),
                }
                if config["format"] or Path(config["manifest"]).is_dir()
                else stamps([config["manifest"], *CORRECTIONS])
            ),
        ),
        # a function of input is not compared
        table=lambda wildcards, input: config["manifest"],
        root=as_given(options(root=config["root"], format=config["format"])),
        corrections=as_given(options(corrections=CORRECTIONS)),
        num_shards=config["num_shards"],
        # clips of archives, named by their content
        store=f"{STORE}/unpacked",
        run=lambda wildcards, input: RUN,
        # for people, so it is no output; and a function of input is not compared
        csv_when=lambda wildcards, input: config["manifest_csv"],
        validation=config["validation_fraction"],
        test=config["test_fraction"],
    shell:
        "opensora import-manifest {params.table:q} {params.root:q} {params.corrections:q} "
        "--store {params.store} "
        "--validation-fraction {params.validation} --test-fraction {params.test} "
        "--num-shards {params.num_shards} --manifest {params.run}/manifest "
        "--csv {params.run}/manifest.csv --csv-when {params.csv_when} "
        "--clips {params.run}/clips --captions {params.run}/captions "
        "--rejected {output.rejected} --funnel {output.funnel} --data-card {output.card} "
        "--workers {threads} --job-log {log} >> {log} 2>&1"
