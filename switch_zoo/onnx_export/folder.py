"""The whole ONNX export, written or not at all: graphs, weights, vocabulary, README."""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from switch_zoo.checkpoints import file_checksums, sources
from switch_zoo.errors import UserError, full_disk
from switch_zoo.keras import export, export_readme
from switch_zoo.keras.beams import BeamRule, TransformersBeam
from switch_zoo.keras.export_settings import ExportSettings
from switch_zoo.onnx_export import feed_forward, int8_loss, readme
from switch_zoo.onnx_export.products import DTYPES, FLOAT32, INT8
from switch_zoo.onnx_runner import beam_rules, text_ids
from switch_zoo.onnx_runner import folder as runner_folder
from switch_zoo.onnx_runner.drawing import Sampling
from switch_zoo.onnx_runner.folder import ExportFacts
from switch_zoo.onnx_runner.processors import LogitsProcessors
from switch_zoo.onnx_runner.settings import AnswerSettings
from switch_zoo.onnx_runner.text_model import OnnxTextModel
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import SELF_ATTENTION
from switch_zoo.vocabulary import choosing
from switch_zoo.vocabulary.opening import open_table


class OnnxSource(NamedTuple):
  """What an export is made from.

  config: ModelConfig
  read: Mesh-TensorFlow's name of a variable -> its value
  vocabulary: TextIds
  settings: ExportSettings; their dtype is one of DTYPES
  """

  config: ModelConfig
  read: Callable[[str], Any]
  vocabulary: text_ids.TextIds
  settings: ExportSettings


def open_source(source: str, model: str | None, vocab: str | None, settings: ExportSettings) -> OnnxSource:
  """Opens a folder of weights of any format; the arguments are those of `keras.export.open_model`.

  Raises:
    UserError: as `keras.export.open_model`, and for what an ONNX export cannot have
  """
  dtype = FLOAT32 if settings.dtype == 'auto' else settings.dtype
  if dtype not in DTYPES:
    raise UserError(f'--dtype={dtype}: an ONNX export has one of {", ".join(DTYPES)}.')
  settings._replace(dtype=FLOAT32).check()
  if settings.expert_capacity not in (None, 'none'):
    raise UserError(
      f'--expert-capacity={settings.expert_capacity}: the experts of an ONNX export have room for all tokens. Leave it '
      'out, or export a SavedModel.'
    )
  weights = sources.open_source(source, model)
  feed_forward.check(weights.config)
  export.check_end(weights.config)
  chosen = choosing.chosen(vocab, source if os.path.isdir(source) else os.path.dirname(source))
  vocabulary = text_ids.ByteIds() if chosen == choosing.BYTES else text_ids.PieceIds(open_table(chosen))
  export.check_vocabulary_size(chosen, vocabulary.size, weights.config)
  settings.processors.check_vocabulary(weights.config.num_target_ids)
  return OnnxSource(weights.config, weights.whole, vocabulary, settings._replace(dtype=dtype))


def write(source: OnnxSource, folder: str, sample: Sequence[bytes] = (), targets: Sequence[str] = ()) -> str:
  """Writes an export, whole or not at all.

  Args:
    source: OnnxSource
    folder: new or empty
    sample: texts on which int8 is compared with float32
    targets: of these texts; empty: they have none
  Returns:
    what the comparison gave, a sentence; '' without one
  Raises:
    UserError: the folder exists and is not empty, or it cannot be written
  """
  export.check_destination(folder)
  path = os.path.abspath(folder)
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with export.emptied(os.path.join(os.path.dirname(path), f'.export-{os.path.basename(path)}')) as complete:
      version = os.path.join(complete, '1')
      facts = _write_version(source, version, source.settings.dtype)
      loss = _loss(source, version, sample, targets) if sample and facts.dtype == INT8 else None
      method, is_bytes = export_readme.method(source.settings), source.vocabulary.table is None
      with open(os.path.join(complete, 'README.md'), 'w', encoding='utf-8') as file:
        file.write(readme.text(os.path.basename(path), facts, method, is_bytes, loss))
      os.replace(complete, path)
  except OSError as error:
    full = full_disk(error)
    if full:
      raise UserError(
        f'{full} for {folder}. Nothing was written: free some space, or choose a folder on another disk.'
      ) from error
    raise UserError(
      f'{folder} cannot be written: {error.strerror or error}. Choose a folder that you may write to.'
    ) from error
  return readme.sentence(loss) if loss else ''


def _write_version(source: OnnxSource, folder: str, dtype: str) -> ExportFacts:
  """Everything but the README."""
  from switch_zoo.onnx_export import weight_file
  from switch_zoo.onnx_export.decoder import decoder
  from switch_zoo.onnx_export.encoder import encoder
  from switch_zoo.onnx_export.stacks import Stack

  os.mkdir(folder)
  with open(os.path.join(folder, weight_file.NAME), 'wb') as file:
    weights = weight_file.WeightFile(file)
    for scope, build in (('encoder', encoder), ('decoder', decoder)):
      graph = build(Stack(source.config, source.read, weights, dtype, scope))
      with open(os.path.join(folder, f'{scope}.onnx'), 'wb') as graph_file:
        graph_file.write(graph.SerializeToString())
  facts = _facts(source, dtype)
  runner_folder.write_facts(facts, folder)
  text_ids.write(source.vocabulary, folder)
  file_checksums.write(folder)
  return facts


def _facts(source: OnnxSource, dtype: str) -> ExportFacts:
  config = source.config
  return ExportFacts(
    config.name,
    config.num_parameters,
    dtype,
    config.num_heads,
    config.d_kv,
    config.decoder_block.count(SELF_ATTENTION) * config.num_decoder_blocks,
    config.target_vocab_size,
    config.num_target_ids,
    config.end_id,
    _answer_settings(source.settings),
  )


def _answer_settings(given: ExportSettings) -> AnswerSettings:
  """The same settings for the runner, whose classes have the same fields without TensorFlow."""
  beam = _beam(given.beam)
  sampling = Sampling(*given.sampling) if given.sampling else None
  processors = LogitsProcessors(*given.processors)
  lengths = given.max_new_tokens, given.max_input_tokens
  return AnswerSettings(*lengths, beam, sampling, given.seed, processors, given.num_return_sequences)


def _beam(given: BeamRule | None) -> beam_rules.BeamRule | None:
  if isinstance(given, TransformersBeam):
    return beam_rules.TransformersBeam(given.size, given.length_penalty, given.early_stopping)
  return beam_rules.Beam(given.size, given.length_penalty) if given else None


def _loss(source: OnnxSource, version: str, sample: Sequence[bytes], targets: Sequence[str]) -> dict[str, float]:
  """Compares the export with one in float32, which is removed again."""
  with tempfile.TemporaryDirectory(dir=os.path.dirname(version)) as temporary:
    reference = os.path.join(temporary, '1')
    _write_version(source, reference, FLOAT32)
    return int8_loss.measure(OnnxTextModel(version), OnnxTextModel(reference), sample, targets)
