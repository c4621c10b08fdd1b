"""How a Mesh-TensorFlow tensor leaves the model: layers export it by name, hooks read it.

A layer calls `export('encoder/block_000/layer_003/MoE1D/load', load)`. When the graph is lowered the tensor lands in a
TensorFlow collection; whatever writes progress lines or summaries reads it with `exported()`. A layer does not know who
reads, and nothing is written inside the algorithm. All state is in collections of the TensorFlow graph, so that another
graph starts without any.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf

COLLECTION = 'switch_zoo/exported'
_LOOPS = 'switch_zoo/loops_over_microbatches'
_SILENT = 'switch_zoo/nothing_is_exported'


class ExportOperation(mtf.Operation):
  """Has no output: puts (name, tf.Tensor of the whole, unsplit value) into a collection when it is lowered."""

  def __init__(self, tensor: mtf.Tensor, export_name: str) -> None:
    super().__init__([tensor], name='export')
    self._export_name = export_name

  def lower(self, lowering: mtf.Lowering) -> None:
    """Adds the value to the collection of the TensorFlow graph."""
    value = lowering.export_to_tf_tensor(self.inputs[0])
    tf.add_to_collection(COLLECTION, (self._export_name, value))


class _Loop(NamedTuple):
  """A loop over microbatches whose body is being built. A value inside cannot leave unless the loop returns it.

  tensors: name -> what the loop will return
  share: of one microbatch in the step
  """

  tensors: dict[str, mtf.Tensor]
  share: float


def export(name: str, tensor: mtf.Tensor, summed: bool = False) -> None:
  """Makes a tensor readable by `exported` once the graph is lowered.

  Args:
    name: the name it is read by
    tensor: <dtype>[any axes but the batch's]
    summed: with microbatches, the step's value is the sum of the microbatches' values and not their mean
  """
  if tf.get_collection(_SILENT):
    return
  tensor = mtf.stop_gradient(tensor)
  loops = tf.get_collection_ref(_LOOPS)
  if loops:
    loops[-1].tensors[name] = tensor if summed else tensor * loops[-1].share
  else:
    ExportOperation(tensor, name)


@contextlib.contextmanager
def silent() -> Iterator[None]:
  """Within, layers export nothing: those of a model that is not the one trained."""
  marks = tf.get_collection_ref(_SILENT)
  marks.append(True)
  try:
    yield
  finally:
    marks.pop()


def exported() -> dict[str, tf.Tensor]:
  """Name -> tf.Tensor of everything the layers of the default graph exported."""
  return dict(tf.get_collection(COLLECTION))


def through_microbatches(serialize_training_step: Callable[..., Any]) -> Callable[..., Any]:
  """`mtf.serialize_training_step` whose model function may export: the loop's sums are exported after it."""

  @functools.wraps(serialize_training_step)
  def serialize(
    features: Mapping[str, mtf.Tensor],
    model_fn: Callable[[Mapping[str, mtf.Tensor]], Mapping[str, mtf.Tensor]],
    batch_dim: mtf.Dimension,
    num_splits: int,
  ) -> tuple[list[mtf.Tensor], dict[str, mtf.Tensor]]:
    def observed(microbatch: Mapping[str, mtf.Tensor]) -> dict[str, mtf.Tensor]:
      loops = tf.get_collection_ref(_LOOPS)
      loops.append(_Loop({}, 1.0 / num_splits))
      try:
        outputs = model_fn(microbatch)
        return {**outputs, **{f'exported/{name}': tensor for name, tensor in loops[-1].tensors.items()}}
      finally:
        loops.pop()

    gradients, outputs = serialize_training_step(features, observed, batch_dim, num_splits)
    for name in [key for key in outputs if key.startswith('exported/')]:
      ExportOperation(outputs.pop(name), name.removeprefix('exported/'))
    return gradients, outputs

  return serialize
