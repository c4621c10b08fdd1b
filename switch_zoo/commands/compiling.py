"""A training step of a model, compiled for a TPU slice: from names to a report."""

import dataclasses
import gc
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switch_zoo.commands.json_output import as_json
from switch_zoo.errors import UserError
from switch_zoo.spec import layouts, sublayers
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import load_config, model_file
from switch_zoo.tpu import slices
from switch_zoo.tpu.report import Report, Step, does_not_fit, refusal

if TYPE_CHECKING:
  from switch_zoo.mesh.one_core.program import OneCoreProgram
  from switch_zoo.tpu.compiler import Compiler

TOKENS = 'utils.serialize_num_microbatches.tokens_per_microbatch_per_replica'
LENGTHS = {'inputs': 512, 'targets': 114}
# What packed sequences, which pre-training makes, have besides their ids.
PACKED = ('segmentation', 'position')
# Strategies with one axis -> its name, so that no mesh need be given.
_ONE_AXIS = {'data': 'batch', 'expert_data': 'batch', 'model': 'model'}


@dataclasses.dataclass(frozen=True)
class Request:
  """What to compile, by names that have been checked.

  model: name or gin file
  config: of the model
  slice: of the TPU
  layout_name: as given, or that of the ready-made layout
  layout: its slices are the devices of the slice
  batch: sequences of a step
  microbatch: tokens of one core's microbatch; None: not divided
  layers: of each stack, in whole blocks, to compile fewer than the model has; None: all
  """

  model: str
  config: ModelConfig
  slice: slices.Slice
  layout_name: str
  layout: layouts.Layout
  batch: int
  microbatch: int | None
  layers: int | None

  @property
  def depth(self) -> tuple[int, int]:
    """Layers of encoder and decoder that the model has."""
    return self.config.num_encoder_layers, self.config.num_decoder_layers


def checked_request(
  model: str,
  slice_name: str,
  layout: str | None,
  mesh: str | None,
  batch: int | None,
  microbatch: int | None,
  layers: int | None,
) -> Request:
  """What to compile.

  Args:
    model: name or gin file
    slice_name: 'v3-32'
    layout: name or gin file; None: the ready-made one of slice and model
    mesh: 'batch:8;model:4', for a strategy that leaves the mesh open
    batch: sequences of a step; None: 2,048, or one for each core if there are more cores
    microbatch: tokens of one core's microbatch; 0: not divided; None: 2,048
    layers: of each stack, rounded up to whole blocks; None: all
  Raises:
    UserError: a name that does not exist, a layout that does not divide, a batch that does not
  """
  config, tpu = load_config(model), slices.find(slice_name)
  name = layout or _ready_made(model, slice_name)
  chosen = _layout(name, tpu, mesh)
  if chosen.num_slices != tpu.devices:
    raise UserError(
      f'The mesh {chosen.text()[0]} of layout {name} has {chosen.num_slices} cores, and {tpu.name} runs '
      f'{tpu.devices} programs. Give a mesh whose axes multiply to {tpu.devices} (--mesh), or another slice.'
    )
  size = batch or max(layouts.SEQUENCES, tpu.devices)
  layouts.check(chosen, config, size)
  tokens = 2048 if microbatch is None else microbatch or None
  return Request(model, config, tpu, name, chosen, size, tokens, _whole_blocks(config, layers))


def _ready_made(model: str, slice_name: str) -> str:
  name = f'{slice_name}/{model}'
  known = layouts.list_layouts()
  if name in known:
    return name
  ready = [place for place, _, served in (layout.partition('/') for layout in known) if served == model]
  others = f' There are some for {", ".join(sorted(ready))}.' if ready else ''
  strategies = ', '.join(layout for layout in known if '/' not in layout and layout != 'cpu')
  raise UserError(
    f'There is no ready-made layout of {model} for {slice_name}.{others} Give a strategy with --layout: {strategies}.'
  )


