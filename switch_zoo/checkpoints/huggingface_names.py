"""The names in a file of Hugging Face's, as transformers' classes have them.

What wraps a model on its way to a file leaves its mark on every name: DistributedDataParallel `module.`, torch.compile
`_orig_mod.`, a training framework `model.`. And where tensors share their memory, a file may keep any one of their
names: safetensors.torch.save_model keeps the first in the alphabet. Source: transformers, `_tied_weights_keys` of
modeling_t5.py and modeling_switch_transformers.py.
"""

import os
from collections.abc import Collection

from switch_zoo.checkpoints.names import HEAD, SHARED, TIED_COPIES
from switch_zoo.errors import UserError

# Parts of a name that are a wrapper of some module, wherever they occur.
WRAPPERS = ('_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
# What the names of a model begin with.
BEGINNINGS = ('encoder.', 'decoder.', 'shared.')


def standard_names(stored: Collection[str], tied: bool) -> dict[str, str]:
  """Name as transformers has it -> name in the file.

  Args:
    stored: the names in the files
    tied: whether the logits use the embedding, so that their matrix may stand for it
  Raises:
    UserError: two names become the same
  """
  shorter = {name: _without_wrappers(name) for name in stored}
  prefix = shared_prefix(shorter.values())
  result: dict[str, str] = {}
  for name, short in shorter.items():
    standard = short.removeprefix(prefix)
    if standard in result:
      raise UserError(f'{name} and {result[standard]} are both {standard}: keep one of them.')
    result[standard] = name
  embedding = _stored_embedding(result, tied)
  if embedding != SHARED:
    result[SHARED] = result.pop(embedding)
  return result


def shared_prefix(names: Collection[str]) -> str:
  """What all names of a model begin with and transformers' do not.

  >>> shared_prefix(['module.model.shared.weight', 'module.model.encoder.final_layer_norm.weight'])
  'module.model.'
  """
  common = os.path.commonprefix(list(names))
  prefix = common[: common.rfind('.') + 1]
  return prefix if any(name.removeprefix(prefix).startswith(BEGINNINGS) for name in names) else ''


def _without_wrappers(name: str) -> str:
  return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def _stored_embedding(names: Collection[str], tied: bool) -> str:
  """The name that the embedding is stored under; transformers' own also if there is none."""
  candidates = (SHARED, *TIED_COPIES, *((HEAD,) if tied else ()))
  return next((name for name in candidates if name in names), SHARED)
