"""Measure the samples."""

import json

EVALUATED_SCORERS = scorer_options(["flow", "aesthetic"])


rule evaluate:
    """Measure how well samples follow their prompts."""
    input:
        samples=f"{RUN}/samples/{{stage}}/samples.csv",
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        # of the held-out loss; an online stage stores no clips
        stored=lambda wildcards: held_out_data(stage_of(wildcards.stage)),
        weights=plain_names(scorer_files(EVALUATED_SCORERS)),
        features=plain_names(local_files([config["evaluate"]["features"]])),
        # named one by one, so that a new one is measured with
        vbench=lambda wildcards: plain_names(vbench_files(config, wildcards.stage)),
        manifest=PARTITION_INDEX,
        truth=truth(),
        vae=plain_names(model_files("vae")),
        clip=plain_names(model_files("clip")),
    output:
        evaluation=f"{RUN}/evaluation/{{stage}}.json",
    log:
        f"logs/evaluate/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/evaluate/{config['run']}/{{stage}}.tsv"
    wildcard_constraints:
        stage=POINT,
    threads: asks.threads("evaluate")
    resources:
        mem_mb=asks.mem_mb("evaluate"),
        runtime=asks.runtime("evaluate"),
        gpu=asks.gpus("evaluate"),
    params:
        identity=identity(
            version=VERSIONS["evaluate"],
            vae=model_folder("vae"),
            clip=model_folder("clip"),
            truth=truth(),
            options=EVALUATED_SCORERS,
            features=config["evaluate"]["features"],
            **stamps(
                [
                    *(*model_files("vae"), *model_files("clip")),
                    *scorer_files(EVALUATED_SCORERS),
                    *local_files([config["evaluate"]["features"]]),
                    *vbench_files(config),
                ]
            ),
        ),
        manifest=lambda wildcards, input: MANIFEST,
        truth=lambda wildcards, input: ["--truth", *input.truth] if input.truth else [],
        vae=lambda wildcards: model_folder("vae"),
        clip=as_given(options(clip=model_folder("clip"))),
        held_out=lambda wildcards, input: options(held_out=input.stored[:1]),
        options=as_given(json.dumps(EVALUATED_SCORERS, sort_keys=True)),
        features=as_given(options(features=config["evaluate"]["features"])),
        # a function of input is not compared, what it reads is
        vbench=lambda wildcards, input: options(
            vbench=vbench_files(config, wildcards.stage)
        ),
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("evaluate"),
    shell:
        "opensora evaluate --samples {input.samples} --manifest {params.manifest} "
        "--vae {params.vae:q} {params.clip:q} {params.truth:q} "
        "--ckpt-path {input.ema} {params.held_out:q} --options {params.options:q} {params.features:q} "
        "{params.vbench:q} --output {output.evaluation} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
