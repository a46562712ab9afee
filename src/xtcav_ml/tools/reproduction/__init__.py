"""A run repeated in a folder of its own."""
