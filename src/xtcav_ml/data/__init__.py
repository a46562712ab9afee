"""All file formats: the only room that opens HDF5."""
