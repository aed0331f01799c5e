"""Deal out of the plan what could not be encoded, and account for every clip."""


rule settle_plan:
    """Settle the plan of one stage and write its ledger."""
    input:
        manifest=f"{RUN}/manifest.csv",
        plan=f"{RUN}/buckets/{{stage}}/plan.parquet",
        left_out=f"{RUN}/buckets/{{stage}}/left_out.parquet",
        latents=lambda wildcards: latent_indexes(wildcards.stage),
        embeddings=lambda wildcards: embedding_indexes(wildcards.stage),
    output:
        plan=f"{RUN}/buckets/{{stage}}/settled.parquet",
        rejected=f"{RUN}/buckets/{{stage}}/rejected.csv",
        ledger=f"{RUN}/buckets/{{stage}}/ledger.json",
    log:
        f"logs/settle_plan/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/settle_plan/{config['run']}/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=4_000,
        runtime=60,
    params:
        identity=identity(version=VERSIONS["settle_plan"]),
        indexes=lambda wildcards, input: options(
            latents=list(input.latents), embeddings=list(input.embeddings)
        ),
        # a limit decides whether there is a result, not which
        max_rejected=lambda wildcards, input: config["max_rejected"],
    shell:
        "opensora settle-plan --manifest {input.manifest} --plan {input.plan} --left-out {input.left_out} "
        "{params.indexes:q} --max-rejected {params.max_rejected} --settled {output.plan} "
        "--rejected {output.rejected} --ledger {output.ledger} > {log} 2>&1"
