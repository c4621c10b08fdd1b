"""The JSON forms: what TensorFlow Serving's page shows, and the message for each mistake."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_zoo.serving import rest_json
from switch_zoo.serving.rest_json import PredictRequest, RequestError, TextSignature

SIGNATURES = {
  'serving_default': TextSignature(('inputs',), ('outputs', 'scores')),
  'score': TextSignature(('inputs', 'targets'), ('scores',)),
}
OUTPUTS = {'outputs': [b'ja', b'nein'], 'scores': [-0.5, -1.25]}


def parsed(text):
  return rest_json.parse(text.encode(), SIGNATURES)


@pytest.mark.parametrize(
    ('text', 'columns', 'rows'),
    [
        ('{"instances": ["a", "b"]}', {'inputs': [b'a', b'b']}, True),
        ('{"instances": [{"inputs": "a"}, {"inputs": "b"}]}', {'inputs': [b'a', b'b']}, True),
        ('{"instances": [{"b64": "//4="}, "b"]}', {'inputs': [b'\xff\xfe', b'b']}, True),
        ('{"instances": [{"inputs": {"b64": "//4"}}]}', {'inputs': [b'\xff\xfe']}, True),
        ('{"instances": ["", "\\ud83d\\ude00"]}', {'inputs': [b'', '😀'.encode()]}, True),
        ('{"inputs": ["a", "b"]}', {'inputs': [b'a', b'b']}, False),
        ('{"inputs": {"inputs": ["a"]}}', {'inputs': [b'a']}, False),
        ('{"inputs": {"inputs": ["a"], "other": 1}}', {'inputs': [b'a']}, False),
        ('{"inputs": []}', {'inputs': []}, False),
        ('{"signature_name": "", "instances": ["a"], "id": 7}', {'inputs': [b'a']}, True),
    ],
    ids=['plain', 'named', 'bytes', 'named bytes', 'empty and emoji', 'column', 'named column', 'others are ignored',
         'no texts', 'default signature'],
)  # fmt: skip
def test_one_input(text, columns, rows):
  assert parsed(text) == PredictRequest('serving_default', columns, rows)


@pytest.mark.parametrize(
  ('text', 'rows'),
  [
    ('"instances": [{"inputs": "q", "targets": "a"}, {"targets": "b", "inputs": "r"}]', True),
    ('"inputs": {"targets": ["a", "b"], "inputs": ["q", "r"]}', False),
  ],
  ids=['row', 'column'],
)
def test_several_inputs(text, rows):
  request = parsed(f'{{"signature_name": "score", {text}}}')
  assert request == PredictRequest('score', {'inputs': [b'q', b'r'], 'targets': [b'a', b'b']}, rows)
  assert request.count == 2


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'JSON Parse error: The document is empty.'),
        ('{"instances": ["a"', 'JSON Parse error: '),
        ('["a"]', 'The request is a list; expected an object'),
        ('{}', "Missing 'inputs' or 'instances' key."),
        ('{"instance": ["a"]}', "Missing 'inputs' or 'instances' key. Did you mean instances?"),
        ('{"instances": ["a"], "inputs": ["a"]}', "has both 'instances' and 'inputs'"),
        ('{"signature_name": 3, "instances": ["a"]}', "'signature_name' key must be a string value, not a number."),
        ('{"signature_name": "scores", "instances": ["a"]}',
         'Serving signature name: "scores" not found in signature def; known: score, serving_default. '
         'Did you mean score?'),
        ('{"instances": "a"}', "'instances' is a string; expected a list"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": ["a", 7]}', 'instances[1] is a number; expected a string'),
        ('{"instances": [["a"]]}', 'instances[0] is a list; expected a string'),
        ('{"instances": [null]}', 'instances[0] is null; expected a string'),
        ('{"instances": [true]}', 'instances[0] is a boolean; expected a string'),
        ('{"instances": [{"inputs": 1.5}]}', 'instances[0]["inputs"] is a number; expected a string'),
        ('{"instances": ["a", {"inputs": "b"}]}',
         'instances[1] is an object, but instances[0] is a string: all must have the same form.'),
        ('{"instances": [{"input": "a"}]}',
         'instances[0] has the keys input; keys must be equal to: inputs. Did you mean inputs?'),
        ('{"instances": [{}]}', 'instances[0] has the keys none; keys must be equal to: inputs.'),
        ('{"instances": [{"b64": "?"}]}', 'instances[0]: unable to base64 decode'),
        ('{"instances": [{"b64": "\\u00e9"}]}', 'instances[0]: unable to base64 decode'),
        ('{"instances": ["\\ud800"]}', 'instances[0] has half of a surrogate pair'),
        ('{"inputs": "a"}', 'inputs is a string; expected a list of strings.'),
        ('{"inputs": ["a", {}]}', 'inputs[1] is an object; expected a string'),
        ('{"inputs": {"input": ["a"]}}', "Missing named input: inputs in 'inputs' object; expected: inputs. Did you"),
        ('{"signature_name": "score", "instances": ["a"]}',
         'instances[0] is a string; this signature has several inputs, so each instance must be an object with the '
         'keys inputs, targets.'),
        ('{"signature_name": "score", "inputs": ["a"]}', "'inputs' is a list; this signature has several inputs"),
        ('{"signature_name": "score", "inputs": {"inputs": ["a"], "targets": ["b", "c"]}}',
         "The lists in 'inputs' have different lengths: inputs has 1, targets has 2."),
        ('{"signature_name": "score", "inputs": {"inputs": ["a"], "targets": [[]]}}', 'inputs["targets"][0] is a list'),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place(text, message):
  with pytest.raises(RequestError) as error:
    parsed(text)
  assert message in str(error.value) and error.value.status == 400


@pytest.mark.parametrize(
  'body',
  [b'{"instances": ["\xff"]}', b'[' * 100_000, b'{"instances": [' + b'9' * 10_000 + b']}', b'\xff\xfe{\x00}\x00'],
  ids=['not UTF-8', 'deep', 'endless number', 'UTF-16'],
)
def test_what_breaks_a_parser_is_a_mistake_too(body):
  with pytest.raises(RequestError) as error:
    rest_json.parse(body, SIGNATURES)
  assert error.value.status == 400 and len(str(error.value)) < 300


def test_an_error_does_not_repeat_a_whole_request():
  keys = {f'instances{number}' + 'x' * 500: 1 for number in range(5000)}
  for document in (keys, {'instances': [keys]}, {'instances': ['a'], 'signature_name': 'x' * 100_000}):
    with pytest.raises(RequestError) as error:
      parsed(json.dumps(document))
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ('rows', 'outputs', 'expected'),
    [
        (True, OUTPUTS,
         {'predictions': [{'outputs': 'ja', 'scores': -0.5}, {'outputs': 'nein', 'scores': -1.25}]}),
        (False, OUTPUTS, {'outputs': {'outputs': ['ja', 'nein'], 'scores': [-0.5, -1.25]}}),
        (True, {'scores': [-0.5, -1.25]}, {'predictions': [-0.5, -1.25]}),
        (False, {'scores': [-0.5, -1.25]}, {'outputs': [-0.5, -1.25]}),
        (True, {'image_bytes': [b'\xff\xfe', b'']}, {'predictions': [{'b64': '//4='}, {'b64': ''}]}),
        (True, {'outputs': [b'\xff', '😀'.encode()]}, {'predictions': ['\ufffd', '😀']}),
        (False, {'beams': [[b'a', b'b'], [b'c', b'd']]}, {'outputs': [['a', 'b'], ['c', 'd']]}),
        (False, {'outputs': [], 'scores': []}, {'outputs': {'outputs': [], 'scores': []}}),
    ],
    ids=['rows', 'columns', 'rows of one output', 'columns of one output', 'bytes', 'not UTF-8', 'lists', 'nothing'],
)  # fmt: skip
def test_answers(rows, outputs, expected):
  assert json.loads(rest_json.render(PredictRequest('any', {}, rows), outputs)) == expected


@pytest.mark.parametrize('number', [float('-inf'), float('inf'), float('nan')])
def test_a_number_that_json_does_not_have_is_null(number):
  render = lambda outputs: rest_json.render(PredictRequest('any', {}, True), outputs)
  assert render({'scores': [number, -1.5]}) == b'{"predictions": [null, -1.5]}'
  assert render({'scores': [[number, -1.5]]}) == b'{"predictions": [[null, -1.5]]}'
  assert render({'outputs': [b'NaN'], 'scores': [number]}) == b'{"predictions": [{"outputs": "NaN", "scores": null}]}'


def test_an_error_that_repeats_half_of_a_surrogate_pair_is_json():
  with pytest.raises(RequestError) as error:
    parsed('{"instances": [{"\\ud800": "a"}]}')
  message = {'error': str(error.value)}
  assert json.loads(rest_json.to_bytes(message)) == message and '\ud800' in message['error']


@given(st.lists(st.one_of(st.text(st.characters(exclude_categories=['Cs'])), st.binary()), min_size=1))
def test_texts_and_bytes_arrive_as_they_are(values):
  coded = [{'b64': base64.b64encode(v).decode()} if isinstance(v, bytes) else v for v in values]
  plain = [v if isinstance(v, bytes) else v.encode() for v in values]
  for document in ({'instances': coded}, {'inputs': coded}):
    assert parsed(json.dumps(document)).columns == {'inputs': plain}
