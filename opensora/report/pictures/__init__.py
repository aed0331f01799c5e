"""Pictures of a run for Snakemake's own report, drawn by matplotlib."""
