"""A checkpoint of any kind as what it means: a model, and its variables in the axes of Mesh-TensorFlow."""

import dataclasses
import os

import numpy as np

from switch_zoo.checkpoints import (
  anatomy,
  arrays,
  huggingface,
  huggingface_config,
  journal,
  keras_files,
  model_gin,
  names,
  t5x,
  tensor_bundle,
)
from switch_zoo.checkpoints.arrays import Info, Tensors
from switch_zoo.checkpoints.huggingface import HEAD, SHARED
from switch_zoo.checkpoints.weights import Weights
from switch_zoo.errors import UserError
from switch_zoo.spec import gin_files
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import padded_vocabulary
from switch_zoo.spec.zoo import load_config

OPERATIVE = 'operative_config.gin'
SAVED_MODEL = 'saved_model.pb'
GLOBAL_STEP = 'global_step'
SLOT = '_slot_'
MOST_SHOWN = 3
# Settings of a training that belong to the model, and that tensors do not tell.
TOLD_BY_TRAINING = (
    'activation_dtype', 'capacity_factor_train', 'capacity_factor_eval', 'min_expert_capacity', 'group_size',
    'balance_loss_coef',
)  # fmt: skip


@dataclasses.dataclass
class Source(Weights):
  """An opened checkpoint whose tensors are those of its model, no more and no fewer.

  kind: of `names`; path: the folder
  aliases: name -> name of the tensor that is read in its place
  """

  kind: str
  path: str
  config: ModelConfig
  tensors: Tensors
  notes: list[str]
  aliases: dict[str, str]

  def __post_init__(self):
    self._names = names.Names(self.config, self.kind)

  def dtype(self, variable):
    return arrays.widest(self.tensors.infos[name].dtype for name in self._stored(variable))

  def read(self, variable, expert=None):
    location = self._names.locate(variable, expert)
    array = self.tensors.read(self.aliases.get(location.name, location.name), location.index)
    if self.kind == names.HUGGING_FACE and location.name in (SHARED, HEAD):
      array = _padded(array, self.config.vocab_size)
    return arrays.transposed(array) if location.transposed else array

  @property
  def extra_tensors(self) -> dict[str, Info]:
    """What a Mesh-TensorFlow checkpoint of a training has beside the weights: the step and the optimizer's slots."""
    if self.kind != names.MESH:
      return {}
    return {name: info for name, info in self.tensors.infos.items() if _is_training_state(name)}

  def _stored(self, variable):
    stacked = self.kind == names.HUGGING_FACE and 'experts' in self.config.variables[variable]
    located = (self._names.locate(variable, expert).name for expert in range(self.config.num_experts if stacked else 1))
    return [self.aliases.get(name, name) for name in located]


def open_source(path: str, model: str | None = None) -> Source:
  """Opens a checkpoint and checks all its tensors' names and shapes.

  Args:
    path: a folder, or the prefix of a Mesh-TensorFlow checkpoint (DIR/model.ckpt-1000)
    model: a name or a gin file; without it the shape is read from the folder
  Raises:
    UserError: no checkpoint, one that cannot be read, or one of another model
  """
  kind = detect(path)
  tensors = _open(kind, path)
  if not tensors.infos:
    raise UserError(f'{path} holds no tensors.')
  notes: list[str] = []
  said = huggingface.read_config(path) if kind == names.HUGGING_FACE else {}
  huggingface_config.check_model_type(path, said)
  tied, aliases = huggingface_config.head(tensors, said) if kind == names.HUGGING_FACE else (None, {})
  config = load_config(model) if model else _read_config(kind, path, tensors, said, tied, notes)
  if kind == names.HUGGING_FACE:
    notes += huggingface_config.contradictions(said, config)
    if HEAD in tensors.infos and said.get('tie_word_embeddings', True) and not config.tied_embeddings:
      notes.append(f'{huggingface.CONFIG} ties the logits to the embedding; {HEAD} is kept as the matrix it is.')
    aliases = aliases if not config.tied_embeddings else {}
    if aliases:
      notes.append(
        f'{path} has no {HEAD}, and its logits are not scaled: {SHARED} is written as the matrix of logits too.'
      )
  source = Source(kind, path, config, tensors, notes, aliases)
  _check(source, f'the tensors of {config.name}' if model else 'a whole model, as the other tensors tell it')
  return source


def detect(path: str) -> str:
  """The kind of a checkpoint.

  Raises:
    UserError: there is none, or there are several
  """
  if os.path.isfile(f'{path}.index'):
    return names.MESH
  if not os.path.isdir(path):
    raise UserError(f'There is no folder "{path}". Give the folder of a checkpoint.')
  if journal.unfinished(path):
    raise UserError(f'{path} is a conversion that was interrupted. Give its command anew with --resume.')
  found = [kind for kind, present in (
      (names.KERAS, keras_files.has_weights(path)),
      (names.T5X, bool(t5x.array_folders(path))),
      (names.HUGGING_FACE, huggingface.has_weights(path)),
      (names.MESH, tensor_bundle.latest(path) is not None),
  ) if present]  # fmt: skip
  if len(found) > 1:
    raise UserError(
      f'{path} holds several checkpoints: {" and ".join(names.TITLES[k] for k in found)}. Give each a folder.'
    )
  if not found:
    raise UserError(_no_checkpoint(path))
  return found[0]


def is_export(folder: str) -> bool:
  """Whether a folder is an export, or one version of an export."""
  places = ['', *filter(str.isdecimal, os.listdir(folder))]
  return any(os.path.exists(os.path.join(folder, place, SAVED_MODEL)) for place in places)


