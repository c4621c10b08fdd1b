"""A folder of Hugging Face's without weights that can be read: what is in place of them, and what to do about it."""

import os
import re
from collections.abc import Sequence
from typing import NoReturn

from switch_zoo.errors import UserError

MAX_LISTED = 5
# Kind of file -> the remedy, `{0}` the first such file. transformers and diffusers put a variant before the ending.
_KINDS = (
  (
    r'(?:model|pytorch_model)-\d{5}-of-\d{5}\.(?:safetensors|bin)',
    '{0} is one of several files: copy their index too (model.safetensors.index.json or pytorch_model.bin.index.json).',
  ),
  (
    r'(?:model|pytorch_model)\.[^.]+(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)(?:\.index\.json)?',
    '{0} is a variant: rename it, and its index if it has one, to model.safetensors or pytorch_model.bin.',
  ),
  (r'.*\.(?:ckpt|pt|pth)', 'If {0} is a state_dict or a checkpoint of Lightning, name it pytorch_model.bin.'),
  (r'.*\.safetensors', 'If {0} is the model, name it model.safetensors.'),
  (
    r'.*\.(?:msgpack(?:\.index\.json)?|h5)|tf_model.*',
    '{0} is of Flax or TensorFlow: load it with transformers 4 (from_flax=True or from_tf=True) and save it.',
  ),
  (
    r'.*\.(?:gguf|onnx)|model\.bin|openvino_model.*',
    '{0} is made for another program (llama.cpp, ONNX, CTranslate2): take the checkpoint that it was made from.',
  ),
)


def refuse(folder: str, names: Sequence[str]) -> NoReturn:
  """Says what is missing.

  Args:
    folder: which has a config.json and none of `names`
    names: of files with weights
  Raises:
    UserError: always
  """
  raise UserError(
    f'{folder} has no weights: neither {" nor ".join(names)}, nor an index of several files. It has '
    f'{listing(folder)}. {_remedy(folder) or "Copy the weights too."}'
  )


def listing(folder: str) -> str:
  """The first entries of a folder, as part of a sentence."""
  entries = sorted(os.listdir(folder))
  more = f' and {len(entries) - MAX_LISTED} more' if len(entries) > MAX_LISTED else ''
  return ', '.join(entries[:MAX_LISTED]) + more if entries else 'nothing'


def _remedy(folder: str) -> str:
  entries = sorted(os.listdir(folder))
  for expression, remedy in _KINDS:
    found = next((entry for entry in entries if re.fullmatch(expression, entry)), None)
    if found:
      return remedy.format(found)
  return ''
