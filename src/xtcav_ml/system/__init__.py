"""What every room builds on: errors, files written whole, progress, interrupts, child processes."""
