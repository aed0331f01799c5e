"""Deal out of the plan what could not be encoded, and account for every clip."""


rule settle_plan:
    """Settle the plan of one stage and write its ledger."""
    input:
        manifest=PARTITION_INDEX,
        plan=f"{RUN}/buckets/{{stage}}/plan.parquet",
        left_out=f"{RUN}/buckets/{{stage}}/left_out.parquet",
        indexes=lambda wildcards: stored_data(wildcards.stage),
    output:
        plan=f"{RUN}/buckets/{{stage}}/settled.parquet",
        rejected=f"{RUN}/buckets/{{stage}}/rejected.csv",
        ledger=f"{RUN}/buckets/{{stage}}/ledger.json",
    log:
        f"logs/settle_plan/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/settle_plan/{config['run']}/{{stage}}.tsv"
    threads: asks.threads("settle_plan")
    resources:
        mem_mb=asks.mem_mb("settle_plan"),
        runtime=asks.runtime("settle_plan"),
    params:
        identity=identity(version=VERSIONS["settle_plan"]),
        manifest=lambda wildcards, input: MANIFEST,
        indexes=lambda wildcards, input: (
            options(
                latents=f"{RUN}/latents/{wildcards.stage}",
                embeddings=f"{RUN}/embeddings",
            )
            if input.indexes
            else []
        ),
        # a limit decides whether there is a result, not which
        max_rejected=lambda wildcards, input: config["max_rejected"],
    shell:
        "opensora settle-plan --manifest {params.manifest} --plan {input.plan} --left-out {input.left_out} "
        "{params.indexes:q} --max-rejected {params.max_rejected} --settled {output.plan} "
        "--rejected {output.rejected} --ledger {output.ledger} --job-log {log} >> {log} 2>&1"
