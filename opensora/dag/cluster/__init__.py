"""A SLURM cluster as a login node sees it, beside what the jobs of a run ask of it."""
