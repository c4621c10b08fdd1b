"""Everything in released code that a run replaces: what, why, and when the replacement can be removed.

Each wrapper is in the module of its subject; here is the one list of them. `tf_compat` is separate: it repairs what
would keep Mesh-TensorFlow and T5 from being imported at all. And gin files import `mesh.vocabulary`, which masks the
logits of a model however it is run.
"""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import mesh_tensorflow.transformer.dataset as mesh_dataset
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf
from mesh_tensorflow import ops_with_redefined_builtins, optimize, placement_mesh_impl
from mesh_tensorflow.transformer import attention

from switch_zoo.launcher import (
  adafactor,
  answers,
  building,
  estimators,
  evaluation,
  exports,
  gradient_norm,
  latest,
  model_function,
  noise,
  one_slice,
  products,
  seeds,
  seen_data,
)
from switch_zoo.launcher.validation import owed
from switch_zoo.mesh import observe
from switch_zoo.tasks import packing

Wrap = Callable[[Any], Callable[..., Any]]


class Replacement(NamedTuple):
  """One replaced function.

  module, name: the function is the attribute of a module or class
  wrap: from the released function (None if the module has no such attribute) to ours
  why: what the released one does not do
  until: when this entry can be removed
  """

  module: ModuleType | type
  name: str
  wrap: Wrap
  why: str
  until: str


TABLE = (
  Replacement(
    tf.train,
    'latest_checkpoint',
    latest.with_newest,
    why='finds no checkpoint where the state file is lost, damaged or of another folder',
    until='TensorFlow looks at the files of the folder too',
  ),
  Replacement(
    mesh_utils,
    'get_checkpoint_iterator',
    lambda released: latest.of_first_process(latest.with_whole(released)),
    why='takes what a killed training left for checkpoints; each of several processes lists what it sees',
    until='Mesh-TensorFlow lists only checkpoints that have an index, and runs as several processes',
  ),
  Replacement(
    mesh_utils,
    'tpu_estimator_model_fn',
    model_function.with_hooks,
    why='prints every step and takes no hooks: no progress, summaries or seed',
    until='Mesh-TensorFlow takes training and prediction hooks',
  ),
  Replacement(
    mesh_utils,
    'get_estimator',
    lambda released: evaluation.with_kept_evaluations(
      seen_data.with_seen_data_skipped(
        estimators.chosen(owed.with_owed_validation(building.with_pruned_graphs(released)))
      )
    ),
    why='what a perplexity run measures goes to TensorBoard only; a resumed training reads its first batches again; '
    'a training without a step left makes no session that could validate; '
    'sessions prepare the whole graph for every value that is read at the start',
    until='Mesh-TensorFlow returns what it evaluates, skips data where the number of steps does not say how much, and '
    'takes the settings of sessions',
  ),
  Replacement(
    mesh_utils,
    'decode',
    answers.as_text,
    why="answers that the graph has decoded to text are written as Python's b'...'",
    until='Mesh-TensorFlow writes answers that are text already',
  ),
  Replacement(
    mesh_utils,
    'get_inputs_from_file',
    answers.without_mark,
    why='takes a byte order mark for a part of the first input',
    until='Mesh-TensorFlow reads files as utf-8-sig',
  ),
  Replacement(
    mesh_utils,
    'save_scores',
    lambda released: answers.save_scores,
    why='fails on targets that the graph has decoded to text',
    until='Mesh-TensorFlow saves scores of targets that are text already',
  ),
  Replacement(
    mesh_utils,
    'export_model',
    exports.with_checksums,
    why='writes no checksums, so that a damaged export answers wrongly',
    until='SavedModels have checksums of their own',
  ),
  Replacement(
    mesh_dataset,
    'pack_or_pad',
    packing.with_packing,
    why='packs in a loop of TensorFlow operations, which takes longer than the rest of the input pipeline',
    until="seqio's or Mesh-TensorFlow's packing is as fast",
  ),
  Replacement(
    mtf,
    'serialize_training_step',
    lambda released: observe.through_microbatches(noise.numbered(released)),
    why='nothing that a layer exports can leave the loop over microbatches, and noise does not know its microbatch',
    until='its loop returns what the model function returns besides the loss, and numbers microbatches',
  ),
  Replacement(
    mtf.RandomOperation,
    'lower',
    noise.with_step,
    why='noise depends on the steps that this process has done, so that a resumed run differs',
    until='Mesh-TensorFlow draws random numbers from seed and step',
  ),
  Replacement(
    placement_mesh_impl,
    'hash',
    lambda released: seeds.checksum,
    why="seeds random operations with Python's hash of a text, which differs from process to process",
    until='Mesh-TensorFlow takes a seed',
  ),
  Replacement(
    ops_with_redefined_builtins,
    'parallel',
    building.in_name_scopes,
    why='opens a variable scope for every operation, which takes a fifth of the time of a graph',
    until='Mesh-TensorFlow opens none for one device',
  ),
  Replacement(
    optimize.Optimizer,
    'apply_grads',
    gradient_norm.with_norm,
    why='the norm of the gradients is known nowhere',
    until='Mesh-TensorFlow returns it with the loss',
  ),
  Replacement(
    optimize.AdafactorOptimizer,
    'apply_grads',
    adafactor.fused,
    why='reads or writes a tensor as large as the weight 25 times a step',
    until="Mesh-TensorFlow's optimizer is compiled on processors too",
  ),
  Replacement(
    attention,
    'attention',
    one_slice.by_heads,
    why='copies queries, keys, values or weights before each product on a processor',
    until="TensorFlow's einsum on a processor needs no copy where heads come after positions",
  ),
  Replacement(
    mtf,
    'softmax',
    one_slice.one_softmax,
    why='is seven operations, with exp twice',
    until='Mesh-TensorFlow has a softmax of one operation',
  ),
  Replacement(
    mtf,
    'gather',
    one_slice.by_index,
    why='reads rows of an embedding by a product with one-hot vectors, as large as that of the logits',
    until='Mesh-TensorFlow reads rows by index where a dimension is not cut',
  ),
  Replacement(
    mtf.MeshImpl,
    'einsum',
    products.of_matrices,
    why='multiplies a batch of matrices where one would do',
    until="TensorFlow's einsum on a processor is as fast as its product of matrices",
  ),
)


def install() -> None:
  """Makes all replacements of the table; calling it again changes nothing."""
  for replacement in TABLE:
    replace(replacement.module, replacement.name, replacement.wrap)


_installed: dict[tuple[str, str], Callable[..., Any]] = {}


def replace(module: ModuleType | type, name: str, wrap: Wrap) -> None:
  """Replaces a module's function, unless ours is in place already, alone or inside someone else's wrapper.

  Args:
    module, name: the function
    wrap: from the released function to ours
  """
  ours = _installed.get((module.__name__, name))
  present = getattr(module, name, None)
  if ours is not None and present is not None and _contains(present, ours):
    return
  ours = _installed[module.__name__, name] = wrap(present)
  setattr(module, name, ours)


def _contains(function: Callable[..., Any], ours: Callable[..., Any]) -> bool:
  """Whether a function is ours or, by its chain of `__wrapped__`, a wrapper of it."""
  return inspect.unwrap(function, stop=lambda inner: inner is ours) is ours
