"""Which vocabulary a model is used with."""

import os

from switch_zoo.errors import UserError
from switch_zoo.vocabulary import files

BYTES = 'bytes'
VARIABLE = 'SWITCH_ZOO_VOCAB'


def chosen(choice: str | None, folder: str) -> str:
  """The file of a vocabulary, or BYTES.

  Args:
    choice: a sentencepiece model, a tokenizer.json or 'bytes'; None: the one in the folder, or else that of
      SWITCH_ZOO_VOCAB
    folder: of the model
  Raises:
    UserError: there is none
  """
  in_folder = (os.path.join(folder, name) for name in files.NAMES)
  choice = choice or next(filter(os.path.isfile, in_folder), None) or os.environ.get(VARIABLE)
  if not choice:
    raise UserError(
      f'There is no vocabulary: {folder} has neither {" nor ".join(files.NAMES)}. Give --vocab FILE, a sentencepiece '
      f'model or a tokenizer.json, or --vocab bytes, or set {VARIABLE}.'
    )
  if choice != BYTES and not os.path.exists(choice):
    raise UserError(f'There is no vocabulary "{choice}" ({os.path.abspath(choice)}). Give --vocab FILE.')
  return choice
