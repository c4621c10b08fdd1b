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
# Layers of transformers' classes that read a text and write none.
HEADS = ('classification_head', 'classifier', 'qa_outputs', 'score')
CODES = {np.dtype(kind) for kind in (np.int8, np.uint8, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)}


def check_adapter(folder: str) -> None:
  """Refuses a folder that holds an adapter, in place of a model or next to one: transformers would add it.

  Raises:
    UserError: it does
  """
  if os.path.lexists(os.path.join(folder, ADAPTER)):
    raise UserError(f'{_adapter(folder)} To convert a model next to it without it, move {ADAPTER} out of the folder.')


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
  _check_placeholders(folder, infos)
  _check_head(folder, infos)
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


def _check_placeholders(folder: str, infos: Mapping[str, TensorInfo]) -> None:
  """Refuses what DeepSpeed's ZeRO-3 leaves where each process has a part of the weights."""
  empty = [name for name, info in infos.items() if 0 in info.shape]
  if empty:
    raise UserError(
      f'{folder} holds {len(empty):,} tensors without a value, the first {empty[0]} of shape '
      f'{list(infos[empty[0]].shape)}. ZeRO-3 of DeepSpeed saves such files: make the weights with the zero_to_fp32.py '
      'that it puts next to its checkpoint, or train with stage3_gather_16bit_weights_on_model_save.'
    )


def _check_head(folder: str, infos: Mapping[str, TensorInfo]) -> None:
  """Refuses the models of transformers that classify or mark a text."""
  head = next((name for name in infos if name.split('.')[0] in HEADS), None)
  if head:
    raise UserError(
      f'{folder} holds a model that classifies or marks text: there is a {head}. switch_zoo converts models that write '
      'text (T5ForConditionalGeneration and its relatives).'
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
