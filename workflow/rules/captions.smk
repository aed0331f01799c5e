"""Caption the clips."""

READS_BESIDE = config["captions"]["captioner"] == "sidecar" and not sidecars()
CAPTION_FILES = listings([".txt", ".json"]) if READS_BESIDE else [""] * len(SHARDS)


rule caption_clips:
    """Give each clip of a shard its caption."""
    input:
        clips=f"{RUN}/clips/{{shard}}.parquet",
        sidecar=plain_names(sidecars()),
        model=plain_names(local_files([config["captions"]["model"]])),
    output:
        captions=f"{RUN}/captions/{{shard}}.parquet",
    log:
        f"logs/caption_clips/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/caption_clips/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("caption_clips")
    resources:
        mem_mb=asks.mem_mb("caption_clips"),
        runtime=asks.runtime("caption_clips"),
        gpu=asks.gpus("caption_clips"),
    params:
        identity=identity(
            version=VERSIONS["caption_clips"],
            listing=lambda wildcards: CAPTION_FILES[int(wildcards.shard)],
            **{**config["captions"], "sidecar": sidecars()},
            **stamps([*sidecars(), *local_files([config["captions"]["model"]])]),
        ),
        captioner=config["captions"]["captioner"],
        # a function of input is not compared
        sidecar=lambda wildcards, input: options(sidecar=sidecars()),
        options=as_given(
            options(
                model=config["captions"]["model"],
                prompt=config["captions"]["prompt"],
                num_frames=config["captions"]["num_frames"],
                languages=config["captions"]["languages"],
                per_clip=SEVERAL_CAPTIONS,
            )
        ),
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("caption_clips"),
    shell:
        "opensora caption-clips --clips {input.clips} --output {output.captions} "
        "--captioner {params.captioner} {params.sidecar:q} {params.options:q} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
