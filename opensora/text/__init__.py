"""Text of captions and prompts."""
