"""Measure the samples."""


rule evaluate:
    """Measure how well samples follow their prompts."""
    input:
        samples=f"{RUN}/samples/{{stage}}/samples.csv",
        manifest=PARTITIONS,
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
            **stamps([*model_files("vae"), *model_files("clip")]),
        ),
        manifest=lambda wildcards, input: MANIFEST,
        truth=lambda wildcards, input: ["--truth", *input.truth] if input.truth else [],
        vae=lambda wildcards: model_folder("vae"),
        clip=as_given(options(clip=model_folder("clip"))),
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("evaluate"),
    shell:
        "opensora evaluate --samples {input.samples} --manifest {params.manifest} "
        "--vae {params.vae:q} {params.clip:q} {params.truth:q} "
        "--output {output.evaluation} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
