"""How an export answers: what `export`, `generate` and `score` can set."""

from typing import NamedTuple

from switch_zoo import number_format
from switch_zoo.errors import UserError
from switch_zoo.keras import generation
from switch_zoo.keras.sequence_slots import CapacitySetting
from switch_zoo.spec import answer_checks


class ExportSettings(NamedTuple):
  """How an export answers.

  dtype: of weights and activations; 'auto': the one this machine computes fast in
  max_new_tokens: the longest answer
  max_input_tokens: longer inputs and targets are truncated to this
  beam: generation.Beam or TransformersBeam, or None
  sampling: generation.Sampling, or None
  seed: for sampling; None: other answers every time
  processors: generation.LogitsProcessors
  num_return_sequences: answers to each input
  expert_capacity: tokens of a text that an expert has room for: a number, 'checkpoint' or 'none'; see sequence_slots
  """

  dtype: str = number_format.AUTO
  max_new_tokens: int = 64
  max_input_tokens: int = 1024
  beam: generation.BeamRule | None = None
  sampling: generation.Sampling | None = None
  seed: int | None = None
  processors: generation.LogitsProcessors = generation.LogitsProcessors()
  num_return_sequences: int = 1
  expert_capacity: CapacitySetting = None

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    if self.dtype not in number_format.SETTINGS:
      raise UserError(f'--dtype={self.dtype}: use one of {", ".join(number_format.SETTINGS)}.')
    answer_checks.check_lengths(self.max_new_tokens, self.max_input_tokens)
    answer_checks.check_one_way(self.beam, self.sampling)
    generation.check(self.max_new_tokens, self.beam, self.sampling, self.processors, self.num_return_sequences)
