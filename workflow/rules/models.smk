"""Small encoders that the run trains itself where no weights are given.

One thread each: they run side by side, and their bytes do not depend on the machine's cores. Each
is trained once (`ancient`): more data, other captions or thresholds retrain none, or every latent
and embedding would be made anew; another config does, or `--forcerun`. What it saw stands in its
folder and in the report.
"""


rule train_vae:
    """Train a small image VAE on the clips, beside everything that judges them."""
    input:
        clips=ancient([*shard_tables("clips"), *ready_tables("clips")]),
    output:
        folder=directory(f"{RUN}/models/vae"),
    log:
        f"logs/train_vae/{config['run']}/all.log",
    benchmark:
        f"benchmarks/train_vae/{config['run']}/all.tsv"
    threads: asks.threads("train_vae")
    resources:
        mem_mb=asks.mem_mb("train_vae"),
        runtime=asks.runtime("train_vae"),
    params:
        identity=identity(
            version=VERSIONS["train_vae"],
            config=lambda wildcards: encoder_fields(
                in_repository(config["models"]["vae"]["config"]), seed=config["seed"]
            ),
            validation_fraction=largest_validation(),
            test_fraction=config["test_fraction"],
        ),
        config=lambda wildcards, input: in_repository(config["models"]["vae"]["config"]),
        tables=lambda wildcards, input: options(
            clips=learned_tables("clips"),
            num_shards=len(VIDEO_SHARDS) or None,
        ),
        seed=config["seed"],
        validation=largest_validation(),
        test=config["test_fraction"],
    shell:
        "opensora train-vae {params.config:q} {params.tables:q} "
        "--validation-fraction {params.validation} --test-fraction {params.test} "
        "--output {output.folder} --seed {params.seed} --threads {threads} --job-log {log} >> {log} 2>&1"


rule train_clip:
    """Train a small CLIP on clips and captions."""
    input:
        clips=ancient([*shard_tables("clips"), *ready_tables("clips")]),
        captions=ancient([*shard_tables("captions"), *ready_tables("captions")]),
    output:
        folder=directory(f"{RUN}/models/clip"),
    log:
        f"logs/train_clip/{config['run']}/all.log",
    benchmark:
        f"benchmarks/train_clip/{config['run']}/all.tsv"
    threads: asks.threads("train_clip")
    resources:
        mem_mb=asks.mem_mb("train_clip"),
        runtime=asks.runtime("train_clip"),
    params:
        identity=identity(
            version=VERSIONS["train_clip"],
            config=lambda wildcards: encoder_fields(
                in_repository(config["models"]["clip"]["config"]), seed=config["seed"]
            ),
        ),
        config=lambda wildcards, input: in_repository(
            config["models"]["clip"]["config"]
        ),
        tables=lambda wildcards, input: options(
            clips=learned_tables("clips"),
            captions=learned_tables("captions"),
            num_shards=len(VIDEO_SHARDS) or None,
        ),
        seed=config["seed"],
    shell:
        "opensora train-clip {params.config:q} {params.tables:q} "
        "--output {output.folder} --seed {params.seed} --threads {threads} --job-log {log} >> {log} 2>&1"


rule train_text_encoder:
    """Train a small byte-level T5 or UMT5 encoder on the captions."""
    input:
        captions=ancient([*shard_tables("captions"), *ready_tables("captions")]),
    output:
        folder=directory(f"{RUN}/models/text_encoder"),
    log:
        f"logs/train_text_encoder/{config['run']}/all.log",
    benchmark:
        f"benchmarks/train_text_encoder/{config['run']}/all.tsv"
    threads: asks.threads("train_text_encoder")
    resources:
        mem_mb=asks.mem_mb("train_text_encoder"),
        runtime=asks.runtime("train_text_encoder"),
    params:
        identity=identity(
            version=VERSIONS["train_text_encoder"],
            config=lambda wildcards: encoder_fields(
                in_repository(config["models"]["text_encoder"]["config"]),
                seed=config["seed"],
            ),
        ),
        config=lambda wildcards, input: in_repository(
            config["models"]["text_encoder"]["config"]
        ),
        tables=lambda wildcards, input: options(
            captions=learned_tables("captions"),
            num_shards=len(VIDEO_SHARDS) or None,
        ),
        seed=config["seed"],
    shell:
        "opensora train-text-encoder {params.config:q} {params.tables:q} "
        "--output {output.folder} --seed {params.seed} --threads {threads} --job-log {log} >> {log} 2>&1"
