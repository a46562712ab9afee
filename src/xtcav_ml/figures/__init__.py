"""Every chart, once: a function returns it as a Figure; the only room with matplotlib."""
