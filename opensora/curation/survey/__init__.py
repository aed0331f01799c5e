"""What stands in a folder that somebody brings, before anything is made of it."""
