"""What a run shows while it goes on: its jobs, their progress, the time that is left."""
