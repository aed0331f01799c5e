"""The run beside others, where its config names some."""


rule compare_evaluations:
    """Say what differs from evaluations of other runs, and by more than noise."""
    input:
        others=plain_names(compared_evaluations(config)),
        own=[f"{RUN}/evaluation/{stage}.json" for stage in SAMPLED_STAGES],
    output:
        f"{RUN}/against.json",
    log:
        f"logs/compare_evaluations/{config['run']}/all.log",
    benchmark:
        f"benchmarks/compare_evaluations/{config['run']}/all.tsv"
    threads: asks.threads("report")
    resources:
        mem_mb=asks.mem_mb("report"),
        runtime=asks.runtime("report"),
    params:
        identity=identity(
            version=VERSIONS["evaluate"],
            against=config["report"]["against"],
            **stamps(compared_evaluations(config)),
        ),
        others=as_given(compared_evaluations(config)),
    shell:
        "opensora evaluate --against {params.others:q} {input.own} --output {output} "
        "--threads {threads} --job-log {log} >> {log} 2>&1"
