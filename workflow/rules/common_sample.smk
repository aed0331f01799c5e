"""What the jobs behind training share: sampling, evaluation, report."""

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
    **read_pictures(),
    "num_samples": config["sample"]["num_samples"],
    "seed": config["seed"],
    **stamps(
        [prompts(), *model_files("vae"), *model_files("text_encoder"), *picture_files()]
    ),
}


def read_prompts(wildcards):
    """The file of the prompts; a run that samples nothing needs none in it."""
    try:
        check_prompts(config["sample"]["prompts"])
    except OpenSoraError as error:
        raise WorkflowError(str(error))
    return plain_names([prompts()])


def sample_parts(wildcards):
    """The tables of all parts of a stage's samples; none where one job makes them all."""
    numbers = range(1, SAMPLE_JOBS + 1) if SAMPLE_JOBS > 1 else []
    return expand(rules.sample_part.output, part=numbers, stage=wildcards.stage)


def other_weights(wildcards):
    """Those of the stage that trained the other one of two transformers, where there is one."""
    other = STAGE[stage_of(wildcards.stage)]["other"]
    return [f"{RUN}/train/{other}/ema.safetensors"] if other else []


def sampling_options(wildcards, input):
    """What `opensora sample` is told; a function of input is not compared, the identity is."""
    gpus = asks.gpus("sample")(wildcards) or 1
    return [
        *(SAMPLE_CONFIG, "--ckpt-path", input.ema, "--vae", model_folder("vae")),
        *options(text_encoder=model_folder("text_encoder"), **read_pictures()),
        *(["--model.other", *input.other] if input.other else []),
        *("--prompt-path", prompts(), "--seed", config["seed"]),
        *("--num-samples", config["sample"]["num_samples"]),
        *options(processes=gpus if gpus > 1 else None),
        *asks.device("sample"),
    ]


def certificates(stages):
    """What certify_all has found so far: it is no part of `all`, and a failed check shows, too."""
    files = [f"{RUN}/train/{stage}/certificate.json" for stage in stages]
    return [name for name in files if Path(name).is_file()]


def held_out_data(stage):
    """The plan of held-out clips, and the tables of what is stored of them; none of online stages."""
    if STAGE[stage]["online"]:
        return []
    return [f"{RUN}/buckets/{stage}/validation.parquet", *stored_data(stage)]
