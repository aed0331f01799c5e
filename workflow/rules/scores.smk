"""Score the clips."""


rule score_clips:
    """Score one shard of clips with one scorer."""
    input:
        clips=f"{RUN}/clips/{{shard}}.csv",
        captions=lambda wildcards: (
            f"{RUN}/captions/{wildcards.shard}.csv"
            if wildcards.scorer == "match"
            else []
        ),
        clip=lambda wildcards: (
            model_files("clip") if wildcards.scorer == "match" else []
        ),
    output:
        scores=f"{RUN}/scores/{{scorer}}/{{shard}}.csv",
    log:
        f"logs/score_clips/{config['run']}/{{scorer}}/{{shard}}.log",
    benchmark:
        f"benchmarks/score_clips/{config['run']}/{{scorer}}/{{shard}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=4_000,
        runtime=120,
    params:
        version=lambda wildcards: VERSIONS[wildcards.scorer],
        captions=lambda wildcards, input: (
            ["--captions", input.captions] if wildcards.scorer == "match" else []
        ),
        clip=lambda wildcards: (
            ["--clip", model_folder("clip")] if wildcards.scorer == "match" else []
        ),
    shell:
        "opensora score-clips --scorer {wildcards.scorer} --clips {input.clips} "
        "{params.captions:q} {params.clip:q} --output {output.scores} > {log} 2>&1"
