"""Score the clips."""

import json


rule score_clips:
    """Score one shard of clips with all scorers that look at frames alone."""
    input:
        clips=f"{RUN}/clips/{{shard}}.parquet",
        weights=plain_names(scorer_files(FRAME_SCORERS)),
    output:
        scores=expand(
            f"{RUN}/scores/{{scorer}}/{{{{shard}}}}.parquet", scorer=FRAME_SCORERS
        ),
    log:
        f"logs/score_clips/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/score_clips/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("score_clips")
    resources:
        mem_mb=asks.mem_mb("score_clips"),
        runtime=asks.runtime("score_clips"),
        gpu=asks.gpus("score_clips"),
    params:
        identity=identity(
            version={name: VERSIONS[name] for name in FRAME_SCORERS},
            options=scorer_options(FRAME_SCORERS),
            **stamps(scorer_files(FRAME_SCORERS)),
        ),
        # a function of input is not compared: their order decides no score
        scorers=lambda wildcards, input: FRAME_SCORERS,
        options=as_given(json.dumps(scorer_options(FRAME_SCORERS), sort_keys=True)),
        store=f"{STORE}/scores",
        tables=lambda wildcards: f"{RUN}/scores/{{scorer}}/{wildcards.shard}.parquet",
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("score_clips"),
    shell:
        "opensora score-clips --scorer {params.scorers} --clips {input.clips} "
        "--options {params.options:q} --store {params.store} "
        "--output {params.tables:q} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"


rule score_captions:
    """Score how well the captions of one shard match their clips."""
    input:
        clips=f"{RUN}/clips/{{shard}}.parquet",
        captions=f"{RUN}/captions/{{shard}}.parquet",
        clip=plain_names(model_files("clip")),
    output:
        scores=f"{RUN}/scores/match/{{shard}}.parquet",
    log:
        f"logs/score_captions/{config['run']}/{{shard}}.log",
    benchmark:
        f"benchmarks/score_captions/{config['run']}/{{shard}}.tsv"
    threads: asks.threads("score_captions")
    resources:
        mem_mb=asks.mem_mb("score_captions"),
        runtime=asks.runtime("score_captions"),
        gpu=asks.gpus("score_captions"),
    params:
        identity=identity(
            version=VERSIONS["match"],
            clip=model_folder("clip"),
            **stamps(model_files("clip")),
        ),
        clip=lambda wildcards: model_folder("clip"),
        store=f"{STORE}/scores",
        # a function of resources is not compared: where it runs decides no result
        device=lambda wildcards, resources: asks.device("score_captions"),
    shell:
        "opensora score-clips --scorer match --clips {input.clips} "
        "--captions {input.captions} --clip {params.clip:q} --store {params.store} "
        "--output {output.scores} {params.device} --threads {threads} --job-log {log} >> {log} 2>&1"
