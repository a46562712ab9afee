"""The shot simulator's physics: bunch, camera, digitizer."""
