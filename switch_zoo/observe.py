"""How a Mesh-TensorFlow tensor leaves the model: layers export it by name, hooks read it.

A layer calls `export('encoder/block_000/layer_003/load', load)`. When the graph is lowered the tensor lands in a
TensorFlow collection; whoever writes progress lines or summaries reads it with `exported()`. Nothing in a layer
knows who reads, and nothing is written inside the algorithm.
"""
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

COLLECTION = 'switch_zoo/exported'


class ExportOperation(mtf.Operation):
  """Has no output: puts (name, tf.Tensor of the whole, unsplit value) into a collection when it is lowered."""

  def __init__(self, tensor: mtf.Tensor, export_name: str):
    super().__init__([tensor], name='export')
    self._export_name = export_name

  def lower(self, lowering):
    value = lowering.export_to_tf_tensor(self.inputs[0])
    tf.add_to_collection(COLLECTION, (self._export_name, value))


def export(name: str, tensor: mtf.Tensor) -> None:
  """Makes `tensor` (<dtype>[any axes]) readable by `exported` under `name` once the graph is lowered."""
  ExportOperation(mtf.stop_gradient(tensor), name)


def exported() -> dict[str, tf.Tensor]:
  """Name -> tf.Tensor of everything the layers of the default graph exported."""
  return dict(tf.get_collection(COLLECTION))
