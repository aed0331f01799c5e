"""Train the diffusion transformer, stage after stage."""


rule train:
    """Train one stage from the weights of the stage before; a stopped job continues."""
    input:
        config=lambda wildcards: in_repository(STAGE[wildcards.stage]["config"]),
        plan=f"{RUN}/buckets/{{stage}}/plan.parquet",
        data=lambda wildcards: training_data(wildcards.stage),
        load=lambda wildcards: (
            f"{RUN}/train/{PREVIOUS_STAGE[wildcards.stage]}/ema.safetensors"
            if wildcards.stage in PREVIOUS_STAGE
            else STAGE[wildcards.stage]["load"] or []
        ),
    output:
        model=f"{RUN}/train/{{stage}}/model.safetensors",
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        config=f"{RUN}/train/{{stage}}/config.py",
        metrics=f"{RUN}/train/{{stage}}/metrics.jsonl",
    log:
        f"logs/train/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/train/{config['run']}/{{stage}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["resources"]["threads"]
    resources:
        mem_mb=16_000,
        runtime=2880,
        nodes=lambda wildcards: STAGE[wildcards.stage]["nodes"],
        gpu=lambda wildcards: STAGE[wildcards.stage]["nodes"]
        * STAGE[wildcards.stage]["gpus"],
    params:
        version=VERSIONS["train"],
        outputs=lambda wildcards: f"{RUN}/train/{wildcards.stage}",
        data=lambda wildcards: data_options(wildcards.stage),
        load=lambda wildcards, input: ["--load", input.load] if input.load else [],
        nodes=lambda wildcards: STAGE[wildcards.stage]["nodes"],
        gpus=lambda wildcards: STAGE[wildcards.stage]["gpus"],
        processes=lambda wildcards: processes(wildcards.stage),
        seed=config["seed"],
    shell:
        "opensora train {input.config:q} --outputs {params.outputs} {params.load:q} "
        "--nodes {params.nodes} --gpus {params.gpus} --processes {params.processes} --seed {params.seed} --threads {threads} "
        "--dataset.plan {input.plan} {params.data:q} > {log} 2>&1"
