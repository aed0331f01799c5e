"""Caption the clips."""

CAPTION_FILES = [
    files for source in SOURCES if source not in READY for files in beside_files(source)
]


rule caption_clips:
    """Give each clip of a shard its caption."""
    input:
        clips=f"{RUN}/clips/{{shard}}.parquet",
        sidecar=lambda wildcards: plain_names(sidecars(source_of(wildcards))),
        model=lambda wildcards: plain_names(
            captioner_files(source_of(wildcards)["captions"])
        ),
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
            **(
                {"captions": lambda wildcards: caption_fields(source_of(wildcards))}
                if config["sources"]
                else caption_fields(SOURCES[0])
            ),
        ),
        captioner=from_source("captions", "captioner"),
        # a function of input is not compared
        sidecar=lambda wildcards, input: options(sidecar=sidecars(source_of(wildcards))),
        options=lambda wildcards: caption_options(source_of(wildcards)["captions"]),
        # functions of resources are not compared: where and how fast decides no result
        server=lambda wildcards, resources: server_options(
            source_of(wildcards)["captions"]
        ),
        device=lambda wildcards, resources: asks.device("caption_clips"),
    shell:
        "opensora caption-clips --clips {input.clips} --output {output.captions} "
        "--captioner {params.captioner} {params.sidecar:q} {params.options:q} {params.server:q} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
