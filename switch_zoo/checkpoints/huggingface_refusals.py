"""Files of Hugging Face's that look like weights and are not: quantized ones, and adapters.

Sources: transformers, `quantization_config` in config.json and the names its quantizers give; peft's
adapter_config.json.
"""

import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from switch_zoo.checkpoints.arrays import TensorInfo
from switch_zoo.errors import UserError

ADAPTER = 'adapter_config.json'
# Parts of names that only such files have: peft's adapters; scales and codes of GPTQ, AWQ, bitsandbytes and float8.
ADAPTER_PARTS = ('lora_A', 'lora_B', 'lora_embedding_A', 'lora_magnitude_vector', 'base_layer')
QUANTIZED_ENDS = (
    '.qweight', '.qzeros', '.g_idx', '.SCB', '.absmax', '.quant_map', '.nested_absmax', '.weight_scale',
    '.weight_scale_inv', '.weight_format', '.input_scale',
)  # fmt: skip
CODES = {np.dtype(kind) for kind in (np.int8, np.uint8, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)}


def check_adapter(folder: str) -> None:
  """Refuses a folder that holds an adapter in place of a model.

  Raises:
    UserError: it does
  """
  if os.path.lexists(os.path.join(folder, ADAPTER)):
    raise UserError(_adapter(folder))


def check(folder: str, stated: Mapping[str, Any], infos: Mapping[str, TensorInfo]) -> None:
  """Refuses the tensors of an adapter, and quantized ones.

  Args:
    folder: for messages
    stated: the contents of config.json
    infos: name in the files -> type and shape
  Raises:
    UserError: with what they are, and what to convert instead
  """
  if any(part in ADAPTER_PARTS for name in infos for part in name.split('.')):
    raise UserError(_adapter(folder))
  quantization = stated.get('quantization_config')
  reason = _sign_of_quantization(infos) or ('config.json has a quantization_config' if quantization else '')
  if not reason:
    return
  method = quantization.get('quant_method') if isinstance(quantization, dict) else None
  raise UserError(
    f'{folder} holds quantized weights{f" ({method})" if method else ""}: {reason}. switch_zoo reads weights in '
    'float32, bfloat16 and float16: convert the checkpoint that these were made from, or load them with transformers, '
    'call model.dequantize() and save the result.'
  )


def _sign_of_quantization(infos: Mapping[str, TensorInfo]) -> str:
  for name, info in infos.items():
    if name.endswith('.weight') and info.dtype in CODES:
      return f'{name} is of type {info.dtype}'
    if name.endswith(QUANTIZED_ENDS):
      return f'there is a {name}'
  return ''


def _adapter(folder: str) -> str:
  return (
    f'{folder} holds an adapter (LoRA or a relative), which is added to the weights of another model. Merge it first: '
    'peft.AutoPeftModelForSeq2SeqLM.from_pretrained(ADAPTER).merge_and_unload().save_pretrained(FOLDER).'
  )
