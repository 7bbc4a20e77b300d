#!/usr/bin/env python3
"""Writes io_numpy.npz beside this file: deflated, C and Fortran order. Made with NumPy 1.24."""
import pathlib

import numpy as np


def main():
    path = pathlib.Path(__file__).parent / "io_numpy.npz"
    np.savez_compressed(path, np.array([1, 2], dtype=np.uint8), mu=np.arange(3.0),
                        sigma=np.asfortranarray(np.array([[1, 2], [3, 4]], dtype=np.float32)))


if __name__ == "__main__":
    main()
