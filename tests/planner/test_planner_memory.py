"""What a core holds."""

import dataclasses

import pytest

from switch_zoo import load_config
from switch_zoo.planner import memory, step
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


def test_activations_grow_with_the_microbatch_and_gradients_do_not():
  config, layout = load_config('switch_base_8'), layouts.parse('batch:8', 'batch:batch;experts:batch')
  small, large, whole = (
    memory.of_step(config, layout, step.build(config, n, batch_parts=8), microbatches)
    for n, microbatches in ((16, 2), (32, 2), (32, 1))
  )
  # bfloat16, but for routers.
  assert small.weights // 2 < small.gradients == large.gradients < small.weights // 2 * 1.001
  assert whole.gradients == 0 and whole.activations == large.activations
  assert small.activations < large.activations < 2.2 * small.activations


@pytest.mark.parametrize(('layers', 'temporaries'), [(2, 400), (12, 1253)])
def test_activations_are_near_the_compilers_temporaries(layers, temporaries):
  """libtpu 0.0.42.1, switch_base_128 on v3-32, 64 sequences of 512 and 114 tokens in one microbatch."""
  config = dataclasses.replace(load_config('switch_base_128'), num_encoder_layers=layers, num_decoder_layers=layers)
  layout = layouts.load_layout('v3-32/switch_base_128')
  built = step.build(config, 64, batch_parts=32).compiled()
  assert memory.of_step(config, layout, built).activations == pytest.approx(temporaries * MIB, rel=0.15)
