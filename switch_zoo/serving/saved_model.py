"""Finds, checks and loads an export as TensorFlow Serving does: EXPORT_DIR/<version>/saved_model.pb.

The newest version is served. Mistakes are reported before the weights are read, from the signatures in the file.
TensorFlow is imported only here, inside the functions.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from switch_zoo.checkpoints import file_checksums
from switch_zoo.checkpoints.sources import ONNX_EXPORT, SAVED_MODEL
from switch_zoo.errors import UserError
from switch_zoo.serving.rest_json import DEFAULT_SIGNATURE, RequestError, TextSignature

LAYOUT = f'An export is a folder EXPORT_DIR/1/{SAVED_MODEL}, as `switch_zoo export SRC EXPORT_DIR` makes it'
MODEL_FILES = (SAVED_MODEL, ONNX_EXPORT)
PREDICT = 'tensorflow/serving/predict'
SERVE_TAG = 'serve'


class ExportVersion(NamedTuple):
  """One version of an export on disk.

  name: the model's name in URLs; version: '1'; folder: that of the version
  """

  name: str
  version: str
  folder: str


def find(export_dir: str, name: str | None = None) -> ExportVersion:
  """The newest version of an export. Imports nothing and reads no weights.

  Args:
    export_dir: the folder that `switch_zoo export` made
    name: the model's name; None: that of the folder
  Raises:
    UserError: there is no version, or the name cannot be part of a URL of TensorFlow Serving
  """
  if not os.path.isdir(export_dir):
    raise UserError(f'{export_dir} is not a folder. {LAYOUT}.')
  path = os.path.abspath(export_dir)
  for inside in (name for name in MODEL_FILES if os.path.exists(os.path.join(path, name))):
    above = os.path.dirname(path)
    hint = f'Give the folder above it, {above}' if os.path.basename(path).isdecimal() else f'Move it to {path}/1'
    raise UserError(f'{export_dir} contains {inside} itself, not in a numbered folder. {LAYOUT}. {hint}.')
  versions = [entry for entry in os.listdir(path) if entry.isdecimal()]
  if not versions:
    raise UserError(f'{export_dir} contains no numbered folder. {LAYOUT}.')
  version = max(versions, key=int)
  if not any(os.path.exists(os.path.join(path, version, name)) for name in MODEL_FILES):
    raise UserError(f'{export_dir}/{version} has no {SAVED_MODEL}. {LAYOUT}.')
  name = os.path.basename(path) if name is None else name
  if not name or '/' in name or ':' in name:
    raise UserError(f'The model cannot be called {name!r}: its name is part of the URL. Give a --name without / and :.')
  return ExportVersion(name, str(int(version)), os.path.join(path, version))


class LoadedExport:
  """An export in memory, as the server runs it. `signatures`: those whose inputs are all texts."""

  def __init__(self, export: ExportVersion, loaded: Any, definitions: Mapping[str, Any]) -> None:
    """
    Args:
      export: where it comes from
      loaded: the result of tf.saved_model.load
      definitions: signature -> SignatureDef
    """
    self.name, self.version = export.name, export.version
    self._loaded, self._definitions = loaded, definitions
    self.signatures = {
      name: TextSignature(tuple(sorted(definition.inputs)), tuple(sorted(definition.outputs)))
      for name, definition in sorted(definitions.items())
      if _takes_texts(definition)
    }

  @property
  def first_signature(self) -> str:
    """The signature to show in an example: the default one if there is one."""
    return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in self.signatures else min(self.signatures)

  def run(self, signature: str, columns: Mapping[str, list[bytes]]) -> dict[str, list]:
    """Runs the model on one batch.

    Args:
      signature: one of `signatures`
      columns: input -> [batch] texts
    Returns:
      output -> [batch] values
    Raises:
      RequestError: 400, the model does not accept such texts
    """
    import tensorflow as tf

    inputs = {name: tf.constant(values, tf.string) for name, values in columns.items()}
    try:
      outputs = self._loaded.signatures[signature](**inputs)
      return {name: to_list(outputs[name].numpy()) for name in sorted(outputs)}
    except tf.errors.InvalidArgumentError as error:
      raise RequestError(400, f'The model refused the request: {error.message}') from error

  def metadata(self) -> dict[str, Any]:
    """All signatures as TensorFlow Serving reports them: signature -> inputs, outputs, method_name."""
    return {
      name: {
        'inputs': {key: _info(info) for key, info in definition.inputs.items()},
        'outputs': {key: _info(info) for key, info in definition.outputs.items()},
        'method_name': definition.method_name,
      }
      for name, definition in self._definitions.items()
    }


def load(export: ExportVersion) -> LoadedExport:
  """Reads the weights; first checks all files where an export has checksums.

  Raises:
    UserError: a file is not what was exported; it is not a SavedModel, cannot be loaded, or has no signature that takes
      only texts
  """
  file_checksums.check(export.folder)
  import tensorflow as tf
  import tensorflow_text  # noqa: F401 - its operations are in the export

  definitions = _definitions(export.folder)
  if not any(map(_takes_texts, definitions.values())):
    known = ', '.join(sorted(definitions)) or 'none'
    raise UserError(
        f'{export.folder} has no signature whose inputs are all string [batch] (its signatures: {known}); only such '
        'signatures can be served here. Use TensorFlow Serving itself for others.')  # fmt: skip
  try:
    return LoadedExport(export, tf.saved_model.load(export.folder), definitions)
  except Exception as error:  # noqa: BLE001 - TensorFlow raises KeyError, IndexError and more for damaged files
    reason = (str(error).splitlines() or [''])[0]
    raise UserError(
      f'{export.folder} cannot be loaded: {type(error).__name__}: {reason}. A file of it is damaged, cut off or of '
      'another TensorFlow: copy it again, or export again.'
    ) from error


def _definitions(folder: str) -> dict[str, Any]:
  """Signature -> SignatureDef, read from the file without loading the model."""
  from google.protobuf.message import DecodeError
  from tensorflow.core.protobuf import saved_model_pb2

  proto = saved_model_pb2.SavedModel()
  try:
    with open(os.path.join(folder, SAVED_MODEL), 'rb') as file:
      proto.ParseFromString(file.read())
  except (OSError, DecodeError) as error:
    raise UserError(f'{folder}/{SAVED_MODEL} is not a SavedModel: {error}. Export it again.') from error
  graphs = [graph for graph in proto.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
  if not graphs:
    raise UserError(f'{folder}/{SAVED_MODEL} has no graph with the tag "{SERVE_TAG}". Export it again.')
  return dict(graphs[0].signature_def)


def _takes_texts(definition: Any) -> bool:
  import tensorflow as tf

  return definition.method_name == PREDICT and bool(definition.inputs) and all(
      info.dtype == tf.string.as_datatype_enum and [dim.size for dim in info.tensor_shape.dim] == [-1]
      for info in definition.inputs.values())  # fmt: skip


def _info(info: Any) -> dict[str, Any]:
  """A TensorInfo as JSON."""
  from tensorflow.core.framework import types_pb2

  dims = [{'size': str(dim.size), 'name': dim.name} for dim in info.tensor_shape.dim]
  return {
    'dtype': types_pb2.DataType.Name(info.dtype),  # pyright: ignore[reportAttributeAccessIssue] - made at run time
    'tensor_shape': {'dim': dims, 'unknown_rank': info.tensor_shape.unknown_rank},
    'name': info.name,
  }


def to_list(array: Any) -> list:
  """An array as a list; float32 by its shortest digits (-0.1, not -0.10000000149011612), as in TensorFlow Serving."""
  return array.astype(str).astype(float).tolist() if array.dtype == 'float32' else array.tolist()
