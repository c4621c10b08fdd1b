"""The files of an ONNX export, and what is wrong with a folder that is none.

EXPORT_DIR/1/export.json                        the model's sizes, and how it answers
EXPORT_DIR/1/encoder.onnx, decoder.onnx         the graphs
EXPORT_DIR/1/weights.bin                        the weights of both
EXPORT_DIR/1/vocabulary.model, vocabulary.json  `text_ids`
EXPORT_DIR/1/checksums.json                     `checkpoints.file_checksums`
EXPORT_DIR/README.md                            how to use it
"""

import json
import os
from typing import Any, NamedTuple

from switch_zoo.checkpoints import file_checksums
from switch_zoo.checkpoints.sources import ONNX_EXPORT
from switch_zoo.errors import UserError
from switch_zoo.onnx_runner import settings
from switch_zoo.onnx_runner.settings import AnswerSettings

EXPORT = ONNX_EXPORT
ENCODER, DECODER = 'encoder.onnx', 'decoder.onnx'
FORMAT, FORMAT_VERSION = 'switch_zoo ONNX export', 1
# Files up to this size are read to be checked; of a larger one, only its size is.
CHECKED_BYTES = 64 << 20


class ExportFacts(NamedTuple):
  """What export.json says.

  model: the model's name
  parameters: of the model
  dtype: of the weights
  num_heads, d_kv: of attention
  num_caches: self-attentions of the decoder
  vocab_size: V, rows of the logits
  num_ids: ids of the targets; the rows from this one on are never predicted
  end_id: the token that ends an answer
  settings: AnswerSettings
  """

  model: str
  parameters: int
  dtype: str
  num_heads: int
  d_kv: int
  num_caches: int
  vocab_size: int
  num_ids: int
  end_id: int
  settings: AnswerSettings


def version_folder(path: str) -> str | None:
  """The folder with export.json: this one, or the newest numbered one in it; None if it is not an ONNX export."""
  if os.path.isfile(os.path.join(path, EXPORT)):
    return path
  names = [name for name in os.listdir(path) if name.isdecimal()] if os.path.isdir(path) else []
  newest = os.path.join(path, max(names, key=int)) if names else ''
  return newest if newest and os.path.isfile(os.path.join(newest, EXPORT)) else None


def write_facts(facts: ExportFacts, folder: str) -> None:
  """Writes export.json."""
  document = {'format': FORMAT, 'version': FORMAT_VERSION, **facts._asdict(), 'settings': facts.settings.as_json()}
  with open(os.path.join(folder, EXPORT), 'w', encoding='utf-8') as file:
    file.write(json.dumps(document, indent=1) + '\n')


def read_facts(folder: str) -> ExportFacts:
  """Reads export.json.

  Raises:
    UserError: it is damaged, or from another program or version
  """
  path = os.path.join(folder, EXPORT)
  try:
    with open(path, encoding='utf-8') as file:
      document: Any = json.load(file)
    if document.pop('format') != FORMAT or document.pop('version') != FORMAT_VERSION:
      raise ValueError(f'its format is not "{FORMAT}", version {FORMAT_VERSION}')
    facts = ExportFacts(**{**document, 'settings': settings.from_json(document['settings'])})
    if any(not isinstance(value, int) or value < 1 for value in facts[3:9]):
      raise ValueError('a size is not a number above 0')
    return facts
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}. Copy the export again.') from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f'{path} is not that of an ONNX export of this version of switch_zoo: {error}. Copy the export again, or export '
      'again.'
    ) from error


def check(folder: str, every_byte: bool) -> None:
  """Checks the files against checksums.json, and that none is missing.

  Args:
    folder: of the version
    every_byte: False: only the sizes of large files, which takes no time
  Raises:
    UserError: a file is missing or is not what was exported
  """
  file_checksums.check(folder, None if every_byte else CHECKED_BYTES)
  for name in (ENCODER, DECODER):
    if not os.path.isfile(os.path.join(folder, name)):
      raise UserError(f'{os.path.join(folder, name)} is missing. Copy the export again, or export again.')
