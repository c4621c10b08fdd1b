"""How an export answers: what `export`, `generate` and `score` can set."""

from typing import NamedTuple

from switch_zoo import number_format
from switch_zoo.errors import UserError
from switch_zoo.keras import generation
from switch_zoo.keras.sequence_slots import CapacitySetting


class ExportSettings(NamedTuple):
  """How an export answers.

  dtype: of weights and activations; 'auto': the one this machine computes fast in
  max_new_tokens: the longest answer
  max_input_tokens: longer inputs and targets are truncated to this
  beam: generation.Beam, or None
  sampling: generation.Sampling, or None
  seed: for sampling; None: other answers every time
  expert_capacity: tokens of a text that an expert has room for: a number, 'checkpoint' or 'none'; see sequence_slots
  """

  dtype: str = number_format.AUTO
  max_new_tokens: int = 64
  max_input_tokens: int = 1024
  beam: generation.Beam | None = None
  sampling: generation.Sampling | None = None
  seed: int | None = None
  expert_capacity: CapacitySetting = None

  def check(self) -> None:
    """Raises UserError for a setting that makes no sense."""
    if self.dtype not in number_format.SETTINGS:
      raise UserError(f'--dtype={self.dtype}: use one of {", ".join(number_format.SETTINGS)}.')
    for name in ('max_new_tokens', 'max_input_tokens'):
      if getattr(self, name) < 1:
        raise UserError(f'--{name.replace("_", "-")}={getattr(self, name)} must be at least 1.')
    if self.beam and self.sampling:
      raise UserError('A beam search does not draw tokens: give either --beam-size, or --temperature and its options.')
    for part in filter(None, (self.beam, self.sampling)):
      part.check()
