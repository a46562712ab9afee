"""Compiles the convolutions, for the installation to call: else the first training in a folder would, for some 10 s."""

import numpy as np

from xtcav_ml.learning import backend


def compile_convolutions() -> None:
    """Compile what the fused layers need on this processor, where numba keeps it, if the backend has such layers."""
    if backend.runs_fused_layers():
        from xtcav_ml.learning.fused_conv import ConvMaxPool

        ConvMaxPool(filters=1, kernel_size=1, pool_window=1, pool_stride=1)(np.zeros((1, 1, 1, 1), np.float32))


if __name__ == "__main__":
    compile_convolutions()
