"""The page that `xtcav report` writes: markup, charts and pictures, and what its sections say."""
