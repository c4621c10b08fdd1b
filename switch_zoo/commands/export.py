"""`switch_zoo export SRC EXPORT_DIR`: weights of any format, text in and text out, for TensorFlow or ONNX Runtime."""

from types import ModuleType

import typer
from rich.console import Console

from switch_zoo.commands import answering
from switch_zoo.commands.generate import read_lines
from switch_zoo.commands.score import read_pairs
from switch_zoo.errors import UserError

SAVED_MODEL, ONNX = KINDS = ('saved_model', 'onnx')
SAMPLE_TEXTS = 200  # of a sample on which int8 is compared


def command(
  source: str = typer.Argument(..., metavar='SRC', help='Folder of Mesh-TensorFlow, Keras or Hugging Face weights.'),
  folder: str = typer.Argument(..., metavar='EXPORT_DIR', help='Folder to create.'),
  to: str = typer.Option(
    SAVED_MODEL, '--to', metavar='{saved_model,onnx}', help='For TensorFlow and TensorFlow Serving, or ONNX Runtime.'
  ),
  model: str | None = answering.MODEL,
  vocab: str | None = answering.VOCAB,
  target_vocab: str | None = answering.TARGET_VOCAB,
  dtype: str = answering.DTYPE,
  expert_capacity: str = answering.EXPERT_CAPACITY,
  max_new_tokens: int = answering.MAX_NEW_TOKENS,
  max_input_tokens: int = answering.MAX_INPUT_TOKENS,
  beam_size: int = answering.BEAM_SIZE,
  length_penalty: float | None = answering.LENGTH_PENALTY,
  beam_rule: str = answering.BEAM_RULE,
  early_stopping: str = answering.EARLY_STOPPING,
  temperature: float = answering.TEMPERATURE,
  top_k: int = answering.TOP_K,
  top_p: float = answering.TOP_P,
  num_return_sequences: int = answering.NUM_RETURN_SEQUENCES,
  repetition_penalty: float = answering.REPETITION_PENALTY,
  no_repeat_ngram_size: int = answering.NO_REPEAT_NGRAM_SIZE,
  min_new_tokens: int = answering.MIN_NEW_TOKENS,
  forced_bos_token_id: int | None = answering.FORCED_BOS_TOKEN_ID,
  seed: int | None = typer.Option(
    None, '--seed', help='Seed of sampling: the same batch gets the same answers every time.'
  ),
  sample: str | None = typer.Option(
    None,
    '--sample',
    help='A file on which --to onnx --dtype int8 is compared with float32: lines of TEXT or TEXT<tab>TARGET.',
  ),
) -> None:
  """Exports a SavedModel that needs only tensorflow and tensorflow_text, in the layout of TensorFlow Serving.

  With --to onnx it needs only onnxruntime, sentencepiece and numpy.
  """
  if to not in KINDS:
    raise UserError(f'--to={to}: use one of {", ".join(KINDS)}.')
  if target_vocab and to == ONNX:
    raise UserError('--target-vocab is for a SavedModel: an ONNX export has one vocabulary. Leave out --to onnx.')
  if dtype == 'int8' and to != ONNX:
    raise UserError('--dtype=int8 is for ONNX Runtime: give --to onnx too, or choose auto, float32 or bfloat16.')
  if sample and (to, dtype) != (ONNX, 'int8'):
    raise UserError('--sample is for a comparison of int8 with float32: give --to onnx --dtype int8 too.')
  texts, targets = _sample(sample) if sample else ([], [])
  from switch_zoo.keras import export
  from switch_zoo.keras.generation import LogitsProcessors

  export.check_destination(folder)
  settings = export.ExportSettings(
    dtype,
    max_new_tokens,
    max_input_tokens,
    answering.beam(beam_size, length_penalty, beam_rule, early_stopping),
    answering.sampling(temperature, top_k, top_p),
    seed,
    LogitsProcessors(repetition_penalty, no_repeat_ngram_size, min_new_tokens, forced_bos_token_id),
    num_return_sequences,
    expert_capacity,
  )
  if to == ONNX:
    onnx_folder = _onnx_folder()
    loss = onnx_folder.write(onnx_folder.open_source(source, model, vocab, settings), folder, texts, targets)
    if loss:
      Console(highlight=False).print(loss, soft_wrap=True)
    Console(highlight=False).print(f'Exported to {folder}; {folder}/README.md says how to query it.', soft_wrap=True)
    return
  opened = export.open_model(source, model, vocab, settings, target_vocab)
  answering.show_note(opened.note)
  export.export(opened, folder)
  Console(highlight=False).print(f'Exported to {folder}; {folder}/README.md says how to query it.', soft_wrap=True)


def _sample(file: str) -> tuple[list[bytes], list[str]]:
  """Texts, and targets if the first line has one."""
  lines = read_lines(None, file)
  if not lines or '\t' not in lines[0]:
    return [line.encode() for line in lines[:SAMPLE_TEXTS]], []
  pairs = read_pairs(None, None, file)[:SAMPLE_TEXTS]
  return [text.encode() for text, _ in pairs], [target for _, target in pairs]


def _onnx_folder() -> ModuleType:
  """`onnx_export.folder`. Raises UserError if the package onnx is not there."""
  try:
    from switch_zoo.onnx_export import folder
  except ImportError as error:
    raise UserError(
      f'--to onnx needs the package onnx, which cannot be imported: {error}. Install it: pip install onnx onnxruntime.'
    ) from error
  return folder
