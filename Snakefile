"""Raw videos to a trained text-to-video model and a report of its samples.

snakemake --profile profiles/local                  the built-in demo world
snakemake --profile profiles/local report --configfile configs/workflow/mine.yaml
snakemake --profile profiles/slurm train_all        on a cluster
"""

from snakemake.utils import min_version

min_version("9.0")


if not config:

    configfile: "configs/workflow/demo.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_sources.smk"


if config["container"]:  # of all rules; used with --sdm apptainer

    container: config["container"]


include: "workflow/rules/models.smk"


if config["manifest"]:

    include: "workflow/rules/import_manifest.smk"

else:

    if VIDEO_SHARDS:

        include: "workflow/rules/demo.smk"

        if fetched_sources(config):

            include: "workflow/rules/fetch.smk"
        include: "workflow/rules/ingest.smk"

        if scenes_are("given"):

            include: "workflow/rules/import_scenes.smk"

        if scenes_are("found"):

            include: "workflow/rules/scenes.smk"
        include: "workflow/rules/clips.smk"
        include: "workflow/rules/common_captions.smk"
        include: "workflow/rules/captions.smk"
        include: "workflow/rules/scores.smk"

    if READY:

        include: "workflow/rules/import_sources.smk"
    include: "workflow/rules/manifest.smk"


include: "workflow/rules/buckets.smk"


if STORED_STAGES:  # an online stage encodes itself

    include: "workflow/rules/precompute.smk"


include: "workflow/rules/settle.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/common_sample.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/evaluate.smk"


if config["report"]["against"]:

    include: "workflow/rules/against.smk"


include: "workflow/rules/report.smk"


for rule in workflow.rules:
    know_signatures(rule.params)


onstart:
    refuse_what_no_node_has()
    remove_marks("logs", config["run"])
    save_workflow_config(config, f"{RUN}/config.yaml")


rule all:
    default_target: True
    input:
        rules.report.output,


rule curate_all:
    input:
        CURATED,


rule precompute_all:
    input:
        latent_indexes(STORED_STAGES),
        embedding_indexes() if STORED_STAGES else [],


rule train_all:
    input:
        expand(rules.train.output, stage=STAGES),


rule certify_all:
    input:
        expand(rules.certify_resume.output, stage=STAGES),


rule sample_all:
    input:
        expand(rules.sample.output, stage=SAMPLED_POINTS),


rule evaluate_all:
    input:
        expand(rules.evaluate.output, stage=SAMPLED_POINTS),
