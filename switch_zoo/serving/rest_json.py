"""TensorFlow Serving's JSON, for signatures whose inputs are strings.

Row form: {"instances": [...]} -> {"predictions": [...]}; column form: {"inputs": ...} -> {"outputs": ...}. If there is
one input, its name may be left out, and a single output is written without its name; several are objects. Bytes are
{"b64": "..."}; outputs whose names end in "_bytes" are written that way. Source: tensorflow.org/tfx/serving/api_rest,
and tensorflow_serving/util/json_tensor.cc for what that page leaves open.
"""

import base64
import binascii
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from switch_zoo.errors import did_you_mean

DEFAULT_SIGNATURE = 'serving_default'
BYTES = 'b64'
BYTES_SUFFIX = '_bytes'
MAX_NAMES, MAX_LETTERS = 8, 100  # of a request, in the message of an error
KINDS = {dict: 'an object', list: 'a list', str: 'a string', bool: 'a boolean', int: 'a number', float: 'a number',
         type(None): 'null'}  # fmt: skip


class RequestError(Exception):
  """A request that cannot be answered: an HTTP status and a sentence."""

  def __init__(self, status: int, message: str) -> None:
    super().__init__(message)
    self.status = status


class TextSignature(NamedTuple):
  """The names of a signature's inputs, all <string>[batch], and of its outputs."""

  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


class PredictRequest(NamedTuple):
  """The body of a :predict request.

  signature: the name of the signature
  columns: input -> its values; all columns have the same length
  is_rows: whether it came in the row form, and is to be answered in it
  """

  signature: str
  columns: dict[str, list[bytes]]
  is_rows: bool

  @property
  def count(self) -> int:
    """The number of texts (or pairs of texts)."""
    return len(next(iter(self.columns.values())))


def parse(body: bytes, signatures: Mapping[str, TextSignature]) -> PredictRequest:
  """Reads the body of a :predict request.

  Raises:
    RequestError: 400, with the place of the mistake and what is expected there
  """
  document = _document(body)
  name = _signature_name(document, signatures)
  inputs = signatures[name].inputs
  if 'instances' in document and 'inputs' in document:
    raise RequestError(400, "The request has both 'instances' and 'inputs': give only one of them.")
  if 'instances' in document:
    return PredictRequest(name, _from_rows(document['instances'], inputs), True)
  if 'inputs' in document:
    return PredictRequest(name, _from_columns(document['inputs'], inputs), False)
  raise RequestError(400, f"Missing 'inputs' or 'instances' key.{_close(document, ['instances', 'inputs'])}")


def render(request: PredictRequest, outputs: Mapping[str, list]) -> bytes:
  """The body of the answer.

  Bytes of a text that are not UTF-8 are replaced by U+FFFD. NaN and the infinities, which JSON does not have, are null;
  TensorFlow Serving writes them as Python's json does.

  Args:
    request: what is answered
    outputs: output -> one value for each text, strings as bytes
  """
  values = {name: [_to_json(value, name.endswith(BYTES_SUFFIX)) for value in outputs[name]] for name in outputs}
  single = next(iter(values.values())) if len(values) == 1 else None
  if not request.is_rows:
    return to_bytes({'outputs': values if single is None else single})
  if single is None:
    single = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
  return to_bytes({'predictions': single})


def to_bytes(document: Any) -> bytes:
  """A document as JSON in UTF-8, with finite numbers. Half of a surrogate pair is written as an escape."""
  return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(errors='backslashreplace')


def _document(body: bytes) -> dict[str, Any]:
  if not body:
    raise RequestError(400, 'JSON Parse error: The document is empty. Send for example {"instances": ["a text"]}.')
  try:
    document = json.loads(body.decode())
  except (ValueError, RecursionError) as error:  # ValueError also for bytes that are not UTF-8 and for endless numbers
    raise RequestError(400, f'JSON Parse error: {error}.') from None
  if not isinstance(document, dict):
    raise RequestError(400, f'The request is {_kind(document)}; expected an object: {{"instances": ["a text"]}}.')
  return document


def _signature_name(document: dict[str, Any], signatures: Mapping[str, TextSignature]) -> str:
  name = document.get('signature_name', '')
  if not isinstance(name, str):
    raise RequestError(400, f"'signature_name' key must be a string value, not {_kind(name)}.")
  name = name or DEFAULT_SIGNATURE
  if name not in signatures:
    message = f'Serving signature name: "{name[:MAX_LETTERS]}" not found in signature def'
    raise RequestError(400, f'{message}; known: {_list(sorted(signatures))}.{_close([name], signatures)}')
  return name


