"""The commands of `xtcav`, thin: options in, a stage called. What takes time is imported inside the command that needs it."""
