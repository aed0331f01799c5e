"""A page of a stage's table on this machine, where captions are corrected and clips marked out."""
