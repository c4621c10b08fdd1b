"""What a compiled step needs on one core, in figures and in words."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from switch_zoo.tpu.compiler import Memory, OutOfMemoryError

# Tokens of the shortest microbatch that is worth proposing.
SHORTEST = 512


@dataclasses.dataclass(frozen=True)
class Step:
  """A training step to be compiled.

  model, slice, layout: by name; mesh: 'batch:32'
  cores: programs that run at the same time
  batch: sequences of all cores
  microbatch: tokens of one core's microbatch, None if the batch is not divided
  microbatches: of a step
  layers: of each stack, (encoder, decoder)
  """

  model: str
  slice: str
  layout: str
  mesh: str
  cores: int
  batch: int
  microbatch: int | None
  microbatches: int
  layers: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Report:
  """A compiled step.

  memory: bytes on a core
  limit: bytes that the compiler lets a program have
  collectives: kind -> (instructions, bytes that one core gives to them in one execution of each)
  lowering_seconds, compiling_seconds: that it took
  libtpu: its version
  extrapolated: the depths that were compiled where the figures of `memory` follow from their difference; () otherwise
  """

  step: Step
  memory: Memory
  limit: int
  collectives: Mapping[str, tuple[int, int]]
  lowering_seconds: float
  compiling_seconds: float
  libtpu: str
  extrapolated: tuple[int, ...] = ()

  @property
  def fits(self) -> bool:
    """Whether the step fits a core."""
    return self.memory.total <= self.limit

  def as_dict(self) -> dict[str, Any]:
    """The report for JSON."""
    return {
      **dataclasses.asdict(self.step),
      'memory': {**self.memory._asdict(), 'total': self.memory.total, 'limit': self.limit},
      'fits': self.fits,
      'collectives': {kind: {'count': n, 'bytes': size} for kind, (n, size) in self.collectives.items()},
      'seconds': {'lowering': round(self.lowering_seconds, 1), 'compiling': round(self.compiling_seconds, 1)},
      'libtpu': self.libtpu,
      'extrapolated_from_layers': list(self.extrapolated),
    }

  def text(self) -> str:
    """The report for a terminal."""
    memory, step = self.memory, self.step
    turns = f', {step.microbatches} microbatches of {step.microbatch} tokens a core' if step.microbatches > 1 else ''
    rows = [
      ('arguments', memory.arguments, 'weights, optimizer, batch'),
      ('temporaries', memory.temporaries, 'activations, gradients, what is sent'),
      ('code', memory.code, ''),
      *([('results', memory.outputs, '')] if memory.outputs > 2**20 else []),
      ('sum', memory.total, ''),
      ('limit', self.limit, f'of a core, says libtpu {self.libtpu}'),
    ]
    lines = [
      f'{step.model} on {step.slice} ({step.cores} cores, mesh {step.mesh}, layout {step.layout})',
      f'{step.batch} sequences a step{turns}; layers {step.layers[0]} + {step.layers[1]}',
      '',
      'Memory of one core:',
      *(f'  {name:<12} {gibibytes(size):>10}  {note}'.rstrip() for name, size, note in rows),
    ]
    if self.extrapolated:
      depths = ' and '.join(map(str, self.extrapolated))
      lines.append(
        f'  Extrapolated: compiled with {depths} layers a stack, the difference taken for each further layer.'
      )
    lines += [
      '',
      'Communication of one core'
      + (' (what is inside the loop over microbatches counts once):' if step.microbatches > 1 else ':'),
    ]
    lines += [f'  {kind:<18} {n:>5}  {gibibytes(size):>10}' for kind, (n, size) in self.collectives.items()] or [
      '  none'
    ]
    lines += ['', f'Lowered in {self.lowering_seconds:.0f} s, compiled in {self.compiling_seconds:.0f} s.']
    return '\n'.join(lines)


def refusal(step: Step, error: OutOfMemoryError, arguments: int, libtpu: str) -> dict[str, Any]:
  """The report for JSON on a step that the compiler refused.

  Args:
    step, error, arguments: as for `does_not_fit`
    libtpu: its version
  """
  return {
    **dataclasses.asdict(step),
    'memory': {'arguments': arguments, 'total': error.needed, 'limit': error.limit},
    'fits': False,
    'reason': error.reason[:400],
    'libtpu': libtpu,
    'extrapolated_from_layers': [],
  }


def does_not_fit(step: Step, error: OutOfMemoryError, arguments: int) -> str:
  """One paragraph: what does not fit, and the remedy that helps most.

  Args:
    step: that was compiled
    error: the compiler's
    arguments: bytes of the program's arguments on one core
  """
  if error.needed and error.limit:
    figures = f'needs {gibibytes(error.needed)} of a core, which has {gibibytes(error.limit)}'
  else:
    figures = f'does not fit a core ({error.reason[:200]})'
  limit = error.limit or 0
  text = (
    f'{step.model} with {step.batch} sequences a step {figures} on {step.slice}; its weights and what the optimizer '
    f'keeps are {gibibytes(arguments)} of that.'
  )
  return f'{text} {_remedy(step, arguments > 0.8 * limit > 0)}'


def _remedy(step: Step, weights_fill_it: bool) -> str:
  if weights_fill_it:
    return (
      'No batch is small enough. Use more cores, or a layout that cuts the weights further, such as '
      '--layout expert_model_data.'
    )
  if step.microbatch is None:
    return f'Divide the step into microbatches, for instance --microbatch {4 * SHORTEST}.'
  if step.microbatch > SHORTEST:
    return f'Use smaller microbatches, for instance --microbatch {max(SHORTEST, step.microbatch // 4)}.'
  return 'The microbatch is already as small as one sequence: use more cores, or a layout that cuts activations too.'


def gibibytes(size: float) -> str:
  """A size as text.

  >>> gibibytes(3 * 2**29), gibibytes(2**20)
  ('1.50 GiB', '1.0 MiB')
  """
  return f'{size / 2**30:.2f} GiB' if size >= 2**28 else f'{size / 2**20:.1f} MiB'
