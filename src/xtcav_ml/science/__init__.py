"""Arrays in, arrays out: no file, no clock, no global random state, no Keras."""