def _layout(name: str, tpu: slices.Slice, mesh: str | None) -> layouts.Layout:
  if mesh is None and name in _ONE_AXIS:
    mesh = f'{_ONE_AXIS[name]}:{tpu.devices}'
  parameters = []
  if mesh is not None:
    axes = layouts.parse_any(mesh, '').mesh
    parameters = [f"mesh_shape = '{mesh}'"]
    if name == 'expert_replication' and 'outer' in axes:
      parameters.append(f'expert_replicas = {axes["outer"]}')
  try:
    return layouts.load_layout(name, tuple(parameters))
  except layouts.OpenMeshError as error:
    raise UserError(
      f"Layout {name} leaves the mesh open. Give one of {tpu.devices} cores: --mesh 'batch:{tpu.devices // 2};model:2'."
    ) from error


def _whole_blocks(config: ModelConfig, layers: int | None) -> int | None:
  """Layers of a stack to compile: the smallest number of whole blocks that has `layers`; 1 is 2 in Switch-Base."""
  if layers is None:
    return None
  block = sublayers.layers_per_block(config.encoder_block)
  rounded = -(-layers // block) * block
  smallest = min(config.num_encoder_layers, config.num_decoder_layers)
  if not 0 < 2 * rounded <= smallest:
    raise UserError(
      f'--layers {layers} compiles {config.name} with {rounded} and with {2 * rounded} layers in each stack, and takes '
      f'the difference; it has {smallest}. Use a number from 1 to {smallest // (2 * block) * block}.'
    )
  return rounded


class DoesNotFitError(UserError):
  """A step that does not fit a core. record: what `--record` writes about it"""

  def __init__(self, message: str, record: dict[str, Any]) -> None:
    super().__init__(message)
    self.record = record


def compile_step(request: Request, report: Callable[[str], None], save: str | None = None) -> Report:
  """Compiles the training step of a request, or two of fewer layers.

  Args:
    request: of `checked_request`
    report: is given a few words on what is being done
    save: file to write the program to if it fits: a serialized xla.HloModuleProto; of two, the one of fewer layers
  Raises:
    DoesNotFitError: with the remedy
    UserError: libtpu is missing
  """
  from switch_zoo.tpu.compiler import Compiler, OutOfMemoryError

  compiler = Compiler()
  if request.layers is None:
    return _compile_depth(compiler, request, None, report, save)
  shallow = _compile_depth(compiler, request, request.layers, report, save)
  deep = _compile_depth(compiler, request, 2 * request.layers, report)
  whole = _extrapolated(request, shallow, deep)
  if not whole.fits:
    error = OutOfMemoryError(whole.memory.total, whole.limit, 'estimated from two models with fewer layers')
    raise DoesNotFitError(does_not_fit(whole.step, error, whole.memory.arguments), whole.as_dict())
  return whole


def _compile_depth(
  compiler: 'Compiler', request: Request, layers: int | None, report: Callable[[str], None], save: str | None = None
) -> Report:
  from switch_zoo.mesh.one_core import core_order, traffic
  from switch_zoo.tpu import compiler as tpu_compiler

  topology = compiler.topology(request.slice.topology)
  places = compiler.places(topology)
  order = core_order.device_order(request.layout.mesh, [place for _, place in places])
  started = time.monotonic()
  program, step = _lower(request, layers, report)
  lowered = time.monotonic()
  gc.collect()  # the graph refers to itself, and the compiler needs the memory
  report(f'compiling {_megabytes(program.module)} of HLO for {request.slice.name}')
  try:
    compiled = compiler.compile(topology, program.module, [places[index][0] for index in order])
  except tpu_compiler.OutOfMemoryError as error:
    size = _argument_bytes(program)
    record = refusal(step, error, size, tpu_compiler.VERSION)
    raise DoesNotFitError(does_not_fit(step, error, size), record) from error
  if save:
    with open(save, 'wb') as file:
      file.write(program.module)
  return Report(
    step,
    compiled.memory,
    compiler.limit(topology),
    traffic.of_program(compiled.program, compiled.format == 'hlo_with_config'),
    lowered - started,
    time.monotonic() - lowered,
    tpu_compiler.VERSION,
  )


def _lower(request: Request, layers: int | None, report: Callable[[str], None]) -> tuple['OneCoreProgram', Step]:
  from switch_zoo import tf_compat

  tf_compat.repair()
  from switch_zoo.mesh import graph as mesh_graph
  from switch_zoo.mesh.one_core import lowering
  from switch_zoo.mesh.one_core.steps import StepSettings

  parameters = [f'{TOKENS} = {request.microbatch}']
  if layers is not None:
    parameters += [f'num_encoder_layers = {layers}', f'num_decoder_layers = {layers}']
  config = mesh_graph.configure([model_file(request.model)], parameters)
  lengths = {**LENGTHS, **{f'{name}_{kind}': length for name, length in LENGTHS.items() for kind in PACKED}}
  settings = StepSettings(
    (config.vocab_size, config.target_vocab_size), mesh_graph.Batch(request.batch, lengths), request.layout
  )
  program = lowering.lower_training_step(settings, report=report)
  turns = settings.microbatches()
  step = Step(
    request.model, request.slice.name, request.layout_name, request.layout.text()[0], request.slice.devices,
    request.batch, request.microbatch if turns > 1 else None, turns,
    (config.num_encoder_layers, config.num_decoder_layers),
  )  # fmt: skip
  return program, step


def _extrapolated(request: Request, shallow: Report, deep: Report) -> Report:
  """The whole model: what the second report has more than the first, once more for each further layer."""
  from switch_zoo.tpu.compiler import Memory

  few, many = sum(shallow.step.layers), sum(deep.step.layers)
  times = (sum(request.depth) - few) / (many - few)
  whole = lambda a, b: round(a + (b - a) * times)
  kinds = {**shallow.collectives, **deep.collectives}
  none = (0, 0)
  collectives = {
    kind: (
      whole(shallow.collectives.get(kind, none)[0], deep.collectives.get(kind, none)[0]),
      whole(shallow.collectives.get(kind, none)[1], deep.collectives.get(kind, none)[1]),
    )
    for kind in kinds
  }
  return dataclasses.replace(
    deep,
    step=dataclasses.replace(deep.step, layers=request.depth),
    memory=Memory(*map(whole, shallow.memory, deep.memory)),
    collectives=collectives,
    lowering_seconds=shallow.lowering_seconds + deep.lowering_seconds,
    compiling_seconds=shallow.compiling_seconds + deep.compiling_seconds,
    extrapolated=(shallow.step.layers[0], deep.step.layers[0]),
  )


def check_file(path: str, option: str) -> None:
  """Checks that a file can be written.

  Raises:
    UserError: its folder does not exist, or it is a folder
  """
  folder = os.path.dirname(os.path.abspath(path))
  if not os.path.isdir(folder):
    raise UserError(f'{option} {path}: there is no folder {folder}. Create it first.')
  if os.path.isdir(path) or not os.access(folder, os.W_OK):
    raise UserError(f'{option} {path} cannot be written. Name a file in a folder that you may write to.')


def append(path: str, record: dict[str, Any]) -> None:
  """Appends a record to a file of JSON lines."""
  with open(path, 'a', encoding='utf-8') as file:
    file.write(as_json(record, indent=None) + '\n')


def _argument_bytes(program: 'OneCoreProgram') -> int:
  from math import prod

  sizes = {'bfloat16': 2}
  return sum(prod(slot.core_shape) * sizes.get(slot.dtype, 4) for slot in program.variables)


def _megabytes(data: bytes) -> str:
  return f'{len(data) / 2**20:.1f} MiB'
