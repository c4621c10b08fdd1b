"""What the demo spends. The figures it prints follow from these numbers, the seed and the interpreter's text."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainingBudget:
  """What one training spends.

  steps: steps of the optimizer
  batch_size: sequences in a batch
  inputs_length, targets_length: tokens of a sequence
  learning_rate: initial learning rate of Adafactor; it falls linearly to 0
  save_steps: steps between checkpoints
  """

  steps: int
  batch_size: int
  inputs_length: int
  targets_length: int
  learning_rate: float
  save_steps: int


@dataclasses.dataclass(frozen=True)
class DemoBudget:
  """What the whole demo spends, chosen to pay off in two minutes on two cores.

  The matrices and the vocabulary are small because the gain from pre-training grows with the number of tokens seen:
  about half a million are predicted here, 15 percent of the text. The fine-tuning can be short because the model
  already knows the language; with twice the steps, the model without pre-training comes closer.

  num_pieces: entries of the vocabulary, including special ids but not sentinels
  pretrain: the pre-training
  finetune: each of the two fine-tunings, with and without pre-training
  eval_batch_size: sequences decoded in one batch
  answer_length: tokens of an answer, including the end of sequence
  """

  num_pieces: int = 924
  # Inputs of 64 tokens make targets of exactly 14 (t5.data.preprocessors.random_spans_helper).
  pretrain: TrainingBudget = TrainingBudget(
    steps=800, batch_size=64, inputs_length=64, targets_length=14, learning_rate=0.05, save_steps=100
  )
  # Saved only at its end: after an interruption it starts over, with the same dropout as before.
  finetune: TrainingBudget = TrainingBudget(
    steps=120, batch_size=16, inputs_length=128, targets_length=16, learning_rate=0.05, save_steps=120
  )
  eval_batch_size: int = 32
  answer_length: int = 4
