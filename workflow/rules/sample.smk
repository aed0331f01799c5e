"""Sample videos, in as many jobs as the config says."""


rule sample_part:
    """Sample one part of the prompts with the averaged weights of a stage."""
    input:
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        other=other_weights,
        prompts=read_prompts,
        vae=plain_names(model_files("vae")),
        text_encoder=plain_names(model_files("text_encoder")),
        pictures=plain_names(picture_files()),
    output:
        f"{RUN}/samples/{{stage}}/parts/{{part}}_of_{SAMPLE_JOBS}.csv",
    log:
        f"logs/sample_part/{config['run']}/{{stage}}.{{part}}.log",
    benchmark:
        f"benchmarks/sample_part/{config['run']}/{{stage}}.{{part}}.tsv"
    wildcard_constraints:
        stage=POINT,
        part=r"\d+",
    threads: asks.threads("sample")
    resources:
        mem_mb=asks.mem_mb("sample"),
        runtime=asks.runtime("sample"),
        gpu=asks.gpus("sample"),
    params:
        identity=identity(version=VERSIONS["sample"], **SAMPLED_FROM),
        options=sampling_options,
        part=lambda wildcards: f"{wildcards.part}/{SAMPLE_JOBS}",
        folder=lambda wildcards: f"{RUN}/samples/{wildcards.stage}",
    shell:
        "opensora sample {params.options:q} --part {params.part} --threads {threads} "
        "--save-dir {params.folder} --job-log {log} >> {log} 2>&1"


rule sample:
    """Sample every prompt with the averaged weights of a stage, or join what the parts made."""
    input:
        parts=sample_parts,
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        other=other_weights,
        prompts=read_prompts,
        vae=plain_names(model_files("vae")),
        text_encoder=plain_names(model_files("text_encoder")),
        pictures=plain_names(picture_files()),
    output:
        samples=f"{RUN}/samples/{{stage}}/samples.csv",
    log:
        f"logs/sample/{config['run']}/{{stage}}.log",
    benchmark:
        f"benchmarks/sample/{config['run']}/{{stage}}.tsv"
    wildcard_constraints:
        stage=POINT,
    threads: asks.threads(SAMPLING)
    resources:
        mem_mb=asks.mem_mb(SAMPLING),
        runtime=asks.runtime(SAMPLING),
        gpu=asks.gpus(SAMPLING),
    params:
        identity=identity(version=VERSIONS["sample"], **SAMPLED_FROM),
        options=lambda wildcards, input: (
            ["--join-parts", SAMPLE_JOBS]
            if SAMPLE_JOBS > 1
            else sampling_options(wildcards, input)
        ),
        folder=lambda wildcards: f"{RUN}/samples/{wildcards.stage}",
    shell:
        "opensora sample {params.options:q} --threads {threads} "
        "--save-dir {params.folder} --job-log {log} >> {log} 2>&1"
