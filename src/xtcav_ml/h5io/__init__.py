"""The only modules that open HDF5: opening and creating, raw shot files, prepared files."""
