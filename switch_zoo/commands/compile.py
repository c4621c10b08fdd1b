"""`switch_zoo compile MODEL --slice v3-32`: a training step, compiled for a TPU by the TPU's own compiler."""

import typer

from switch_zoo import whole_package
from switch_zoo.errors import UserError


def command(
  model: str | None = typer.Argument(None, metavar='MODEL', help='A name, or the path of a gin file.'),
  slice_name: str | None = typer.Option(
    None, '--slice', metavar='SLICE', help='v2-8 to v6e-256: v3-32, v4-512, v5p-128.'
  ),
  layout: str | None = typer.Option(
    None,
    '--layout',
    metavar='NAME',
    help='A strategy or a gin file; by default the ready-made layout of slice and model.',
  ),
  mesh: str | None = typer.Option(
    None, '--mesh', metavar='SHAPE', help="For a strategy with two axes: 'batch:16;model:2'."
  ),
  batch: int | None = typer.Option(None, '--batch', metavar='N', min=1, help='Sequences of a step (2048).'),
  microbatch: int | None = typer.Option(
    None, '--microbatch', metavar='T', min=0, help="Tokens of one core's microbatch (2048); 0: the step is not divided."
  ),
  layers: int | None = typer.Option(
    None,
    '--layers',
    metavar='N',
    min=1,
    help='Compile N and 2N layers a stack only (whole blocks), and extrapolate to the whole model.',
  ),
  save: str | None = typer.Option(
    None, '--save', metavar='FILE', help='Write the program: a serialized HloModuleProto.'
  ),
  record: str | None = typer.Option(
    None, '--record', metavar='FILE', help='Append the report to a file of JSON lines.'
  ),
  table: str | None = typer.Option(
    None, '--table', metavar='FILE', help='Compile nothing: print the table of docs/layouts.md from a file of --record.'
  ),
  as_json: bool = typer.Option(False, '--json', help='One JSON object on stdout.'),
) -> None:
  """Compiles the whole training step of a model for a TPU slice, and prints the memory and communication of one core.

  No TPU is needed, only libtpu: pip install '.[tpu]' in the checkout. A large model takes minutes and 10 GiB of memory.
  """
  with whole_package.required_by('switch_zoo compile'):
    from switch_zoo.commands import compiled_table, compiling
    from switch_zoo.commands.json_output import as_json as written
    from switch_zoo.commands.phase_line import PhaseLine

  if table is not None:
    print(compiled_table.table(compiled_table.read(table)))
    return
  if model is None or slice_name is None:
    raise UserError('A model and a slice are needed: switch_zoo compile switch_base_128 --slice v3-32.')
  for path, option in ((save, '--save'), (record, '--record')):
    if path is not None:
      compiling.check_file(path, option)
  request = compiling.checked_request(model, slice_name, layout, mesh, batch, microbatch, layers)
  try:
    with PhaseLine() as phase:
      report = compiling.compile_step(request, phase, save)
  except compiling.DoesNotFitError as error:
    if record is not None:
      compiling.append(record, error.record)
    raise
  if record is not None:
    compiling.append(record, report.as_dict())
  print(written(report.as_dict()) if as_json else report.text())
