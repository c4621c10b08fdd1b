"""The flags of `t5_mesh_transformer`: all of T5's, with the same names, defaults and meanings, and some of our own.

They are defined here again, and not taken from `t5.models.mesh_transformer_main`, so that a mistyped flag or gin file
is reported at once: importing T5 takes seconds. A test compares the two lists.
"""

from collections.abc import Sequence

from absl import flags

from switch_zoo.errors import UserError, did_you_mean


def parse(arguments: Sequence[str]) -> flags.FlagValues:
  """The flags of a command line; absl's own (--verbosity, --flagfile, ...) are accepted as well.

  Args:
    arguments: the command's name and its arguments
  Raises:
    UserError: an unknown flag with the closest ones, a value that does not fit, or a word that is not a flag
  """
  values = flags.FlagValues()
  _define_run(values)
  _define_model_api(values)
  _define_runtime(values)
  try:
    rest = flags.FLAGS(values(list(arguments), known_only=True))[1:]
  except flags.UnrecognizedFlagError as error:
    raise UserError(
      f'There is no flag --{error.flagname}.{did_you_mean(error.flagname, [*values, *flags.FLAGS])} '
      '--help lists the flags.'
    ) from error
  except flags.Error as error:
    raise UserError(f'{error} --help lists the flags.') from error
  if rest:
    raise UserError(f'"{rest[0]}" is not a flag. Flags begin with --, and a value follows after = or a space.')
  return values


def help_text(values: flags.FlagValues) -> str:
  """The flags with their defaults, as --help prints them."""
  lines = []
  for name in sorted(values):
    default = f' (default: {values[name].default})' if values[name].default not in (None, '', []) else ''
    lines.append(f'  --{name}: {values[name].help}{default}')
  return '\n'.join(lines)


def _define_run(values: flags.FlagValues) -> None:
  string = lambda *args: flags.DEFINE_string(*args, flag_values=values)
  strings = lambda *args: flags.DEFINE_multi_string(*args, flag_values=values)
  lists = lambda *args: flags.DEFINE_list(*args, flag_values=values)
  boolean = lambda *args: flags.DEFINE_boolean(*args, flag_values=values)
  strings('gin_file', None, 'A gin file: a path, or a name such as models/switch_base_8.gin. May be repeated.')
  strings('gin_param', None, 'A gin binding, as in "TRAIN_STEPS = 100". May be repeated.')
  lists('gin_location_prefix', [], 'More folders to search for gin files.')
  string('model_dir', '/tmp/transformer_standalone', 'Folder of the checkpoints and summaries.')
  string(
    'tpu', None, 'The TPU, with the TensorFlow of its image: local on a TPU VM, or the name of a pod. See docs/tpu.md.'
  )
  string('tpu_job_name', None, 'Name of the TPU worker binary, if not tpu_worker.')
  string('gcp_project', None, 'Project of the Cloud TPU; taken from the metadata if not given.')
  string('tpu_zone', None, 'Zone of the Cloud TPU; taken from the metadata if not given.')
  strings('module_import', 't5.data.mixtures', 'Modules to import, to register tasks. Ours are always registered.')
  string('t5_tfds_data_dir', None, 'Folder of prepared TensorFlow Datasets, for tasks that use them.')
  lists('additional_task_cache_dirs', [], 'More folders with cached tasks.')
  boolean('use_model_api', False, 'Use --mode and the flags below instead of utils.run.mode in gin.')
  lists('additional_deprecated_gin_references', [], 'gin names to skip if they are unknown.')
  boolean('skip_all_gin_unknowns', False, 'Skip every unknown gin name instead of reporting it.')
  boolean('help', False, 'Show this help.')
  boolean('debug', False, 'Show tracebacks and the messages of TensorFlow.')


def _define_model_api(values: flags.FlagValues) -> None:
  string = lambda *args: flags.DEFINE_string(*args, flag_values=values)
  integer = lambda *args: flags.DEFINE_integer(*args, flag_values=values)
  modes = ['train', 'finetune', 'eval', 'predict', 'export_predict', 'export_score', 'score']
  enum = lambda *args: flags.DEFINE_enum(*args, flag_values=values)
  enum('mode', None, modes, 'What to do with --use_model_api.')
  integer('batch_size', 1, 'Sequences in a batch.')
  integer('input_sequence_length', 512, 'Tokens of an input.')
  integer('target_sequence_length', 512, 'Tokens of a target.')
  string('tpu_topology', 'v2-8', 'Topology of the TPU; without --tpu it has no effect.')
  integer('model_parallelism', 8, 'Cores of a model replica; without --tpu it has no effect.')
  integer('train_steps', 1000, 'Steps to train.')
  string('mixture_or_task', 'wmt_t2t_ende_v003', 'Name of the mixture or task.')
  string('pretrained_model_dir', '', 'Folder of the model to fine-tune.')
  enum('checkpoint_mode', 'latest', ['all', 'latest', 'specific'], 'Which checkpoints to use.')
  flags.DEFINE_list('checkpoint_steps', [], 'Steps for --checkpoint_mode=specific.', flag_values=values)
  string('eval_summary_dir', '', 'Folder of the evaluation summaries.')
  string('eval_split', 'validation', 'Split to evaluate on.')
  string('input_file', '', 'File of inputs to answer or score, one per line.')
  string('target_file', '', 'File of targets to score, one per line.')
  string('output_file', '', 'File to write answers or scores to.')
  string('export_dir', '', 'Folder of the SavedModel; MODEL_DIR/export if not given.')
  integer('beam_size', 1, 'Beams of the search; 1 is greedy.')
  flags.DEFINE_float('temperature', 0.0, 'Above 0: sample at this temperature.', flag_values=values)
  integer('keep_top_k', -1, 'Sample from this many of the most likely tokens; -1 is all.')


def _define_runtime(values: flags.FlagValues) -> None:
  integer = lambda *args: flags.DEFINE_integer(*args, flag_values=values)
  help_of_runtime = "tensorflow, or pjrt: JAX's devices (CPUs, GPUs, TPUs), see docs/pjrt.md."
  flags.DEFINE_enum('runtime', 'tensorflow', ['tensorflow', 'pjrt'], help_of_runtime, flag_values=values)
  flags.DEFINE_string(
    'coordinator',
    None,
    'With --runtime=pjrt and several processes: HOST:PORT of process 0, or auto on TPU pods, SLURM and Open MPI.',
    flag_values=values,
  )
  integer('num_processes', None, 'With --coordinator: how many processes the run has.')
  integer('process_id', None, 'With --coordinator: which of them this one is, from 0.')
  integer('coordinator_timeout', 300, 'With --coordinator: seconds to wait for the other processes.')
