"""A run made again in a folder of its own."""
