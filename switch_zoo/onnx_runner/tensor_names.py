"""Names of the inputs and outputs of the graphs of an ONNX export."""

IDS, POSITION, MASK, LOGITS, NORMALIZER = 'ids', 'position', 'mask', 'logits', 'log_normalizer'


def cross(number: int) -> tuple[str, str]:
  """Keys and values of an attention over the encoder."""
  return f'cross_keys_{number}', f'cross_values_{number}'


def caches(number: int) -> tuple[str, str]:
  """Keys and values of a self-attention, before a step."""
  return f'keys_{number}', f'values_{number}'


def new_caches(number: int) -> tuple[str, str]:
  """The same after the step."""
  return f'new_keys_{number}', f'new_values_{number}'
