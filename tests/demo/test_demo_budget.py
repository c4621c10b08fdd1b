"""The numbers of the demo, against the code that uses them."""

import math

from t5.data.preprocessors import random_spans_helper

from switch_zoo.demo.budget import DemoBudget
from switch_zoo.spec.token_ids import NUM_SENTINELS
from switch_zoo.spec.zoo import load_config

BUDGET = DemoBudget()


def test_spans_of_pretraining_fill_the_lengths():
  _, targets = random_spans_helper(
    inputs_length=BUDGET.pretrain.inputs_length,
    noise_density=0.15,
    mean_noise_span_length=3.0,
    extra_tokens_per_span_inputs=1,
    extra_tokens_per_span_targets=1,
  )
  assert targets == BUDGET.pretrain.targets_length


def test_pretraining_predicts_about_half_a_million_tokens():
  # Of the 14 targets of a sequence 3 are sentinels and one is the end.
  predicted = BUDGET.pretrain.steps * BUDGET.pretrain.batch_size * (BUDGET.pretrain.targets_length - 4)
  assert math.isclose(predicted, 500_000, rel_tol=0.05)


def test_every_training_ends_with_a_checkpoint():
  for training in (BUDGET.pretrain, BUDGET.finetune):
    assert training.steps % training.save_steps == 0


def test_the_vocabulary_fits_the_model():
  assert BUDGET.num_pieces + NUM_SENTINELS == load_config('tiny_switch_8').vocab_size
