"""TensorFlow Serving's JSON, for signatures whose inputs are strings.

Row form: {"instances": [...]} -> {"predictions": [...]}; column form: {"inputs": ...} -> {"outputs": ...}. One named
input (output) stands without its name, several stand in objects. Bytes are {"b64": "..."}; an output whose name ends in
"_bytes" is written so. Source: tensorflow.org/tfx/serving/api_rest, and tensorflow_serving/util/json_tensor.cc where
the page is silent.
"""

import base64
import binascii
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from switch_zoo.errors import did_you_mean

DEFAULT_SIGNATURE = 'serving_default'
BYTES = 'b64'
BYTES_SUFFIX = '_bytes'
MANY, LONG = 8, 100  # names and letters of a request that an error repeats
KINDS = {dict: 'an object', list: 'a list', str: 'a string', bool: 'a boolean', int: 'a number', float: 'a number',
         type(None): 'null'}  # fmt: skip


class RequestError(Exception):
  """A request that gets no answer: an HTTP status and a sentence."""

  def __init__(self, status: int, message: str):
    super().__init__(message)
    self.status = status


class Signature(NamedTuple):
  """The names of a signature's inputs, all string [batch], and of its outputs."""

  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


class Asked(NamedTuple):
  """A request.

  signature: its name
  columns: input -> its values, all of one length
  rows: whether it came in the row form, and is answered so
  """

  signature: str
  columns: dict[str, list[bytes]]
  rows: bool

  @property
  def count(self) -> int:
    """How many texts (pairs of texts) it asks about."""
    return len(next(iter(self.columns.values())))


def parse(body: bytes, signatures: Mapping[str, Signature]) -> Asked:
  """Reads the body of a :predict request.

  Raises:
    RequestError: 400, with the place of the mistake and what belongs there
  """
  document = _document(body)
  name = _signature_name(document, signatures)
  inputs = signatures[name].inputs
  if 'instances' in document and 'inputs' in document:
    raise RequestError(400, "The request has both 'instances' and 'inputs': give one of them.")
  if 'instances' in document:
    return Asked(name, _from_rows(document['instances'], inputs), True)
  if 'inputs' in document:
    return Asked(name, _from_columns(document['inputs'], inputs), False)
  raise RequestError(400, f"Missing 'inputs' or 'instances' key.{_close(document, ['instances', 'inputs'])}")


def render(asked: Asked, outputs: Mapping[str, list]) -> bytes:
  """The body of the answer: output -> a value for each text, strings as bytes.

  Text that is not UTF-8 is written with U+FFFD in the place of what is wrong; NaN and the infinities are the tokens
  that TensorFlow Serving and Python's json write.
  """
  values = {name: [_to_json(value, name.endswith(BYTES_SUFFIX)) for value in outputs[name]] for name in outputs}
  single = next(iter(values.values())) if len(values) == 1 else None
  if not asked.rows:
    return to_bytes({'outputs': values if single is None else single})
  if single is None:
    single = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
  return to_bytes({'predictions': single})


def to_bytes(document: Any) -> bytes:
  """JSON in UTF-8."""
  return json.dumps(document, ensure_ascii=False).encode()


def _document(body):
  if not body:
    raise RequestError(400, 'JSON Parse error: The document is empty. Send for example {"instances": ["a text"]}.')
  try:
    document = json.loads(body.decode())
  except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8 and numbers beyond all measure
    raise RequestError(400, f'JSON Parse error: {error}.') from None
  if not isinstance(document, dict):
    raise RequestError(400, f'The request is {_kind(document)}; expected an object: {{"instances": ["a text"]}}.')
  return document


def _signature_name(document, signatures):
  name = document.get('signature_name', '')
  if not isinstance(name, str):
    raise RequestError(400, f"'signature_name' key must be a string value, not {_kind(name)}.")
  name = name or DEFAULT_SIGNATURE
  if name not in signatures:
    raise RequestError(
        400, f'Serving signature name: "{name[:LONG]}" not found in signature def; known: {_list(sorted(signatures))}.'
        + _close([name], signatures))  # fmt: skip
  return name


def _from_rows(instances, inputs):
  if not isinstance(instances, list):
    raise RequestError(400, f"'instances' is {_kind(instances)}; expected a list with one item for each text.")
  if not instances:
    raise RequestError(400, "No values in 'instances' array: give at least one.")
  named = _is_named(instances[0])
  if not named and len(inputs) > 1:
    raise RequestError(
        400, f'instances[0] is {_kind(instances[0])}; this signature has several inputs, so each instance is an object '
        f'with the keys {_list(inputs)}.')  # fmt: skip
  columns = {name: [] for name in inputs}
  for index, instance in enumerate(instances):
    where = f'instances[{index}]'
    if _is_named(instance) != named:
      raise RequestError(400, f'{where} is {_kind(instance)}, instances[0] is {_kind(instances[0])}: give all alike.')
    for name, value in _named_values(instance, inputs, where) if named else [(inputs[0], instance)]:
      columns[name].append(_text(value, f'{where}["{name}"]' if named else where))
  return columns


def _named_values(instance, inputs, where):
  if set(instance) != set(inputs):
    close = _close([key for key in instance if key not in inputs], inputs)
    raise RequestError(400, f'{where} has the keys {_list(instance)}; keys must be equal to: {_list(inputs)}.{close}')
  return instance.items()


def _from_columns(value, inputs):
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
    told = ', '.join(f'{name} has {length}' for name, length in lengths.items())
    raise RequestError(400, f"The lists in 'inputs' have different lengths: {told}.")
  return columns


def _column(values, where):
  if not isinstance(values, list):
    raise RequestError(400, f'{where} is {_kind(values)}; expected a list of strings.')
  return [_text(value, f'{where}[{index}]') for index, value in enumerate(values)]


def _text(value, where):
  if isinstance(value, str):
    try:
      return value.encode()
    except UnicodeEncodeError:
      raise RequestError(400, f'JSON Parse error: {where} has half a surrogate pair (\\ud800 to \\udfff).') from None
  if not _is_bytes(value):
    raise RequestError(400, f'{where} is {_kind(value)}; expected a string, or {{"b64": "..."}} for bytes.')
  try:
    coded = value[BYTES].rstrip('=')
    return base64.b64decode(coded + '=' * (-len(coded) % 4), validate=True)
  except (binascii.Error, ValueError):
    raise RequestError(400, f'{where}: unable to base64 decode what "b64" holds.') from None


def _is_bytes(value):
  return isinstance(value, dict) and list(value) == [BYTES] and isinstance(value[BYTES], str)


def _is_named(value):
  return isinstance(value, dict) and not _is_bytes(value)


def _kind(value):
  return KINDS[type(value)]


def _list(names: Iterable[str]) -> str:
  return ', '.join(name[:LONG] for name in _first(names)) or 'none'


def _close(names: Iterable[str], valid: Iterable[str]) -> str:
  return ''.join(did_you_mean(name[:LONG], valid) for name in _first(names))


def _first(names):
  return itertools.islice(names, MANY)


def _to_json(value, as_bytes):
  if isinstance(value, list):
    return [_to_json(part, as_bytes) for part in value]
  if not isinstance(value, bytes):
    return value
  return {BYTES: base64.b64encode(value).decode()} if as_bytes else value.decode(errors='replace')
