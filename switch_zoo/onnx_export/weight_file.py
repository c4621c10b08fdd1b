"""The file that holds the weights of all graphs of an export: each tensor once, at an offset that can be mapped."""

import io
import math
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto

NAME = 'weights.bin'
# Tensors of at least a page begin at one, so that a runtime can map them into memory; smaller ones are read.
PAGE, LINE = 4096, 64


class WeightFile:
  """Writes tensors one after the other, and refers to them."""

  def __init__(self, file: BinaryIO) -> None:
    """
    Args:
      file: open for writing; its name in the folder is NAME
    """
    self._file, self._places = file, dict[str, TensorProto]()

  def place(self, name: str) -> TensorProto | None:
    """The reference to a tensor that was added before, or None."""
    return self._places.get(name)

  def add(self, name: str, value: np.ndarray) -> TensorProto:
    """Writes a tensor, and returns what a graph refers to it by."""
    value = np.ascontiguousarray(value)
    start = self._file.seek(0, io.SEEK_END)
    alignment = PAGE if value.nbytes >= PAGE else LINE
    offset = math.ceil(start / alignment) * alignment
    self._file.write(b'\0' * (offset - start))
    self._file.write(value.data if value.ndim else value.tobytes())
    tensor = TensorProto(
      name=name,
      dims=value.shape,
      data_type=onnx.helper.np_dtype_to_tensor_dtype(value.dtype),
      data_location=TensorProto.EXTERNAL,
    )
    for key, text in (('location', NAME), ('offset', offset), ('length', value.nbytes)):
      tensor.external_data.add(key=key, value=str(text))
    self._places[name] = tensor
    return tensor
