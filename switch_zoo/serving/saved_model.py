"""An export, found, checked and loaded as TensorFlow Serving does it: EXPORT_DIR/<version>/saved_model.pb.

The newest version is served. What is wrong is said before the weights are read, from the signatures in the file. Here
and nowhere else below `serving` TensorFlow is imported, inside the functions.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from switch_zoo.checkpoints.sources import SAVED_MODEL
from switch_zoo.errors import UserError
from switch_zoo.serving.rest_json import DEFAULT_SIGNATURE, RequestError, Signature

LAYOUT = f'An export is a folder EXPORT_DIR/1/{SAVED_MODEL}, as `switch_zoo export SRC EXPORT_DIR` makes it'
PREDICT = 'tensorflow/serving/predict'
SERVE_TAG = 'serve'


class Found(NamedTuple):
  """An export on disk.

  name: to be asked for by; version: '1'; folder: of that version
  """

  name: str
  version: str
  folder: str


def find(export_dir: str, name: str | None = None) -> Found:
  """The newest version of an export. Imports nothing and reads no weights.

  Raises:
    UserError: there is none, or its name cannot stand in a URL of TensorFlow Serving
  """
  if not os.path.isdir(export_dir):
    raise UserError(f'{export_dir} is no folder. {LAYOUT}.')
  path = os.path.abspath(export_dir)
  if os.path.exists(os.path.join(path, SAVED_MODEL)):
    above = os.path.dirname(path)
    hint = f'Give the folder above it, {above}' if os.path.basename(path).isdecimal() else f'Move it to {path}/1'
    raise UserError(f'{export_dir} holds {SAVED_MODEL} itself, without a numbered folder around it. {LAYOUT}. {hint}.')
  versions = [entry for entry in os.listdir(path) if entry.isdecimal()]
  if not versions:
    raise UserError(f'{export_dir} has no numbered folder inside. {LAYOUT}.')
  version = max(versions, key=int)
  if not os.path.exists(os.path.join(path, version, SAVED_MODEL)):
    raise UserError(f'{export_dir}/{version} has no {SAVED_MODEL}. {LAYOUT}.')
  name = os.path.basename(path) if name is None else name
  if not name or '/' in name or ':' in name:
    raise UserError(f'The model cannot be called {name!r}: its name stands in the URL. Give --name, without / and :.')
  return Found(name, str(int(version)), os.path.join(path, version))


class Model:
  """A loaded export, which the server asks."""

  def __init__(self, found: Found, loaded: Any, definitions: Mapping[str, Any]):
    """
    Args:
      found: where it is from
      loaded: of tf.saved_model.load
      definitions: signature -> SignatureDef
    """
    self.name, self.version = found.name, found.version
    self._loaded, self._definitions = loaded, definitions
    self.signatures = {
      name: Signature(tuple(sorted(definition.inputs)), tuple(sorted(definition.outputs)))
      for name, definition in sorted(definitions.items())
      if _takes_texts(definition)
    }

  def run(self, signature: str, columns: Mapping[str, list[bytes]]) -> dict[str, list]:
    """Asks the model once.

    Raises:
      RequestError: 400, the model does not take such texts
    """
    import tensorflow as tf

    inputs = {name: tf.constant(values, tf.string) for name, values in columns.items()}
    try:
      outputs = self._loaded.signatures[signature](**inputs)
      return {name: _to_list(outputs[name].numpy()) for name in sorted(outputs)}
    except tf.errors.InvalidArgumentError as error:
      raise RequestError(400, f'The model refused the request: {error.message}') from error

  def metadata(self) -> dict[str, Any]:
    """The signatures as TensorFlow Serving tells them: signature -> inputs, outputs, method_name."""
    return {
      name: {
        'inputs': {key: _info(info) for key, info in definition.inputs.items()},
        'outputs': {key: _info(info) for key, info in definition.outputs.items()},
        'method_name': definition.method_name,
      }
      for name, definition in self._definitions.items()
    }


def load(found: Found) -> Model:
  """Reads the weights.

  Raises:
    UserError: it is no SavedModel, cannot be loaded, or has no signature of strings
  """
  import tensorflow as tf
  import tensorflow_text  # noqa: F401 - its operations are in the export

  definitions = _definitions(found)
  if not any(map(_takes_texts, definitions.values())):
    known = ', '.join(sorted(definitions)) or 'none'
    raise UserError(
        f'{found.folder} has no signature whose inputs are all string [batch] (its signatures: {known}), and others '
        'are not served. TensorFlow Serving itself serves them.')  # fmt: skip
  try:
    return Model(found, tf.saved_model.load(found.folder), definitions)
  except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
    raise UserError(f'{found.folder} cannot be loaded: {error}') from error


def _definitions(found):
  from google.protobuf.message import DecodeError
  from tensorflow.core.protobuf import saved_model_pb2

  proto = saved_model_pb2.SavedModel()
  try:
    with open(os.path.join(found.folder, SAVED_MODEL), 'rb') as file:
      proto.ParseFromString(file.read())
  except (OSError, DecodeError) as error:
    raise UserError(f'{found.folder}/{SAVED_MODEL} is no SavedModel: {error}. Export it again.') from error
  graphs = [graph for graph in proto.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
  if not graphs:
    raise UserError(f'{found.folder}/{SAVED_MODEL} has no graph with the tag "{SERVE_TAG}". Export it again.')
  return dict(graphs[0].signature_def)


def _takes_texts(definition):
  from tensorflow.core.framework import types_pb2

  return definition.method_name == PREDICT and bool(definition.inputs) and all(
      info.dtype == types_pb2.DT_STRING and [dim.size for dim in info.tensor_shape.dim] == [-1]
      for info in definition.inputs.values())  # fmt: skip


def _info(info):
  from tensorflow.core.framework import types_pb2

  dims = [{'size': str(dim.size), 'name': dim.name} for dim in info.tensor_shape.dim]
  return {
    'dtype': types_pb2.DataType.Name(info.dtype),
    'tensor_shape': {'dim': dims, 'unknown_rank': info.tensor_shape.unknown_rank},
    'name': info.name,
  }


def _to_list(array):
  """A list; float32 by its shortest digits (-0.1, not -0.10000000149011612), as TensorFlow Serving writes it."""
  return array.astype(str).astype(float).tolist() if array.dtype == 'float32' else array.tolist()


def first_signature(model) -> str:
  """The signature to show how to ask: the default one where there is one."""
  return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in model.signatures else min(model.signatures)
