"""Options of `generate` and `score` for an ONNX export: those that are given replace what it was exported with."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import typer

from switch_zoo.commands import answering
from switch_zoo.errors import UserError

if TYPE_CHECKING:
  from switch_zoo.onnx_runner.settings import AnswerSettings
  from switch_zoo.onnx_runner.text_model import OnnxTextModel

# What an export has taken from its weights, and options that belong together.
FIXED = ('model', 'vocab', 'target_vocab', 'dtype', 'expert_capacity')
BEAM = ('beam_size', 'length_penalty', 'beam_rule', 'early_stopping')
SAMPLING = ('temperature', 'top_k', 'top_p')
PROCESSORS = ('repetition_penalty', 'no_repeat_ngram_size', 'min_new_tokens', 'forced_bos_token_id')
OTHERS = ('max_new_tokens', 'max_input_tokens', 'num_return_sequences', 'seed')


def opened(context: typer.Context, source: str) -> 'OnnxTextModel | None':
  """The ONNX export in a folder, set to the options of a command; None if it is not one.

  Raises:
    UserError: the export is damaged, or an option does not go with it
  """
  from switch_zoo.onnx_runner import folder

  version = folder.version_folder(source)
  options = context.params
  given = {name for name in options if _is_given(context, name)}
  if version is None:
    if 'threads' in given:
      raise UserError(f'--threads is for an ONNX export, and {source} is not one. Leave it out.')
    return None
  for name in FIXED:
    if name in given:
      raise UserError(
        f'--{name.replace("_", "-")} is for a folder of weights, and {source} is an ONNX export: it was chosen when it '
        'was exported. Leave it out, or export again.'
      )
  from switch_zoo.onnx_runner.text_model import OnnxTextModel

  model = OnnxTextModel(version, options['threads'])
  model.settings = with_options(model.settings, options, given)
  model.settings.check(model.facts.num_ids)
  return model


def with_options(settings: 'AnswerSettings', options: Mapping[str, Any], given: Collection[str]) -> 'AnswerSettings':
  """Settings in which the options that are given replace what was there; of a search, all of its options at once."""
  from switch_zoo.onnx_runner.drawing import Sampling
  from switch_zoo.onnx_runner.settings import RULES

  fields: dict[str, Any] = {name: options[name] for name in OTHERS if name in given}
  has_beam, has_sampling = (any(name in given for name in names) for names in (BEAM, SAMPLING))
  if has_beam or has_sampling:  # one replaces the other; both is a mistake, which the check reports
    fields['beam'] = answering.beam(*(options[name] for name in BEAM), rules=RULES) if has_beam else None
    fields['sampling'] = (
      answering.sampling(*(options[name] for name in SAMPLING), kind=Sampling) if has_sampling else None
    )
  processors = {name: options[name] for name in PROCESSORS if name in given}
  return settings._replace(**fields, processors=settings.processors._replace(**processors))


def _is_given(context: typer.Context, name: str) -> bool:
  source = context.get_parameter_source(name)
  return source is not None and source.name == 'COMMANDLINE'
