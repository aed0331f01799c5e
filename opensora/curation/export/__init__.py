"""The curated set in the formats of other projects."""
