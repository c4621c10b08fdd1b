"""How an ONNX export answers: what `export`, `generate` and `score` can set, and the same as JSON."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from switch_zoo.onnx_runner.beam_rules import Beam, BeamRule, TransformersBeam
from switch_zoo.onnx_runner.drawing import Sampling
from switch_zoo.onnx_runner.processors import LogitsProcessors
from switch_zoo.spec import answer_checks

RULES = {'t5': Beam, 'transformers': TransformersBeam}


class AnswerSettings(NamedTuple):
  """How an export answers. As in `keras.export_settings`; seed None: other samples every time."""

  max_new_tokens: int = 64
  max_input_tokens: int = 1024
  beam: BeamRule | None = None
  sampling: Sampling | None = None
  seed: int | None = None
  processors: LogitsProcessors = LogitsProcessors()
  num_return_sequences: int = 1

  def check(self, num_ids: int) -> None:
    """Raises UserError for a setting that makes no sense for a model with this many ids."""
    answer_checks.check_lengths(self.max_new_tokens, self.max_input_tokens)
    answer_checks.check_one_way(self.beam, self.sampling)
    if self.beam:
      answer_checks.check_beam(self.beam.size, getattr(self.beam, 'early_stopping', False))
    if self.sampling:
      answer_checks.check_sampling(*self.sampling)
    answer_checks.check_processors(*self.processors, self.max_new_tokens)
    answer_checks.check_forced_token(self.processors.forced_bos_token_id, num_ids)
    answer_checks.check_number_of_answers(self.num_return_sequences, self.beam, self.sampling)

  def as_json(self) -> dict[str, Any]:
    """As values that JSON can hold."""
    fields = self._asdict()
    for name in ('sampling', 'processors'):
      fields[name] = fields[name] and fields[name]._asdict()
    if self.beam:
      rule = next(name for name, rule in RULES.items() if isinstance(self.beam, rule))
      fields['beam'] = {'rule': rule, **self.beam._asdict()}
    return fields


def from_json(fields: Mapping[str, Any]) -> AnswerSettings:
  """What `as_json` returned. Raises TypeError, KeyError or ValueError for anything else."""
  values = dict(fields)
  if values['beam']:
    rule = dict(values['beam'])
    values['beam'] = RULES[rule.pop('rule')](**rule)
  if values['sampling']:
    values['sampling'] = Sampling(**values['sampling'])
  return AnswerSettings(**{**values, 'processors': LogitsProcessors(**values['processors'])})
