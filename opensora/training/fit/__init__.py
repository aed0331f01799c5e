"""Whether steps fit the memory of a GPU, and the batch sizes with which they do."""
