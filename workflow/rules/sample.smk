"""Sample videos, in as many jobs as the config says."""

SAMPLE_CONFIG = in_repository(config["sample"]["config"])
SAMPLE_JOBS = config["sample"]["num_jobs"]
# in several jobs the rule `sample` joins their tables and needs no GPU
SAMPLING = "sample" if SAMPLE_JOBS == 1 else "report"
# what decides the samples, whoever makes them
SAMPLED_FROM = {
    "config": lambda wildcards: sampling_fields(SAMPLE_CONFIG),
    "references": lambda wildcards: reference_hashes(SAMPLE_CONFIG, prompts()),
    "vae": model_folder("vae"),
    "text_encoder": model_folder("text_encoder"),
    "num_samples": config["sample"]["num_samples"],
    "seed": config["seed"],
    **stamps([prompts(), *model_files("vae"), *model_files("text_encoder")]),
}


def sample_parts(wildcards):
    """The tables of all parts of a stage's samples; none where one job makes them all."""
    numbers = range(1, SAMPLE_JOBS + 1) if SAMPLE_JOBS > 1 else []
    return expand(rules.sample_part.output, part=numbers, stage=wildcards.stage)


def sampling_options(wildcards, input):
    """What `opensora sample` is told; a function of input is not compared, the identity is."""
    gpus = asks.gpus("sample")(wildcards) or 1
    return [
        *(SAMPLE_CONFIG, "--ckpt-path", input.ema, "--vae", model_folder("vae")),
        *options(text_encoder=model_folder("text_encoder")),
        *("--prompt-path", prompts(), "--seed", config["seed"]),
        *("--num-samples", config["sample"]["num_samples"]),
        *options(processes=gpus if gpus > 1 else None),
        *asks.device("sample"),
    ]


rule sample_part:
    """Sample one part of the prompts with the averaged weights of a stage."""
    input:
        ema=f"{RUN}/train/{{stage}}/ema.safetensors",
        prompts=plain_names([prompts()]),
        vae=plain_names(model_files("vae")),
        text_encoder=plain_names(model_files("text_encoder")),
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
