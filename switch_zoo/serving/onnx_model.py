"""An ONNX export as the server runs it. TensorFlow is not imported."""

import os
from collections.abc import Mapping
from typing import Any

from switch_zoo.checkpoints.sources import ONNX_EXPORT
from switch_zoo.errors import UserError
from switch_zoo.onnx_runner.text_model import OnnxTextModel
from switch_zoo.serving.rest_json import DEFAULT_SIGNATURE, RequestError, TextSignature
from switch_zoo.serving.saved_model import PREDICT, ExportVersion, to_list

SCORE = 'score'


class LoadedOnnxExport:
  """An ONNX export in memory, with the signatures that a SavedModel of the same model has."""

  first_signature = DEFAULT_SIGNATURE

  def __init__(self, export: ExportVersion, model: OnnxTextModel) -> None:
    """
    Args:
      export: where it comes from
      model: what answers
    """
    self.name, self.version, self._model = export.name, export.version, model
    has_beams = model.settings.beam and model.settings.num_return_sequences > 1
    outputs = ('beam_scores', 'outputs', 'scores') if has_beams else ('outputs', 'scores')
    self.signatures = {
      SCORE: TextSignature(('inputs', 'targets'), ('scores',)),
      DEFAULT_SIGNATURE: TextSignature(('inputs',), outputs),
    }

  def run(self, signature: str, columns: Mapping[str, list[bytes]]) -> dict[str, list]:
    """As `LoadedExport.run`."""
    try:
      if signature == SCORE:
        answers = self._model.score(columns['inputs'], columns['targets'])
      else:
        answers = self._model.answer(columns['inputs'])
    except UserError as error:
      raise RequestError(400, f'The model refused the request: {error}') from error
    outputs = answers.pop('outputs', None)
    values = {name: to_list(array) for name, array in sorted(answers.items())}
    return values if outputs is None else {'outputs': _encoded(outputs), **values}

  def metadata(self) -> dict[str, Any]:
    """As `LoadedExport.metadata`."""
    count = self._model.settings.num_return_sequences
    return {
      name: {
        'inputs': {key: _info(key, 'DT_STRING') for key in signature.inputs},
        'outputs': {
          key: _info(key, 'DT_STRING' if key == 'outputs' else 'DT_FLOAT', 1 if name == SCORE else count)
          for key in signature.outputs
        },
        'method_name': PREDICT,
      }
      for name, signature in self.signatures.items()
    }


def is_onnx(export: ExportVersion) -> bool:
  """Whether a version of an export is for ONNX Runtime."""
  return os.path.isfile(os.path.join(export.folder, ONNX_EXPORT))


def load(export: ExportVersion, threads: int | None = None) -> LoadedOnnxExport:
  """Loads an export, of which every file is checked first.

  Args:
    export: where it is
    threads: that compute; None: as many as the machine has cores
  Raises:
    UserError: a file is missing or damaged
  """
  return LoadedOnnxExport(export, OnnxTextModel(export.folder, threads, every_byte=True))


def _encoded(outputs: list) -> list:
  """Texts, or lists of texts, as bytes."""
  return [_encoded(output) if isinstance(output, list) else output.encode() for output in outputs]


def _info(name: str, dtype: str, count: int = 1) -> dict[str, Any]:
  sizes = ['-1'] if count == 1 else ['-1', str(count)]
  shape = {'dim': [{'size': size, 'name': ''} for size in sizes], 'unknown_rank': False}
  return {'dtype': dtype, 'tensor_shape': shape, 'name': name}
