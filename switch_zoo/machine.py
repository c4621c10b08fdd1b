"""This machine, as far as the choice of a number format needs to know it."""

import functools
import pathlib

import tensorflow as tf

from switch_zoo import number_format
from switch_zoo.number_format import NumberFormat

CPUINFO = pathlib.Path('/proc/cpuinfo')


def processor_flags(cpuinfo: pathlib.Path = CPUINFO) -> frozenset[str]:
  """Instruction sets of this machine's processor; none where the system does not list them (macOS, Windows).

  Args:
    cpuinfo: the file in which Linux lists them
  """
  if not cpuinfo.is_file():
    return frozenset()
  for line in cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines():
    name, _, value = line.partition(':')
    if name.strip() in ('flags', 'Features'):
      return frozenset(value.split())
  return frozenset()


def fast_format() -> NumberFormat:
  """The format for this machine: for its first GPU where TensorFlow sees one, else for its processor."""
  for device in tf.config.list_physical_devices('GPU'):
    capability = tf.config.experimental.get_device_details(device).get('compute_capability')
    if capability:
      return number_format.of_gpu(capability)
  return number_format.of_processor(processor_flags())


@functools.cache
def multiplies_float32_faster() -> bool:
  """Whether TensorFlow multiplies matrices of float32 faster than of bfloat16 here: no GPU, no matrix units."""
  return not tf.config.list_physical_devices('GPU') and 'amx_bf16' not in processor_flags()
