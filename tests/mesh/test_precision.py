"""bfloat16 training with the router in float32 tracks float32 training: arXiv:2101.03961, Table 2."""

from collections.abc import Iterator
from pydoc_data import topics

import mesh_harness
import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import observe

VOCAB, LENGTH, BATCH, STEPS = 128, 32, 32, 300


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Real text, CPython's own documentation, as characters: 32 as inputs, the next 32 as targets. 0 is padding."""
  text = ' '.join(topics.topics[name] for name in sorted(topics.topics)).encode('ascii', 'replace')
  ids = np.frombuffer(text, np.uint8).astype(np.int32)
  generator = np.random.default_rng(0)
  for _ in range(STEPS):
    starts = generator.integers(0, len(ids) - 2 * LENGTH, BATCH)
    window = ids[starts[:, None] + np.arange(2 * LENGTH)]
    yield window[:, :LENGTH], window[:, LENGTH:]


def losses_of_training(activation_dtype: str) -> tuple[np.ndarray, set[tf.DType]]:
  """Trains tiny_switch_8, always from the same weights on the same batches.

  Without jitter, whose noise would differ between the two dtypes.

  Returns:
    the cross-entropy of each step, and the dtypes of the losses
  """
  parameters = [f'vocab_size = {VOCAB}', f'activation_dtype = {activation_dtype!r}', "routing.Top1.policy = 'argmax'"]
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(0)
    config = mesh_graph.configure(['models/tiny_switch_8.gin'], parameters)
    fed = {name: tf.placeholder(tf.int32, [BATCH, LENGTH]) for name in ('inputs', 'targets')}
    batch = mesh_graph.Batch(BATCH, dict.fromkeys(fed, LENGTH))
    training = mesh_graph.build_training(mesh_graph.build_model(config), batch, fed, learning_rate=0.01)
    implementation = mesh_harness.Mesh().implementation()
    lowering = mtf.Lowering(training.graph, {training.mesh: implementation}, autostack=False)
    step = [lowering.lowered_operation(update) for update in training.updates]
    cross_entropy = observe.exported()['loss/cross_entropy']
    session.run(tf.global_variables_initializer())
    session.run(lowering.copy_masters_to_slices())
    feeds = [dict(zip(fed.values(), pair, strict=True)) for pair in batches()]
    values = [session.run([cross_entropy, step], feed)[0] for feed in feeds]
    return np.array(values), {t.dtype for t in (training.loss, cross_entropy)}


@pytest.mark.slow
def test_selective_precision_tracks_float32_for_300_steps():
  (full, _), (selective, dtypes) = (losses_of_training(d) for d in ('float32', 'bfloat16'))
  assert dtypes == {tf.float32}
  assert full[-20:].mean() < 0.8 * full[:20].mean()  # it learns
  # A sixth of the run at a time: means over fewer steps depend too much on single batches.
  windows = [slice(i, i + 50) for i in range(0, STEPS, 50)]
  np.testing.assert_allclose([selective[w].mean() for w in windows], [full[w].mean() for w in windows], rtol=0.02)
