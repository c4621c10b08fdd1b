"""How a Mesh-TensorFlow tensor leaves the model: layers export it by name, hooks read it.

A layer calls `export('encoder/block_000/layer_003/MoE1D/load', load)`. When the graph is lowered the tensor lands in a
TensorFlow collection; whoever writes progress lines or summaries reads it with `exported()`. Nothing in a layer knows
who reads, and nothing is written inside the algorithm.
"""

import functools
from typing import NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

COLLECTION = 'switch_zoo/exported'


class ExportOperation(mtf.Operation):
  """Has no output: puts (name, tf.Tensor of the whole, unsplit value) into a collection when it is lowered."""

  def __init__(self, tensor: mtf.Tensor, export_name: str):
    super().__init__([tensor], name='export')
    self._export_name = export_name

  def lower(self, lowering):
    """Adds the value to the collection of the TensorFlow graph."""
    value = lowering.export_to_tf_tensor(self.inputs[0])
    tf.add_to_collection(COLLECTION, (self._export_name, value))


class _Waiting(NamedTuple):
  """Inside the loop over microbatches a value cannot leave by itself: here it waits to become an output of the loop."""

  tensors: dict[str, mtf.Tensor]
  share: float  # of one microbatch in the step


_loops: list[_Waiting] = []


def export(name: str, tensor: mtf.Tensor, summed: bool = False) -> None:
  """Makes a tensor readable by `exported` once the graph is lowered.

  Args:
    name: what it is read by
    tensor: <dtype>[any axes but the batch's]
    summed: with microbatches, the step's value is the sum of the microbatches' and not the mean
  """
  tensor = mtf.stop_gradient(tensor)
  if _loops:
    _loops[-1].tensors[name] = tensor if summed else tensor * _loops[-1].share
  else:
    ExportOperation(tensor, name)


def exported() -> dict[str, tf.Tensor]:
  """Name -> tf.Tensor of everything the layers of the default graph exported."""
  return dict(tf.get_collection(COLLECTION))


def through_microbatches(serialize_training_step):
  """`mtf.serialize_training_step` whose model function may export: the loop's sums are exported after it."""

  @functools.wraps(serialize_training_step)
  def serialize(features, model_fn, batch_dim, num_splits):
    def observed(microbatch):
      _loops.append(_Waiting({}, 1.0 / num_splits))
      try:
        outputs = model_fn(microbatch)
        return {**outputs, **{f'exported/{name}': tensor for name, tensor in _loops[-1].tensors.items()}}
      finally:
        _loops.pop()

    gradients, outputs = serialize_training_step(features, observed, batch_dim, num_splits)
    for name in [key for key in outputs if key.startswith('exported/')]:
      ExportOperation(outputs.pop(name), name.removeprefix('exported/'))
    return gradients, outputs

  return serialize
