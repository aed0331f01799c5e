"""Pictures of a run for `snakemake --report`, drawn by matplotlib."""
