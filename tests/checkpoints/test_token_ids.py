"""Special ids of Hugging Face's files: another end is kept, other padding is refused; round trips keep all numbers."""

import json
import pathlib

import oracles
import pytest
import random_models

from switch_zoo.checkpoints import conversion, sources
from switch_zoo.checkpoints.request_checks import Request, Surgery
from switch_zoo.errors import UserError

CONFIG, GENERATION = 'config.json', 'generation_config.json'


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A model as transformers saves it."""
  return pathlib.Path(oracles.save(oracles.switch(vocab_size=200), tmp_path_factory.mktemp('saved') / 'hf'))


@pytest.fixture
def folder(saved, tmp_path):
  """The same without generation_config.json; tests change its config.json."""
  copy = tmp_path / 'hf'
  copy.mkdir()
  for name in ('model.safetensors', CONFIG):
    (copy / name).write_bytes((saved / name).read_bytes())
  return copy


def state(folder, file=CONFIG, **fields):
  path = folder / file
  path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | fields))
  return str(folder)


ENDS = {
  'config.json': ({'eos_token_id': 2}, None, 2),
  'both': ({'eos_token_id': 2}, {'eos_token_id': 2}, 2),
  'a list of one': ({'eos_token_id': [7]}, None, 7),
  'null in the generation config': ({'eos_token_id': 2}, {'eos_token_id': None}, 2),
  'a generation config without it': ({'eos_token_id': 2}, {'max_length': 9}, 2),
  "T5's": ({'eos_token_id': 1}, {'eos_token_id': 1, 'pad_token_id': 0, 'decoder_start_token_id': 0}, 1),
}


@pytest.mark.parametrize(('stated', 'generation', 'expected'), ENDS.values(), ids=ENDS)
def test_the_end(folder, stated, generation, expected):
  state(folder, **stated)
  if generation is not None:
    state(folder, GENERATION, **generation)
  assert sources.open_source(str(folder)).config.end_id == expected


def test_without_an_end_it_is_that_of_the_classes_of_transformers(folder):
  content = json.loads((folder / CONFIG).read_text())
  del content['eos_token_id']
  (folder / CONFIG).write_text(json.dumps(content))
  assert sources.open_source(str(folder)).config.end_id == 1


REFUSED = {
  'padding': (
    {'pad_token_id': 1},
    None,
    r'config.json says pad_token_id = 1. Padding is 0 in every model.*ids 0 and 1',
  ),
  'start': ({'decoder_start_token_id': 5}, None, r'decoder_start_token_id = 5. What the decoder reads first is 0'),
  'start of generate': ({}, {'decoder_start_token_id': 5}, r'generation_config.json says decoder_start_token_id = 5'),
  'several ends': (
    {'eos_token_id': [1, 2]},
    None,
    r'config.json says eos_token_id = \[1, 2\]. An answer must end with one',
  ),
  'the end is padding': ({'eos_token_id': 0}, None, r'eos_token_id = 0. An answer must end'),
  'no end': ({'eos_token_id': None}, None, r'eos_token_id = None. An answer must end'),
  'two opinions': ({'eos_token_id': 1}, {'eos_token_id': 2}, r'says eos_token_id = 1, and generation_config.json 2'),
  'no row': (
    {'eos_token_id': 200},
    None,
    r'eos_token_id = 200 is not an id of the 200 that shared.weight has rows for',
  ),
}


@pytest.mark.parametrize(('stated', 'generation', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(folder, tmp_path, stated, generation, message):
  state(folder, **stated)
  if generation is not None:
    state(folder, GENERATION, **generation)
  with pytest.raises(UserError, match=message):
    conversion.convert(Request(str(folder), str(tmp_path / 'new'), 'mesh'))
  assert not list(tmp_path.glob('new*'))


@pytest.mark.parametrize('to', ['mesh', 'keras', 'hf'])
def test_the_end_is_written_back(folder, tmp_path, to):
  conversion.convert(Request(state(folder, eos_token_id=2), str(tmp_path / 'middle'), to))
  assert 'end_id = 2' in (tmp_path / 'middle' / 'model.gin').read_text().splitlines()
  conversion.convert(Request(str(tmp_path / 'middle'), str(tmp_path / 'last'), 'hf'))
  assert json.loads((tmp_path / 'last' / CONFIG).read_text())['eos_token_id'] == 2


def test_transformers_ends_answers_with_it_again(folder, tmp_path):
  transformers = pytest.importorskip('transformers')
  conversion.convert(Request(state(folder, eos_token_id=2), str(tmp_path / 'back'), 'hf'))
  back = transformers.SwitchTransformersForConditionalGeneration.from_pretrained(tmp_path / 'back')
  generation = back.generation_config
  assert (generation.eos_token_id, generation.pad_token_id, generation.decoder_start_token_id) == (2, 0, 0)


def test_the_capacity_of_experts(folder, tmp_path):
  """Released models have 64; transformers takes that where it is not stated."""
  conversion.convert(Request(state(folder, expert_capacity=7), str(tmp_path / 'mesh'), 'mesh'))
  assert 'expert_capacity = 7' in (tmp_path / 'mesh' / 'model.gin').read_text().splitlines()
  assert sources.open_source(str(tmp_path / 'mesh')).config.expert_capacity == 7
  content = json.loads((folder / CONFIG).read_text())
  del content['expert_capacity']
  (folder / CONFIG).write_text(json.dumps(content))
  assert sources.open_source(str(folder)).config.expert_capacity == 64


@pytest.mark.parametrize('capacity', [0, -1, 1.5, None, True])
def test_a_capacity_that_is_none(folder, capacity):
  with pytest.raises(UserError, match=r'expert_capacity = .*: it is a number of tokens'):
    sources.open_source(state(folder, expert_capacity=capacity))


def test_a_model_without_a_capacity_gets_one_from_its_factor(tmp_path):
  """512 tokens x 2.0 / 3 experts."""
  config = random_models.tiny('switch_base_8')
  folder = random_models.save_mesh(tmp_path / 'mesh', random_models.values(config))
  conversion.convert(Request(folder, str(tmp_path / 'hf'), 'hf'))
  assert json.loads((tmp_path / 'hf' / CONFIG).read_text())['expert_capacity'] == 342


def test_surgery_keeps_the_end_and_the_number_of_ids(folder, tmp_path):
  request = Request(state(folder, eos_token_id=2), str(tmp_path / 'dense'), 'hf', surgery=Surgery(dense_from='mean'))
  conversion.convert(request)
  written = json.loads((tmp_path / 'dense' / CONFIG).read_text())
  assert (written['eos_token_id'], written['vocab_size'], written['model_type']) == (2, 200, 't5')


def test_models_that_end_with_1_are_written_as_before(folder, tmp_path):
  conversion.convert(Request(str(folder), str(tmp_path / 'mesh'), 'mesh'))
  assert 'end_id' not in (tmp_path / 'mesh' / 'model.gin').read_text()


def test_mesh_refuses_to_train_with_another_end(folder, tmp_path):
  conversion.convert(Request(state(folder, eos_token_id=2), str(tmp_path / 'mesh'), 'mesh'))
  inputs, targets = oracles.batch(200)
  with pytest.raises(UserError, match=r'end_id = 2: Mesh-TensorFlow.*in Keras'):
    oracles.mesh_outputs(str(tmp_path / 'mesh'), inputs, targets)


# Numbers of config.json that decide what a model computes or answers; `d_kv` and `num_heads` do not follow from others.
NUMBERS = (
    'd_model', 'd_kv', 'd_ff', 'num_heads', 'num_layers', 'num_decoder_layers', 'num_sparse_encoder_layers',
    'num_sparse_decoder_layers', 'num_experts', 'vocab_size', 'relative_attention_num_buckets',
    'relative_attention_max_distance', 'layer_norm_epsilon', 'expert_capacity', 'eos_token_id',
    'pad_token_id', 'decoder_start_token_id',
)  # fmt: skip


@pytest.mark.parametrize('through', ['mesh', 'keras', 'hf'])
def test_a_round_trip_keeps_every_number(tmp_path, through):
  model = oracles.switch(4, 2, vocab_size=359, relative_attention_num_buckets=16)
  folder = pathlib.Path(oracles.save(model, tmp_path / 'first'))
  (folder / GENERATION).unlink()
  conversion.convert(Request(state(folder, eos_token_id=2), str(tmp_path / 'middle'), through))
  conversion.convert(Request(str(tmp_path / 'middle'), str(tmp_path / 'last'), 'hf'))
  first, last = (json.loads((tmp_path / name / CONFIG).read_text()) for name in ('first', 'last'))
  assert {name: last[name] for name in NUMBERS} == {name: first[name] for name in NUMBERS}
