"""Put clips into buckets and compile the batch plan, before any expensive job."""

import json


rule assign_buckets:
    """Assign buckets and compile the plan of one training stage."""
    input:
        manifest=PARTITION_INDEX,
    output:
        plan=f"{RUN}/buckets/{{stage}}/plan.parquet",
        validation=f"{RUN}/buckets/{{stage}}/validation.parquet",
        left_out=f"{RUN}/buckets/{{stage}}/left_out.parquet",
        summary=f"{RUN}/buckets/{{stage}}/summary.json",
        tables=[f"{RUN}/buckets/{{stage}}/{shard}.parquet" for shard in SHARDS],
    log:
        f"logs/assign_buckets/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/assign_buckets/{config['run']}/{{stage}}.tsv"
    priority: 1  # before trainings that take hours: it says of data that fill no batch
    threads: asks.threads("assign_buckets")
    resources:
        mem_mb=asks.mem_mb("assign_buckets"),
        runtime=asks.runtime("assign_buckets"),
    params:
        identity=identity(
            version=VERSIONS["assign_buckets"],
            world_size=lambda wildcards: world_size(wildcards.stage),
            vae_stride=lambda wildcards: [
                *vae_grid().stride,
                *filter(None, [vae_grid().chunk]),
            ],
            num_shards=len(SHARDS),
            # what was made before there were windows stays as it is
            **({"windows": WINDOWS} if WINDOWS > 1 else {}),
            # nor were there sources
            **({"sources": RATES} if RATES else {}),
            config=lambda wildcards: plan_fields(
                stage_config(wildcards),
                seed=config["seed"],
                epochs=STAGE[wildcards.stage]["epochs"],
            ),
        ),
        config=stage_config,
        manifest=lambda wildcards, input: MANIFEST,
        folder=lambda wildcards: f"{RUN}/buckets/{wildcards.stage}",
        num_shards=len(SHARDS),
        # a function, which Snakemake does not compare: it stands in the identity
        windows=lambda wildcards, input: options(
            windows=WINDOWS if WINDOWS > 1 else None
        ),
        # the same
        sources=lambda wildcards, input: options(
            sources=json.dumps(RATES, sort_keys=True) if RATES else None
        ),
        world_size=lambda wildcards: world_size(wildcards.stage),
        # a function of input is not compared: it stands in the identity
        vae_grid=lambda wildcards, input: options(
            vae_stride=list(vae_grid().stride),
            frame_step=vae_grid().frame_step,
            frame_chunk=vae_grid().chunk,
        ),
        seed=config["seed"],
        epochs=lambda wildcards: options(epochs=STAGE[wildcards.stage]["epochs"]),
    shell:
        "opensora assign-buckets {params.config:q} --data-path {params.manifest} "
        "--plan {output.plan} --validation {output.validation} --left-out {output.left_out} --summary {output.summary} "
        "--items {params.folder} --num-shards {params.num_shards} {params.windows} {params.sources:q} "
        "--world-size {params.world_size} {params.vae_grid} --seed {params.seed} "
        "{params.epochs} --job-log {log} >> {log} 2>&1"
