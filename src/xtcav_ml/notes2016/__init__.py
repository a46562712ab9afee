"""The experiments that the notes of 2016 published."""
