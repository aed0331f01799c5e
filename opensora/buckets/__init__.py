"""Buckets: aspect ratios, `bucket_config`, and which clip belongs to which bucket."""
