"""What training made, for others: a folder that samples alone, its model card, the way to a hub."""
