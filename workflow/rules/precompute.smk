"""Fill the latent and embedding stores ahead of training."""


rule encode_videos:
    """Encode one shard of a stage's clips with the VAE."""
    input:
        manifest=PARTITIONS,
        plan=f"{RUN}/buckets/{{stage}}/plan.parquet",
        validation=f"{RUN}/buckets/{{stage}}/validation.parquet",
        vae=model_files("vae"),
    output:
        folder=directory(f"{RUN}/latents/{{stage}}/{{shard}}"),
    log:
        f"logs/encode_videos/{config['run']}/{{stage}}/{{shard}}.log",
    benchmark:
        f"benchmarks/encode_videos/{config['run']}/{{stage}}/{{shard}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["resources"]["threads"]
    resources:
        mem_mb=16_000,
        runtime=480,
        gpu=config["resources"]["encode_gpus"],
    params:
        identity=identity(
            version=VERSIONS["encode_videos"],
            vae=model_folder("vae"),
            num_shards=config["num_shards"],
            dtype=config["encode"]["dtype"],
            posterior=config["encode"]["posterior"],
            min_psnr=config["encode"]["min_psnr"],
            seed=config["seed"],
        ),
        manifest=MANIFEST,
        vae=lambda wildcards: model_folder("vae"),
        shard=lambda wildcards: int(wildcards.shard),
        num_shards=config["num_shards"],
        dtype=config["encode"]["dtype"],
        posterior=config["encode"]["posterior"],
        min_psnr=config["encode"]["min_psnr"],
        seed=config["seed"],
    shell:
        "opensora encode-videos --manifest {params.manifest} --plan {input.plan} --validation {input.validation} "
        "--shard {params.shard} --num-shards {params.num_shards} --vae {params.vae:q} "
        "--dtype {params.dtype} --posterior {params.posterior} --seed {params.seed} "
        "--min-psnr {params.min_psnr} --output {output.folder} --threads {threads} > {log} 2>&1"


rule encode_captions:
    """Encode every distinct caption once."""
    input:
        manifest=PARTITIONS,
        text_encoder=model_files("text_encoder"),
    output:
        folder=directory(f"{RUN}/embeddings"),
    log:
        f"logs/encode_captions/{config['run']}/all.log",
    benchmark:
        f"benchmarks/encode_captions/{config['run']}/all.tsv"
    conda:
        "../../environment.yml"
    threads: config["resources"]["threads"]
    resources:
        mem_mb=16_000,
        runtime=480,
        gpu=config["resources"]["encode_gpus"],
    params:
        identity=identity(
            version=VERSIONS["encode_captions"],
            type=config["models"]["text_encoder"]["type"],
            text_encoder=model_folder("text_encoder"),
            num_classes=config["models"]["text_encoder"]["num_classes"],
            dtype=config["encode"]["dtype"],
            max_length=config["encode"]["max_length"],
            int8=config["encode"]["int8"],
        ),
        manifest=MANIFEST,
        text_encoder=text_encoder_options(),
        dtype=config["encode"]["dtype"],
        int8="--int8" if config["encode"]["int8"] else "",
    shell:
        "opensora encode-captions --manifest {params.manifest} "
        "{params.text_encoder:q} --dtype {params.dtype} {params.int8} "
        "--output {output.folder} --threads {threads} > {log} 2>&1"
