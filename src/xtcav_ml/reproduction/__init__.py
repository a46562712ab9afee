"""A run made again: what it was, its workspace in a place of its own, and whether it came out the same."""
