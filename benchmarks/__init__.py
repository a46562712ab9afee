"""`make bench`: this project measured beside what one would pick instead, side by side in one run."""
