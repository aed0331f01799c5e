"""What is watched of a run: losses by noise and bucket, pace, held-out loss, loggers outside."""
