"""Sample videos."""

SAMPLE_CONFIG = in_repository(config["sample"]["config"])


rule sample:
    """Sample every prompt with the averaged weights of a stage."""
    input:
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        prompts=plain_names([prompts()]),
        vae=plain_names(model_files("vae")),
        text_encoder=plain_names(model_files("text_encoder")),
    output:
        samples=f"{RUN}/samples/{{stage}}/samples.csv",
    log:
        f"logs/sample/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/sample/{config['run']}/{{stage}}.tsv"
    wildcard_constraints:
        stage=POINT,
    threads: asks.threads("sample")
    resources:
        mem_mb=asks.mem_mb("sample"),
        runtime=asks.runtime("sample"),
        gpu=asks.gpus("sample"),
    params:
        identity=identity(
            version=VERSIONS["sample"],
            config=lambda wildcards: sampling_fields(SAMPLE_CONFIG),
            references=lambda wildcards: reference_hashes(SAMPLE_CONFIG, prompts()),
            vae=model_folder("vae"),
            text_encoder=model_folder("text_encoder"),
            num_samples=config["sample"]["num_samples"],
            seed=config["seed"],
            **stamps([prompts(), *model_files("vae"), *model_files("text_encoder")]),
        ),
        config=lambda wildcards, input: SAMPLE_CONFIG,
        folder=lambda wildcards: f"{RUN}/samples/{wildcards.stage}",
        vae=lambda wildcards: model_folder("vae"),
        text_encoder=as_given(options(text_encoder=model_folder("text_encoder"))),
        # a function of input is not compared
        prompts=lambda wildcards, input: prompts(),
        num_samples=config["sample"]["num_samples"],
        seed=config["seed"],
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("sample"),
    shell:
        "opensora sample {params.config:q} --ckpt-path {input.ema} --vae {params.vae:q} "
        "{params.text_encoder:q} --prompt-path {params.prompts:q} "
        "--num-samples {params.num_samples} --seed {params.seed} {params.device} --threads {threads} --save-dir {params.folder} --job-log {log} >> {log} 2>&1"
