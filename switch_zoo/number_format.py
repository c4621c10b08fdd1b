"""The number format that a machine computes fast in: bfloat16 where it is multiplied by instructions, else float32.

bfloat16 takes half the memory traffic of float32, and processors with instructions for it multiply it twice as fast.
All others convert every number to float32 and back: there a training step takes about twice as long in bfloat16.
"""

from collections.abc import Iterable
from typing import NamedTuple

# What a setting says to leave the choice to the machine.
AUTO = 'auto'
FLOAT32, BFLOAT16 = 'float32', 'bfloat16'
SETTINGS = (AUTO, FLOAT32, BFLOAT16)
# What Linux calls the instructions of x86 that multiply bfloat16, for which TensorFlow has kernels.
INSTRUCTIONS = ('amx_bf16', 'avx512_bf16')
# The first generation of NVIDIA GPUs that multiplies bfloat16.
AMPERE = (8, 0)


class NumberFormat(NamedTuple):
  """dtype: 'float32' or 'bfloat16'; reason: half a sentence that says why."""

  dtype: str
  reason: str


def of_processor(flags: Iterable[str]) -> NumberFormat:
  """The format for a processor.

  >>> of_processor(['avx2', 'avx512_bf16']).dtype
  'bfloat16'

  Args:
    flags: names of its instruction sets, as Linux lists them
  """
  present = set(flags)
  instructions = [name for name in INSTRUCTIONS if name in present]
  if instructions:
    return NumberFormat(BFLOAT16, f'this processor has instructions for it ({instructions[0]})')
  return NumberFormat(FLOAT32, 'this processor has no bfloat16 instructions')


def of_gpu(compute_capability: tuple[int, int]) -> NumberFormat:
  """The format for an NVIDIA GPU.

  >>> of_gpu((7, 5)).dtype
  'float32'

  Args:
    compute_capability: (8, 0) for an A100
  """
  major, minor = compute_capability
  if compute_capability >= AMPERE:
    return NumberFormat(BFLOAT16, f'this GPU multiplies it (compute capability {major}.{minor})')
  return NumberFormat(FLOAT32, f'this GPU has no bfloat16 (compute capability {major}.{minor})')


# The matrix units of all TPUs take bfloat16.
OF_TPU = NumberFormat(BFLOAT16, 'TPUs multiply it')


class Choice(NamedTuple):
  """dtype: to compute in; note: a sentence for the user, '' where there is nothing to say."""

  dtype: str
  note: str


def choose(setting: str, fast: NumberFormat, name: str) -> Choice:
  """What a setting comes to: what was set is what is used.

  Args:
    setting: 'auto', 'float32' or 'bfloat16'
    fast: of the machine
    name: how the user sets it, for the note: 'activation_dtype', '--dtype'
  """
  if setting == AUTO:
    return Choice(fast.dtype, f'Computing in {fast.dtype}: {fast.reason}. {name} sets another format.')
  if setting == BFLOAT16 != fast.dtype:
    return Choice(setting, f'{name} is bfloat16, and {fast.reason}: float32 would be about twice as fast here.')
  return Choice(setting, '')
