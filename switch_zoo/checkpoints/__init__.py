"""Weights in every format: Mesh-TensorFlow, Keras, Hugging Face, and T5X to read; exact, in bounded memory.

One expert's part of a variable is the largest thing in memory. No module here imports TensorFlow, Mesh-TensorFlow, T5
or PyTorch; what each format needs beside NumPy (h5py, tensorstore) is imported when such a folder is opened.
"""
