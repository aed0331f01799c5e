"""Train the diffusion transformer, stage after stage."""


rule train:
    """Train one stage from the weights of the stage before; a stopped job continues.

    A stage with milestones is trained in parts, each a job that goes on from the one before.
    """
    input:
        plan=lambda wildcards: f"{RUN}/buckets/{stage_of(wildcards.stage)}/settled.parquet",
        validation=lambda wildcards: validation_plan(stage_of(wildcards.stage)),
        data=lambda wildcards: training_data(stage_of(wildcards.stage)),
        load=lambda wildcards: plain_names(loaded(wildcards.stage)),
        weights=lambda wildcards: plain_names(stage_weights(wildcards)),
    output:
        model=f"{RUN}/train/{{stage}}/model.safetensors",
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        config=f"{RUN}/train/{{stage}}/config.py",
        metrics=f"{RUN}/train/{{stage}}/metrics.jsonl",
        rejected=f"{RUN}/train/{{stage}}/rejected.csv",
    log:
        f"logs/train/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/train/{config['run']}/{{stage}}.tsv"
    wildcard_constraints:
        stage=POINT,
    threads: asks.threads("train")
    resources:
        mem_mb=asks.mem_mb("train"),
        runtime=asks.runtime("train"),
        gpu=asks.gpus("train"),
        nodes=asks.of_stage("nodes"),
        mpi=asks.of_stage("mpi"),
        tasks=asks.of_stage("tasks"),
        tasks_per_gpu=asks.of_stage("tasks_per_gpu"),
        slurm_extra=asks.of_stage("slurm_extra"),
    params:
        identity=identity(
            version=VERSIONS["train"],
            config=lambda wildcards: training_fields(
                stage_config(wildcards),
                seed=config["seed"],
                starts_itself=starts_itself(wildcards),
                online=STAGE[stage_of(wildcards.stage)]["online"],
            ),
            data=lambda wildcards: data_options(stage_of(wildcards.stage)),
            load=lambda wildcards: STAGE[stage_of(wildcards.stage)]["load"],
            **stamps(given_weights()),
        ),
        config=stage_config,
        outputs=lambda wildcards: f"{RUN}/train/{wildcards.stage}",
        data=lambda wildcards: data_options(stage_of(wildcards.stage)),
        load=lambda wildcards, input: load_options(wildcards.stage),
        # says itself what it is, and eval_every stands in the identity
        validation=lambda wildcards, input: (
            ["--dataset.validation", input.validation[0]] if input.validation else []
        ),
        # stands in the name of what is made
        until=lambda wildcards, input: options(until=milestone_step(wildcards.stage)),
        # a limit decides whether there is a result, not which
        max_rejected=lambda wildcards, input: (
            options(max_rejected=config["max_rejected"])
            if STAGE[stage_of(wildcards.stage)]["online"]
            else []
        ),
        # functions of resources are not compared: the plan knows how many workers there are
        nodes=lambda wildcards, resources: STAGE[stage_of(wildcards.stage)]["nodes"],
        gpus=lambda wildcards, resources: STAGE[stage_of(wildcards.stage)]["gpus"],
        processes=lambda wildcards, resources: processes(stage_of(wildcards.stage)),
        seed=config["seed"],
    shell:
        # A signal to the whole group must not end the shell before training has written its
        # checkpoint: a trapped signal (unlike an ignored one) is not handed down to the command.
        "trap : TERM INT HUP USR1; "
        "opensora train {params.config:q} --outputs {params.outputs} {params.load:q} {params.until} "
        "--nodes {params.nodes} --gpus {params.gpus} --processes {params.processes} --seed {params.seed} --threads {threads} "
        "--dataset.plan {input.plan} {params.validation:q} {params.data:q} {params.max_rejected} --job-log {log} >> {log} 2>&1"


rule certify_resume:
    """Check on a few steps that a stage resumes exactly; certificate.json has what was found.

    The file stands beside the training and is no output, for it stays where a check fails.
    """
    input:
        plan=f"{RUN}/buckets/{{stage}}/settled.parquet",
        data=lambda wildcards: training_data(wildcards.stage),
        load=lambda wildcards: plain_names(loaded(POINTS[wildcards.stage][0])),
        weights=lambda wildcards: plain_names(stage_weights(wildcards)),
    output:
        passed=touch(f"{RUN}/train/{{stage}}/resume_certified"),
    log:
        f"logs/certify_resume/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/certify_resume/{config['run']}/{{stage}}.tsv"
    threads: asks.threads("train")
    resources:
        # a stage of one process is also resumed by two
        mem_mb=lambda wildcards, attempt: (
            asks.mem_mb("train")(wildcards, attempt)
            * (2 if processes(wildcards.stage) == 1 else 1)
        ),
        runtime=asks.runtime("train"),
        gpu=asks.gpus("certify_resume"),
    params:
        identity=identity(
            version=VERSIONS["train"],
            config=lambda wildcards: training_fields(
                stage_config(wildcards),
                seed=config["seed"],
                starts_itself=starts_itself(wildcards),
                online=STAGE[wildcards.stage]["online"],
            ),
            data=lambda wildcards: data_options(wildcards.stage),
            load=lambda wildcards: STAGE[wildcards.stage]["load"],
            workers=lambda wildcards: processes(wildcards.stage),
            **stamps(given_weights()),
        ),
        config=stage_config,
        outputs=lambda wildcards: f"{RUN}/train/{wildcards.stage}",
        data=lambda wildcards: data_options(wildcards.stage),
        load=lambda wildcards, input: load_options(POINTS[wildcards.stage][0]),
        gpus=lambda wildcards, resources: STAGE[wildcards.stage]["gpus"],
        processes=lambda wildcards, resources: processes(wildcards.stage),
        seed=config["seed"],
    shell:
        "opensora train {params.config:q} --verify-resume --outputs {params.outputs} {params.load:q} "
        "--gpus {params.gpus} --processes {params.processes} --seed {params.seed} --threads {threads} "
        "--dataset.plan {input.plan} {params.data:q} --job-log {log} >> {log} 2>&1"
