"""Find latents and embeddings in the store, make what it lacks, ahead of training.

The bulky files lie in the store, which runs share and nobody declares: Snakemake deletes declared
outputs before a job. Declared are the indexes.
"""


rule encode_videos:
    """Encode what the store lacks of one shard's clips, for all stages at once."""
    input:
        tables=[f"{RUN}/buckets/{stage}/{{shard}}.parquet" for stage in STORED_STAGES],
        vae=plain_names(model_files("vae")),
        pictures=plain_names(picture_files()),
    output:
        indexes=[f"{RUN}/latents/{stage}/{{shard}}.parquet" for stage in STORED_STAGES],
    log:
        f"logs/encode_videos/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/encode_videos/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("encode_videos")
    resources:
        mem_mb=asks.mem_mb("encode_videos"),
        runtime=asks.runtime("encode_videos"),
        gpu=asks.gpus("encode_videos"),
    params:
        identity=identity(
            version=VERSIONS["encode_videos"],
            vae=model_folder("vae"),
            dtype=config["encode"]["dtype"],
            posterior=config["encode"]["posterior"],
            min_psnr=config["encode"]["min_psnr"],
            seed=config["seed"],
            **given_frames(),
            **stamps([*model_files("vae"), *picture_files()]),
        ),
        vae=lambda wildcards: model_folder("vae"),
        store=f"{STORE}/latents",
        shard=lambda wildcards: int(wildcards.shard),
        num_shards=lambda wildcards, input: len(SHARDS),
        dtype=config["encode"]["dtype"],
        posterior=config["encode"]["posterior"],
        min_psnr=config["encode"]["min_psnr"],
        seed=config["seed"],
        given=as_given(options(**given_frames())),
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("encode_videos"),
    shell:
        "opensora encode-videos --items {input.tables} --store {params.store} "
        "--shard {params.shard} --num-shards {params.num_shards} --vae {params.vae:q} "
        "--dtype {params.dtype} --posterior {params.posterior} --seed {params.seed} "
        "--min-psnr {params.min_psnr} {params.given:q} --output {output.indexes} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"


rule encode_captions:
    """Encode what the store lacks of one shard's captions, every distinct one once."""
    input:
        manifest=f"{MANIFEST}/{{shard}}.parquet",
        # the manifest has the first caption of each clip
        captions=[f"{RUN}/captions/{{shard}}.parquet" for _ in SEVERAL_CAPTIONS],
        text_encoder=plain_names(model_files("text_encoder")),
    output:
        index=f"{RUN}/embeddings/{{shard}}.parquet",
    log:
        f"logs/encode_captions/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/encode_captions/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("encode_captions")
    resources:
        mem_mb=asks.mem_mb("encode_captions"),
        runtime=asks.runtime("encode_captions"),
        gpu=asks.gpus("encode_captions"),
    params:
        identity=identity(
            version=VERSIONS["encode_captions"],
            type=config["models"]["text_encoder"]["type"],
            text_encoder=model_folder("text_encoder"),
            num_classes=config["models"]["text_encoder"]["num_classes"],
            num_shards=len(SHARDS),
            dtype=config["encode"]["dtype"],
            max_length=config["encode"]["max_length"],
            int8=config["encode"]["int8"],
            **stamps(model_files("text_encoder")),
        ),
        manifest=lambda wildcards, input: MANIFEST,
        # a function of input is not compared
        captions=lambda wildcards, input: options(captions=list(input.captions)),
        text_encoder=as_given(text_encoder_options()),
        store=f"{STORE}/embeddings",
        shard=lambda wildcards: int(wildcards.shard),
        num_shards=len(SHARDS),
        dtype=config["encode"]["dtype"],
        int8="--int8" if config["encode"]["int8"] else "",
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("encode_captions"),
    shell:
        "opensora encode-captions --manifest {params.manifest} {params.captions:q} --store {params.store} "
        "--shard {params.shard} --num-shards {params.num_shards} "
        "{params.text_encoder:q} --dtype {params.dtype} {params.int8} "
        "--output {output.index} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
