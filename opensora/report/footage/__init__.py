"""Footage in the report: what each stage kept, why the rest left, what other rules would leave."""
