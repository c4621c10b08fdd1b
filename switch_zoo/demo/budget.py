"""What the demo spends. The figures it prints follow from these numbers, the seed and the interpreter's text."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Training:
  """One training: steps, sequences in a batch, their lengths in tokens, Adafactor's learning rate, steps to a save."""

  steps: int
  batch_size: int
  inputs_length: int
  targets_length: int
  learning_rate: float
  save_steps: int


@dataclasses.dataclass(frozen=True)
class Budget:
  """The whole demo.

  num_pieces: of the vocabulary, special ids included, sentinels not
  pretrain, finetune: both fine-tunings, with and without pre-training, spend the same
  eval_batch_size: sequences decoded at once
  answer_length: tokens of an answer, the end of sequence included
  """

  num_pieces: int = 1948
  pretrain: Training = Training(
      steps=400, batch_size=64, inputs_length=64, targets_length=32, learning_rate=0.02, save_steps=100
  )
  finetune: Training = Training(
      steps=200, batch_size=16, inputs_length=128, targets_length=16, learning_rate=0.005, save_steps=100
  )
  eval_batch_size: int = 32
  answer_length: int = 4
