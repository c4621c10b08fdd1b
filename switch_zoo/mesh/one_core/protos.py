"""XLA's protocol buffers, which TensorFlow has; generated when it is imported, they have no types."""

from typing import Any

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

hlo: Any = hlo_pb2
data: Any = xla_data_pb2
