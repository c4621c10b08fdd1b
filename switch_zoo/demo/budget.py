"""What the demo spends. The figures it prints follow from these numbers, the seed and the interpreter's text."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Training:
  """One training.

  steps: of the optimizer
  batch_size, inputs_length, targets_length: sequences in a batch, and their tokens
  learning_rate: of Adafactor at the start; it falls to 0 in a line
  save_steps: from one checkpoint to the next
  """

  steps: int
  batch_size: int
  inputs_length: int
  targets_length: int
  learning_rate: float
  save_steps: int


@dataclasses.dataclass(frozen=True)
class Budget:
  """The whole demo: what pays in two minutes on two cores.

  Small matrices and a small vocabulary, because the gain of pre-training grows with the tokens seen: the 15 percent of
  them that are predicted number about half a million here. The fine-tuning is short, as it can be when the model knows
  the language already; given twice the steps, its twin without pre-training comes closer.

  num_pieces: of the vocabulary, special ids included, sentinels not
  pretrain, finetune: both fine-tunings, with and without pre-training, spend the same
  eval_batch_size: sequences decoded at once
  answer_length: tokens of an answer, the end of sequence included
  """

  num_pieces: int = 924
  # Inputs of 64 tokens make targets of exactly 14 (t5.data.preprocessors.random_spans_helper).
  pretrain: Training = Training(
    steps=800, batch_size=64, inputs_length=64, targets_length=14, learning_rate=0.05, save_steps=100
  )
  # Saved at its end only: interrupted it begins again, and dropout draws what it drew before.
  finetune: Training = Training(
    steps=120, batch_size=16, inputs_length=128, targets_length=16, learning_rate=0.05, save_steps=120
  )
  eval_batch_size: int = 32
  answer_length: int = 4
