"""What a core holds."""

from switch_zoo import load_config
from switch_zoo.planner import attention, lives, memory, slicing, step, tensors
from switch_zoo.spec import layouts

MIB = 2**20


def test_weights_and_optimizer_are_the_arguments_that_the_tpus_compiler_reports():
  """libtpu 0.0.42.1, the whole step of switch_base_128 on v3-32: 1506 MiB of arguments."""
  config, layout = load_config('switch_base_128'), layouts.load_layout('v3-32/switch_base_128')
  held = memory.weights(config, layout) + memory.optimizer_state(config, layout)
  assert round(held / MIB) == 1506


def test_a_core_holds_its_share_of_weights():
  config = load_config('switch_base_8')
  layout = layouts.parse('batch:8', 'batch:batch;experts:batch')
  assert memory.weights(config, layout) == 4 * layouts.parameters_per_core(layout, config)


def test_with_the_microbatch_grow_activations_and_neither_copies_nor_sums_of_gradients():
  config, layout = load_config('switch_base_8'), layouts.parse('batch:8', 'batch:batch;experts:batch')
  small, large, whole = (
    memory.of_step(config, layout, step.build(config, n, batch_parts=8), microbatches)
    for n, microbatches in ((16, 2), (32, 2), (32, 1))
  )
  # bfloat16, but for routers, which are read as they are kept: copies of the rest, and a sum for each.
  assert 0.99 * small.weights < 2 * small.copies < small.weights < 2 * small.gradients < 1.001 * small.weights
  assert (small.copies, small.gradients, small.code) == (large.copies, large.gradients, large.code)
  assert whole.gradients == 0 and whole.activations == large.activations
  # The embedding, in bfloat16 and float32.
  assert whole.copies == config.vocab_size * config.d_model * (2 + 4)
  assert small.activations < large.activations < 2.2 * small.activations


def test_what_is_multiplied_next_is_not_kept_and_gradients_are():
  """softmax(x) W: the product computes the exponentials again from x and the two reductions."""
  graph = tensors.Graph()
  rows, columns, out = ('rows', 4), ('columns', 8), ('out', 2)
  a, b = (graph.variable(name, axes, tensors.FLOAT32) for name, axes in (('a', (rows, columns)), ('b', (columns, out))))
  x = graph.einsum([a, b], (rows, out))
  y = attention.softmax(graph, x, 'out')
  c = graph.variable('c', (out, columns), tensors.FLOAT32)
  loss = graph.sum(graph.einsum([y, c], (rows, columns)), ())
  gradients = dict(zip('abc', graph.gradients(loss, [a, b, c]), strict=True))
  graph.use(loss)
  slices = slicing.Slicing(layouts.parse('batch:1', ''))
  cuts = slices.cuts(slicing.reshapes_of(graph))
  kept = lives.Held(graph.operations, cuts)
  assert kept.is_written(x) and not kept.is_written(y)
  assert lives.Held(graph.operations, cuts, with_operands=True).is_written(y)
  fullest, _ = lives.fullest(step.Step(graph, gradients), slices)
  # At the end, at least x, which every gradient is computed from, and the three gradients.
  assert fullest >= 4 * (4 * 2 + 4 * 8 + 8 * 2 + 2 * 8)
