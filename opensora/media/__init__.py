"""Read and write videos and still images, frame by frame."""