def _from_rows(instances: Any, inputs: Sequence[str]) -> dict[str, list[bytes]]:
  if not isinstance(instances, list):
    raise RequestError(400, f"'instances' is {_kind(instances)}; expected a list with one item for each text.")
  if not instances:
    raise RequestError(400, "No values in 'instances' array: give at least one.")
  named = _is_named(instances[0])
  if not named and len(inputs) > 1:
    raise RequestError(
        400, f'instances[0] is {_kind(instances[0])}; this signature has several inputs, so each instance must be an '
        f'object with the keys {_list(inputs)}.')  # fmt: skip
  columns = {name: [] for name in inputs}
  for index, instance in enumerate(instances):
    where = f'instances[{index}]'
    if _is_named(instance) != named:
      raise RequestError(
        400, f'{where} is {_kind(instance)}, but instances[0] is {_kind(instances[0])}: all must have the same form.'
      )
    for name, value in _named_values(instance, inputs, where) if named else [(inputs[0], instance)]:
      columns[name].append(_text(value, f'{where}["{name}"]' if named else where))
  return columns


def _named_values(instance: dict[str, Any], inputs: Sequence[str], where: str) -> Iterable[tuple[str, Any]]:
  if set(instance) != set(inputs):
    close = _close([key for key in instance if key not in inputs], inputs)
    raise RequestError(400, f'{where} has the keys {_list(instance)}; keys must be equal to: {_list(inputs)}.{close}')
  return instance.items()


def _from_columns(value: Any, inputs: Sequence[str]) -> dict[str, list[bytes]]:
  if not _is_named(value):
    if len(inputs) > 1:
      raise RequestError(
          400, f"'inputs' is {_kind(value)}; this signature has several inputs: give an object with the keys "
          f'{_list(inputs)}, each with a list.')  # fmt: skip
    return {inputs[0]: _column(value, 'inputs')}
  for name in inputs:
    if name not in value:
      close = _close(value, [name])
      raise RequestError(400, f"Missing named input: {name} in 'inputs' object; expected: {_list(inputs)}.{close}")
  columns = {name: _column(value[name], f'inputs["{name}"]') for name in inputs}
  lengths = {name: len(column) for name, column in columns.items()}
  if len(set(lengths.values())) > 1:
    each = ', '.join(f'{name} has {length}' for name, length in lengths.items())
    raise RequestError(400, f"The lists in 'inputs' have different lengths: {each}.")
  return columns


def _column(values: Any, where: str) -> list[bytes]:
  if not isinstance(values, list):
    raise RequestError(400, f'{where} is {_kind(values)}; expected a list of strings.')
  return [_text(value, f'{where}[{index}]') for index, value in enumerate(values)]


def _text(value: Any, where: str) -> bytes:
  if isinstance(value, str):
    try:
      return value.encode()
    except UnicodeEncodeError:
      raise RequestError(400, f'JSON Parse error: {where} has half of a surrogate pair (\\ud800 to \\udfff).') from None
  if not _is_bytes(value):
    raise RequestError(400, f'{where} is {_kind(value)}; expected a string, or {{"b64": "..."}} for bytes.')
  try:
    encoded = value[BYTES].rstrip('=')
    return base64.b64decode(encoded + '=' * (-len(encoded) % 4), validate=True)
  except (binascii.Error, ValueError):
    raise RequestError(400, f'{where}: unable to base64 decode the value of "b64".') from None


def _is_bytes(value: Any) -> bool:
  return isinstance(value, dict) and list(value) == [BYTES] and isinstance(value[BYTES], str)


def _is_named(value: Any) -> bool:
  return isinstance(value, dict) and not _is_bytes(value)


def _kind(value: Any) -> str:
  return KINDS[type(value)]


def _list(names: Iterable[str]) -> str:
  return ', '.join(name[:MAX_LETTERS] for name in _first(names)) or 'none'


def _close(names: Iterable[str], valid: Iterable[str]) -> str:
  return ''.join(did_you_mean(name[:MAX_LETTERS], valid) for name in _first(names))


def _first(names: Iterable[str]) -> Iterable[str]:
  return itertools.islice(names, MAX_NAMES)


def _to_json(value: Any, as_bytes: bool) -> Any:
  if isinstance(value, list):
    return [_to_json(part, as_bytes) for part in value]
  if not isinstance(value, bytes):
    return None if isinstance(value, float) and not math.isfinite(value) else value
  return {BYTES: base64.b64encode(value).decode()} if as_bytes else value.decode(errors='replace')
