"""libtpu, the TPU's own compiler, on machines without a TPU: what a program needs on each core of a slice.

  slices    names of slices, and the chips and devices behind them
  pjrt_api  PJRT's C functions and structures, for ctypes
  compiler  libtpu: topologies and compiled programs
  report    memory and communication of a compiled step, as text and as JSON

Each file imports only files above it. Neither TensorFlow nor JAX is needed.
"""
