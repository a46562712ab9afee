"""The commands of `xtcav`. What takes time is imported inside the command that needs it."""
