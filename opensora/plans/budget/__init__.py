"""What a stage will cost: operations, memory, disk, hours; buckets that suit the data."""