def _no_checkpoint(path):
  if is_export(path):
    return (
      f'{path} is an export: `switch_zoo serve` answers with it, and no weights can be read from it. Give the folder '
      'of the checkpoint it was made of.'
    )
  return (
    f'{path} holds no checkpoint: no Mesh-TensorFlow files (*.index), no {keras_files.WEIGHTS}, no Hugging Face '
    f'files (model.safetensors, pytorch_model.bin) and no T5X arrays (target.*). It has {_listing(path)}.'
  )


def _open(kind, path):
  if kind == names.MESH:
    return tensor_bundle.TensorBundle(path if os.path.isfile(f'{path}.index') else tensor_bundle.latest(path))
  if kind == names.KERAS:
    return keras_files.KerasTensors(os.path.join(path, keras_files.WEIGHTS))
  return (t5x.T5XTensors if kind == names.T5X else huggingface.HuggingFaceTensors)(path)


def _read_config(kind, path, tensors, said, tied, notes):
  """The model of a folder: from its gin file, or else from config.json and the tensors."""
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  if os.path.isfile(os.path.join(folder, model_gin.FILE)):
    return load_config(os.path.join(folder, model_gin.FILE))
  if kind == names.HUGGING_FACE and not said:
    raise UserError(
      f'{path} has no {huggingface.CONFIG}, which says what the tensors do not. Copy it too, or give --model.'
    )
  found = anatomy.of(kind, tensors.infos)
  settings = found.settings
  if os.path.isfile(os.path.join(folder, OPERATIVE)):
    settings |= _of_training(os.path.join(folder, OPERATIVE))
  else:
    notes.append(f'No gin file in {path}: the model was read from the tensors.')
  if 'ff_activation' not in settings:
    settings['ff_activation'] = huggingface_config.activation_of(path, found, said, notes)
  if tied is not None:
    settings['tied_embeddings'] = tied
  description = model_gin.Description(found.blocks, settings, found.router)
  return model_gin.load(
    model_gin.text('A model read from a checkpoint.', os.path.basename(os.path.abspath(path)), description)
  )


def _of_training(path):
  """Settings of a training's operative_config.gin that no tensor tells; what it says of sizes is not needed."""
  files = gin_files.GinFiles()
  files.read_file(path)
  settings = {name: files.value(name) for name in TOLD_BY_TRAINING if name in files.bindings}
  activations = [files.value(key) for key in files.bindings if key.endswith('DenseReluDense.activation')]
  return settings | ({'ff_activation': _tuple(activations[0])} if activations else {})


def _tuple(activation):
  return (activation,) if isinstance(activation, str) else tuple(activation)


def _check(source, what):
  """Refuses a checkpoint whose tensors are not those of its model."""
  infos = source.tensors.infos
  wanted = {
    source.aliases.get(name, name): shape for name, shape in names.Names(source.config, source.kind).tensors().items()
  }
  problems = [f'{name} is missing' for name in wanted if name not in infos]
  problems += [
      f'{name} is {list(infos[name].shape)} there and {list(shape)} in the model'
      for name, shape in wanted.items() if name in infos and not _fits(source, name, infos[name].shape, shape)
  ]  # fmt: skip
  problems += [
    f'{name} is of type {infos[name].dtype}' for name in wanted if name in infos and not _is_float(infos[name])
  ]
  extra = [name for name in infos if name not in wanted and not _may_be_extra(source, name)]
  problems += [
    f'{name} is not the same as {SHARED}' if _is_copy(source, name) else f'{name} is in the checkpoint only'
    for name in extra
  ]
  if problems:
    more = f' and {len(problems) - MOST_SHOWN} more differences' if len(problems) > MOST_SHOWN else ''
    raise UserError(
      f'{source.path} does not hold {what}: {"; ".join(problems[:MOST_SHOWN])}{more}. '
      'Give the --model it is of, or copy it anew if it should be this one.'
    )


def _fits(source, name, shape, wanted):
  """Whether a shape is the wanted one; a vocabulary may lack the rows that pad it."""
  if shape == wanted:
    return True
  table = source.kind == names.HUGGING_FACE and name in (SHARED, HEAD) and len(shape) == 2
  return table and shape[1:] == wanted[1:] and padded_vocabulary(shape[0]) == wanted[0]


def _is_float(info):
  return info.dtype in (*arrays.FLOAT_TYPES.values(), np.float16, np.float64)


def _may_be_extra(source, name):
  if source.kind == names.MESH:
    return _is_training_state(name)
  if source.kind != names.HUGGING_FACE:
    return False
  if name in huggingface.UNUSED:
    return True
  return _is_copy(source, name) and huggingface_config.same_as_embedding(source.tensors, name)


def _is_copy(source, name):
  """Whether a tensor should be the embedding once more."""
  tied = source.config.tied_embeddings
  return source.kind == names.HUGGING_FACE and (name in huggingface.TIED_COPIES or (name == HEAD and tied))


def _is_training_state(name):
  return name == GLOBAL_STEP or SLOT in name


def _padded(table, rows):
  """A vocabulary's table with rows of zeros up to the padded size."""
  if table.shape[0] == rows:
    return table
  return np.concatenate([table, np.zeros((rows - table.shape[0], *table.shape[1:]), table.dtype)])


def _listing(path):
  entries = sorted(os.listdir(path))
  more = f' and {len(entries) - 5} more' if len(entries) > 5 else ''
  return ', '.join(entries[:5]) + more if entries else 'nothing'
