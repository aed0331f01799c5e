"""The run enters here with a table of ready clips."""


rule import_manifest:
    """Check the table once; every row is taken or rejected with its reason."""
    input:
        table=config["manifest"],
    output:
        manifest=f"{RUN}/manifest.csv",
        rejected=f"{RUN}/rejected.csv",
        funnel=f"{RUN}/funnel.json",
        card=f"{RUN}/data_card.md",
        clips=f"{RUN}/clips/0000.csv",
        captions=f"{RUN}/captions/0000.csv",
    log:
        f"logs/import_manifest/{config['run']}/all.log",
    benchmark:
        f"benchmarks/import_manifest/{config['run']}/all.tsv"
    conda:
        "../../environment.yml"
    threads: config["resources"]["threads"]
    resources:
        mem_mb=4_000,
        runtime=240,
    params:
        identity=identity(
            version=VERSIONS["import_manifest"],
            root=config["root"],
            validation_fraction=config["validation_fraction"],
            test_fraction=config["test_fraction"],
        ),
        root=options(root=config["root"]),
        validation=config["validation_fraction"],
        test=config["test_fraction"],
    shell:
        "opensora import-manifest {input.table:q} {params.root:q} "
        "--validation-fraction {params.validation} --test-fraction {params.test} "
        "--manifest {output.manifest} --rejected {output.rejected} --funnel {output.funnel} "
        "--data-card {output.card} --clips {output.clips} --captions {output.captions} "
        "--workers {threads} > {log} 2>&1"
