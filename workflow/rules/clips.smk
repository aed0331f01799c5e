"""Cut scenes into clip files."""


rule split_clips:
    """Write the clips of a shard at one frame rate and size; their files stay in the store."""
    input:
        scenes=f"{RUN}/scenes/{{shard}}.parquet",
    output:
        clips=f"{RUN}/clips/{{shard}}.parquet",
    log:
        f"logs/split_clips/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/split_clips/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("split_clips")
    resources:
        mem_mb=asks.mem_mb("split_clips"),
        runtime=asks.runtime("split_clips"),
    params:
        identity=identity(version=VERSIONS["split_clips"], **of_source("clips")),
        min_s=from_source("clips", "min_s"),
        max_s=from_source("clips", "max_s"),
        form=lambda wildcards: clip_form(source_of(wildcards)["clips"]),
        store=f"{STORE}/clips",
    shell:
        "opensora split-clips --scenes {input.scenes} --output {output.clips} "
        "--store {params.store} --min-s {params.min_s} --max-s {params.max_s} "
        "{params.form} --workers {threads} --job-log {log} >> {log} 2>&1"
