"""The two graphs of an export in onnxruntime, and the caches of one decoding.

B batch  S input tokens  T tokens  C capacity of a cache in tokens  N heads  D d_kv  V vocabulary  R rows
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from switch_zoo.errors import UserError
from switch_zoo.onnx_runner import folder, tensor_names
from switch_zoo.onnx_runner.folder import ExportFacts

# Tokens by which caches grow.
CACHE_GROWTH = 32
# What the encoder returns: name -> OrtValue.
Memories = dict[str, Any]


def runtime() -> Any:
  """The package onnxruntime.

  Raises:
    UserError: it is not installed
  """
  try:
    import onnxruntime
  except ImportError as error:
    raise UserError(
      f'An ONNX export is run by onnxruntime, which cannot be imported: {error}. Install it: pip install onnxruntime.'
    ) from error
  return onnxruntime


class Graphs:
  """The graphs in memory."""

  def __init__(self, path: str, facts: ExportFacts, threads: int | None = None) -> None:
    """
    Args:
      path: the folder of the version
      facts: of it
      threads: that compute; None: as many as onnxruntime chooses, the cores of the machine
    Raises:
      UserError: a file is missing or damaged
    """
    self.facts = facts
    names = [os.path.join(path, name) for name in (folder.ENCODER, folder.DECODER)]
    with ThreadPoolExecutor() as executor:  # each lays out its weights for the processor, on one core
      self._encoder, self._decoder = executor.map(lambda name: _session(name, threads), names)
    self._memory_names = [output.name for output in self._encoder.get_outputs()]

  def encode(self, ids: np.ndarray, repeats: int = 1) -> Memories:
    """What the decoder reads of the inputs.

    Args:
      ids: <int64>[B, S], 0 is padding
      repeats: rows for each input, one after the other
    """
    binding = self._encoder.io_binding()
    binding.bind_cpu_input(tensor_names.IDS, np.ascontiguousarray(ids, np.int64))
    for name in self._memory_names:
      binding.bind_output(name)
    self._encoder.run_with_iobinding(binding)
    memories = dict(zip(self._memory_names, binding.get_outputs(), strict=True))
    if repeats == 1:
      return memories
    return {name: _value(np.repeat(value.numpy(), repeats, 0)) for name, value in memories.items()}

  def decode(self, ids: np.ndarray, memories: Memories) -> tuple[np.ndarray, np.ndarray]:
    """Reads all tokens at once. <int64>[B, T] -> logits <float32>[B, T, V], their normalizers <float32>[B, T]"""
    return Decoding(self, memories, len(ids), ids.shape[1]).read(ids, 0)

  def binding(self) -> Any:
    """A new binding of the decoder's inputs and outputs."""
    return self._decoder.io_binding()

  def run(self, binding: Any) -> None:
    """Runs the decoder."""
    self._decoder.run_with_iobinding(binding)


class Decoding:
  """Caches of one batch, which the decoder writes into: they are bound as its inputs and its outputs."""

  def __init__(self, graphs: Graphs, memories: Memories, rows: int, capacity: int = CACHE_GROWTH) -> None:
    """
    Args:
      graphs: Graphs
      memories: of `Graphs.encode`, of as many rows
      rows: B
      capacity: C at first; caches grow when they are full
    """
    self._graphs, self._memories, self._facts = graphs, memories, graphs.facts
    self._shape = (rows, graphs.facts.num_heads, capacity, graphs.facts.d_kv)
    self._caches = [np.zeros(self._shape, np.float32) for _ in range(2 * graphs.facts.num_caches)]
    self._binding, self._length = None, 0

  def read(self, ids: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The next tokens.

    Args:
      ids: <int64>[B, T]
      position: of the first of them
    Returns:
      logits <float32>[B, T, V] and their normalizers <float32>[B, T]; valid until the next call
    """
    if position + ids.shape[1] > self._shape[2]:
      self._grow()
    if self._binding is None or self._length != ids.shape[1]:
      self._bind(ids.shape[1])
    self._ids[:], self._position[...] = ids, position
    self._graphs.run(self._binding)
    return self._logits, self._normalizers

  def reorder(self, rows: np.ndarray, length: int) -> None:
    """Has each row continue another one, of whose caches only the first `length` tokens count. <int>[B]"""
    if (rows == np.arange(len(rows))).all():
      return
    for cache in self._caches:
      cache[:, :, :length] = cache[rows, :, :length]

  def _grow(self) -> None:
    self._shape = (*self._shape[:2], self._shape[2] + CACHE_GROWTH, self._shape[3])
    self._caches = [np.pad(cache, [(0, 0), (0, 0), (0, CACHE_GROWTH), (0, 0)]) for cache in self._caches]
    self._binding = None

  def _bind(self, length: int) -> None:
    """Binds everything once: a step then only changes the numbers in the arrays."""
    binding, rows = self._graphs.binding(), self._shape[0]
    self._ids, self._position = np.zeros([rows, length], np.int64), np.zeros([], np.int64)
    self._logits = np.zeros([rows, length, self._facts.vocab_size], np.float32)
    self._normalizers = np.zeros([rows, length], np.float32)
    inputs = {tensor_names.IDS: _value(self._ids), tensor_names.POSITION: _value(self._position), **self._memories}
    outputs = {tensor_names.LOGITS: _value(self._logits), tensor_names.NORMALIZER: _value(self._normalizers)}
    caches = iter(self._caches)
    for number in range(self._facts.num_caches):
      for before, after in zip(tensor_names.caches(number), tensor_names.new_caches(number), strict=True):
        inputs[before] = outputs[after] = _value(next(caches))
    for name, value in inputs.items():
      binding.bind_ortvalue_input(name, value)
    for name, value in outputs.items():
      binding.bind_ortvalue_output(name, value)
    self._values = inputs, outputs  # the binding does not keep them
    self._binding, self._length = binding, length


def sums_overflow(path: str = '/proc/cpuinfo') -> bool:
  """Whether onnxruntime's fastest products of 8 bits overflow here: on x86 without VNNI, which adds in 16 bits.

  The slower ones without that fault make a copy of the weights, and so are not for all processors.
  """
  try:
    with open(path, encoding='utf-8') as file:
      flags = next((line.partition(':')[2].split() for line in file if line.startswith('flags')), [])
  except OSError:  # another operating system
    return False
  return 'avx2' in flags and not {'avx_vnni', 'avx512_vnni'}.intersection(flags)


def _value(array: np.ndarray) -> Any:
  """An array as onnxruntime's value, with the same memory."""
  return runtime().OrtValue.ortvalue_from_numpy(array)


def _session(path: str, threads: int | None) -> Any:
  package = runtime()
  options = package.SessionOptions()
  options.log_severity_level = 3
  if sums_overflow():
    options.add_session_config_entry('session.x64quantprecision', '1')
  if threads:
    options.intra_op_num_threads = threads
  try:
    return package.InferenceSession(path, options, providers=['CPUExecutionProvider'])
  except Exception as error:  # noqa: BLE001 - onnxruntime has an exception for each status code
    reason = (str(error).splitlines() or [''])[0][:300]
    raise UserError(
      f'{path} cannot be loaded by onnxruntime {package.__version__}: {reason}. A file of the export is damaged, cut '
      'off or newer than this onnxruntime: copy it again, export again, or install a newer onnxruntime.'
    ) from error
