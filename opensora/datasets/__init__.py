"""What a trainer reads: batches from stores or from video files, and masks over their frames."""
