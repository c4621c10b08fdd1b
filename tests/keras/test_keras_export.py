"""An export answers in a process without our packages; `generate` and `score` say the same."""

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import seqio
import tensorflow as tf

import switch_zoo
from switch_zoo import machine, number_format
from switch_zoo.checkpoints import conversion
from switch_zoo.errors import UserError
from switch_zoo.keras import export, export_readme, generation, text
from switch_zoo.serving import rest_json, saved_model

TEXTS = ['Sets a breakpoint.', '', 'naïve 😀 <extra_id_3>', 'x' * 10_000]
# What a user of the export runs: no package of ours, any batch.
PROGRAM = """
import json, sys
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1])
texts = json.load(sys.stdin)
ask, score = model.signatures['serving_default'], model.signatures['score']
answers = ask(inputs=tf.constant(texts))
outputs = [o.decode() for o in answers['outputs'].numpy()]
json.dump({
    'outputs': outputs,
    'scores': answers['scores'].numpy().tolist(),
    'scored': score(inputs=tf.constant(texts), targets=tf.constant(texts))['scores'].numpy().tolist(),
    'sizes': [ask(inputs=tf.constant(['a'] * n, tf.string))['outputs'].shape[0] for n in (0, 1, 3, 64)],
    'no_utf8': ask(inputs=tf.constant([b'\\xff\\xfe broken']))['outputs'].shape[0],
    'ours': sorted({n.split('.')[0] for n in sys.modules} & {'switch_zoo', 'mesh_tensorflow', 't5', 'seqio'}),
}, sys.stdout)
"""


@pytest.fixture(scope='module')
def exported(opened, tmp_path_factory):
  folder = tmp_path_factory.mktemp('exports') / 'small'
  export.export(opened, str(folder))
  return folder


@pytest.fixture(scope='module')
def answers(exported, tmp_path_factory):
  """What the export says in a process of its own, in an empty folder."""
  done = subprocess.run(
    [sys.executable, '-I', '-c', PROGRAM, str(exported / '1')],
    input=json.dumps(TEXTS),
    capture_output=True,
    text=True,
    check=False,
    cwd=tmp_path_factory.mktemp('empty'),
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_a_fresh_process_needs_none_of_our_packages(answers):
  assert answers['ours'] == []


def test_any_batch_is_answered(answers):
  assert answers['sizes'] == [0, 1, 3, 64]
  assert answers['no_utf8'] == 1
  assert len(answers['outputs']) == len(TEXTS)


def test_the_export_says_what_the_model_says(answers, opened):
  found = opened.answer(tf.constant(TEXTS))
  assert [o.decode() for o in found['outputs'].numpy()] == answers['outputs']
  np.testing.assert_allclose(answers['scores'], found['scores'], rtol=1e-4)
  scored = opened.score(tf.constant(TEXTS), tf.constant(TEXTS))['scores']
  np.testing.assert_allclose(answers['scored'], scored, rtol=1e-4)


def test_the_readme_beside_it(exported):
  readme = (exported / 'README.md').read_text()
  for what in ('serving_default', 'saved_model_cli show', 'tensorflow/serving', 'curl', '/v1/models/small:predict'):
    assert what in readme


def test_every_file_of_the_savedmodel_has_its_checksum(exported):
  contents = {path: path.read_bytes() for path in (exported / '1').rglob('*') if path.is_file()}
  table = json.loads(contents.pop(exported / '1' / 'checksums.json'))
  assert table['files'] == {
    str(path.relative_to(exported / '1')): {'size': len(data), 'crc32': zlib.crc32(data)}
    for path, data in contents.items()
  }
  assert {'saved_model.pb', 'variables/variables.index'} <= table['files'].keys()


def test_signatures(exported):
  """What clients rely on: names, dtypes and shapes."""
  signatures = tf.saved_model.load(str(exported / '1')).signatures
  describe = lambda specs: {name: (spec.dtype, spec.shape.as_list()) for name, spec in specs.items()}
  strings, floats = (tf.string, [None]), (tf.float32, [None])
  assert set(signatures) == {'serving_default', 'score'}
  answer, score = signatures['serving_default'], signatures['score']
  assert describe(answer.structured_input_signature[1]) == {'inputs': strings}
  assert describe(answer.structured_outputs) == {'outputs': strings, 'scores': floats}
  assert describe(score.structured_input_signature[1]) == {'inputs': strings, 'targets': strings}
  assert describe(score.structured_outputs) == {'scores': floats}


def test_a_target_for_two_inputs_is_refused_by_the_export_and_by_what_serves_it(exported):
  loaded = saved_model.load(saved_model.find(str(exported)))
  with pytest.raises(rest_json.RequestError, match='Not as many targets as inputs') as error:
    loaded.run('score', {'inputs': [b'a', b'b'], 'targets': [b'c']})
  assert error.value.status == 400


@pytest.mark.parametrize(
  ('settings', 'method'),
  [
    ({}, 'taking the most likely token each time'),
    ({'beam': generation.Beam(3, 0.8)}, 'beam search with 3 beams and length penalty 0.8'),
    ({'sampling': generation.Sampling(0.7, 0, 0.9)}, 'sampling at temperature 0.7, top-k off, top-p 0.9'),
    ({'sampling': generation.Sampling(0.7, 40)}, 'sampling at temperature 0.7, top-k 40, top-p 1.0'),
    ({'sampling': generation.Sampling(top_k=40)}, 'taking the most likely token each time'),
    (
      {'beam': generation.TransformersBeam(3, early_stopping=True)},
      'beam search with 3 beams, length penalty 1.0 and early_stopping True, by the rule of transformers',
    ),
    (
      {'processors': generation.LogitsProcessors(1.5, 3, 4, 9)},
      'taking the most likely token each time, repetition penalty 1.5, no sequence of 3 tokens twice, '
      'at least 4 tokens before the end, 9 as the first token',
    ),
  ],
)
def test_the_readme_says_how_the_export_answers(settings, method):
  config = switch_zoo.load_config('tiny_dense')
  settings = export.ExportSettings(max_new_tokens=7, max_input_tokens=9, **settings)
  readme = export_readme.text('mine', config, settings, 'bfloat16')
  assert (
    f'`tiny_dense`, 230,400 parameters, bfloat16, exported by `switch_zoo export`. It answers by {method};' in readme
  )
  assert 'at most 7 tokens' in readme and 'more than 9 is truncated' in readme
  assert '{' not in readme.replace('{"instances": ["a question"]}', ''), 'a field that was not filled in'


def test_the_readme_says_what_several_answers_are():
  config, beam, sampling = switch_zoo.load_config('tiny_dense'), generation.Beam(4), generation.Sampling(1.0)
  readme = lambda **settings: export_readme.text('mine', config, export.ExportSettings(**settings), 'float32')
  beams = readme(beam=beam, num_return_sequences=3)
  assert '`outputs`: string [batch, 3]; `scores`, `beam_scores`: float32 [batch, 3] |' in beams
  assert 'Each input gets 3 answers, best first' in beams
  samples = readme(sampling=sampling, num_return_sequences=2)
  assert '`outputs`: string [batch, 2]; `scores`: float32 [batch, 2] |' in samples and 'gets 2 samples.' in samples
  assert '`outputs`: string [batch]; `scores`: float32 [batch] |' in readme(beam=beam)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'dtype': 'float16'}, '--dtype=float16: use one of auto, float32, bfloat16'),
    ({'max_new_tokens': 0}, '--max-new-tokens=0 must be at least 1'),
    ({'max_input_tokens': -1}, '--max-input-tokens=-1 must be at least 1'),
    ({'beam': generation.Beam(), 'sampling': generation.Sampling(1.0)}, 'does not draw tokens'),
    ({'beam': generation.Beam(-1)}, 'beam size -1'),
    ({'sampling': generation.Sampling(1.0, top_p=1.5)}, 'top_p=1.5'),
    ({'num_return_sequences': 2}, 'there is only one answer'),
    (
      {'processors': generation.LogitsProcessors(min_new_tokens=65)},
      'min_new_tokens=65 is more than max_new_tokens=64',
    ),
  ],
)
def test_settings_that_make_no_sense(settings, message):
  with pytest.raises(UserError, match=message):
    export.open_model('/no/such', None, None, export.ExportSettings(**settings))


@pytest.mark.parametrize('stored', ['float32', 'bfloat16'])
def test_the_machine_and_the_setting_decide_and_not_the_dtype_in_which_weights_are_stored(
  stored, source, vocabulary, tmp_path, monkeypatch
):
  conversion.convert(conversion.Request(source, str(tmp_path / 'stored'), 'keras', dtype=stored))
  monkeypatch.setattr(machine, 'fast_format', lambda: number_format.of_processor([]))
  settings = export.ExportSettings(max_new_tokens=1)
  for dtype, expected in (('auto', tf.float32), ('bfloat16', tf.bfloat16), ('float32', tf.float32)):
    opened = export.open_model(str(tmp_path / 'stored'), None, str(vocabulary), settings._replace(dtype=dtype))
    assert opened.model.dtype == expected


def test_a_seed_gives_the_same_answers_every_time(source):
  settings = export.ExportSettings(max_new_tokens=8, sampling=generation.Sampling(1.0), seed=3)
  texts = tf.constant(['a'] * 8)
  answers = []
  for seed in (3, 3, 4):
    model = export.open_model(source, None, None, settings._replace(seed=seed))
    answers.append(tuple(tf.function(model.answer)(texts)['scores'].numpy()))
  assert answers[0] == answers[1] != answers[2]
  assert len(set(answers[0])) > 1, 'each text of a batch has its own draw'


def test_an_export_of_several_answers(beams, tmp_path):
  """Its signature, its answers, and what the server makes of them."""
  export.export(beams, str(tmp_path / 'beams'))
  loaded = saved_model.load(saved_model.find(str(tmp_path / 'beams')))
  signature = tf.saved_model.load(str(tmp_path / 'beams' / '1')).signatures['serving_default']
  shapes = {name: (spec.dtype, spec.shape.as_list()) for name, spec in signature.structured_outputs.items()}
  floats = (tf.float32, [None, 2])
  assert shapes == {'outputs': (tf.string, [None, 2]), 'scores': floats, 'beam_scores': floats}
  assert signature(inputs=tf.constant([], tf.string))['outputs'].shape == [0, 2]
  request = rest_json.parse(json.dumps({'instances': TEXTS}).encode(), loaded.signatures)
  served = json.loads(rest_json.render(request, loaded.run(request.signature, request.columns)))['predictions']
  expected = beams.answer(tf.constant(TEXTS))
  assert [row['outputs'] for row in served] == [[o.decode() for o in row] for row in expected['outputs'].numpy()]
  for name in ('scores', 'beam_scores'):
    np.testing.assert_allclose([row[name] for row in served], expected[name], rtol=1e-4)
  scored = beams.score(tf.constant(TEXTS), expected['outputs'][:, 0])['scores']
  assert scored.shape == [len(TEXTS)]


def test_an_export_may_go_to_an_empty_folder_or_to_one_below_new_ones(opened, tmp_path, monkeypatch):
  (tmp_path / 'empty').mkdir()
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(tf.saved_model, 'save', lambda model, path, signatures: os.makedirs(path))
  for folder in ('empty', 'new/below/it', f'{tmp_path}/slash/'):
    export.export(opened, folder)
    name = os.path.basename(folder.rstrip('/'))
    assert (tmp_path / folder / 'README.md').read_text().startswith(f'# {name}\n')
    assert sorted(os.listdir(tmp_path / folder)) == ['1', 'README.md']
  assert sorted(os.listdir(tmp_path)) == ['empty', 'new', 'slash']


def test_a_file_is_not_overwritten(opened, tmp_path):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match='file already exists'):
    export.export(opened, str(tmp_path / 'file'))
  assert (tmp_path / 'file').read_text() == 'mine'


def test_weights_are_stored_once(exported, opened):
  size = sum(file.stat().st_size for file in (exported / '1' / 'variables').iterdir())
  assert size < 1.2 * 4 * opened.model.config.num_parameters


def test_bfloat16_is_half_as_large(source, exported, tmp_path):
  half = export.open_model(source, None, None, export.ExportSettings('bfloat16', max_new_tokens=2))
  assert {v.dtype for v in half.model.variables} == {tf.bfloat16, tf.float32}  # routers stay in float32
  assert half.answer(tf.constant(['a']))['outputs'].shape == [1]


def test_nothing_is_overwritten(opened, exported):
  before = sorted(exported.rglob('*'))
  with pytest.raises(UserError, match='already exists. Give a folder that is new or empty'):
    export.export(opened, str(exported))
  assert sorted(exported.rglob('*')) == before


def test_a_folder_that_cannot_be_made(opened, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written: (Not a directory|File exists)'):
    export.export(opened, str(tmp_path / 'file' / 'new'))


FULL = {
  'python': OSError(28, 'No space left on device'),
  'tensorflow': tf.errors.ResourceExhaustedError(None, None, 'new/1/variables; No space left on device'),
}


@pytest.mark.parametrize('kind', FULL)
def test_an_export_that_fails_leaves_nothing(opened, tmp_path, monkeypatch, kind):
  """Nor does one before it that was killed."""

  def full(*_):
    raise FULL[kind]

  (tmp_path / '.export-new' / '1').mkdir(parents=True)
  monkeypatch.setattr(tf.saved_model, 'save', full)
  with pytest.raises(UserError, match='No space is left for .*new. Nothing was written'):
    export.export(opened, str(tmp_path / 'new'))
  assert list(tmp_path.iterdir()) == []


def test_pieces_have_the_ids_of_seqio(vocabulary):
  ours, theirs = text.Pieces(str(vocabulary)), seqio.SentencePieceVocabulary(str(vocabulary), extra_ids=100)
  for line in ('Sets a breakpoint at the given line.', 'a <extra_id_0> b <extra_id_99>', '  two  spaces ', ''):
    assert ours.encode([line]).to_list()[0] == theirs.encode(line)
  assert ours.size == theirs.vocab_size


@pytest.mark.parametrize(
  ('ids', 'end'), [([9, 12, 30, 1, 0], 3), ([1, 0, 0, 0, 0], 0), ([7, 8, 9, 10, 11], 5), ([7, 0, 0, 0, 0], 1)]
)
def test_decoding_stops_at_the_end(vocabulary, ids, end):
  theirs = seqio.SentencePieceVocabulary(str(vocabulary), extra_ids=100)
  assert text.Pieces(str(vocabulary)).decode(tf.constant([ids])).numpy()[0].decode() == theirs.decode(ids[:end])


@pytest.mark.parametrize('line', ['', 'abc', 'naïve 😀'])
def test_bytes_have_the_ids_of_seqio(line):
  theirs = seqio.ByteVocabulary(extra_ids=100)
  assert text.Bytes().encode([line]).to_list()[0] == theirs.encode(line)
  ids = tf.constant([[*theirs.encode(line), 1, 0, 0]])
  assert text.Bytes().decode(ids).numpy()[0].decode() == line
  assert text.Bytes.size == theirs.vocab_size


def test_a_long_input_is_cut_before_its_end(source):
  short = export.open_model(source, None, None, export.ExportSettings('float32', max_input_tokens=4))
  ids = short._ids(tf.constant(['a b c d e f g', 'a'])).numpy()
  assert ids.shape == (2, 4)
  assert ids[0, 3] == 1
  assert 1 in ids[1]


def test_a_vocabulary_larger_than_the_model():
  config = switch_zoo.load_config('tiny_dense', ['vocab_size = 128'])
  message = 'The vocabulary bytes has 359 entries, 384 when padded .* has vocab_size = 128. Give the one .*--vocab FILE'
  with pytest.raises(UserError, match=message):
    export.check_vocabulary(text.Bytes(), config)
  # The rows that pad the table are not ids.
  config = switch_zoo.load_config('tiny_dense', ['vocab_size = 300'])
  with pytest.raises(UserError, match='The vocabulary bytes has 359 entries, .*; the model has vocab_size = 300'):
    export.check_vocabulary(text.Bytes(), config)


def test_a_smaller_vocabulary_is_refused_as_in_training():
  """It is another model's: what its ids mean is not what the model learned."""
  config = switch_zoo.load_config('tiny_dense', ['vocab_size = 512'])
  with pytest.raises(UserError, match='has 359 entries, 384 when padded .* has vocab_size = 512'):
    export.check_vocabulary(text.Bytes(), config)
  export.check_vocabulary(text.Bytes(), switch_zoo.load_config('tiny_dense', ['vocab_size = 384']))


def test_sampling_of_an_export_without_a_seed_differs(source):
  sampling = generation.Sampling(1.0)
  free = export.open_model(source, None, None, export.ExportSettings('float32', max_new_tokens=8, sampling=sampling))
  ask = tf.function(free.answer, input_signature=[tf.TensorSpec([None], tf.string)])
  assert len({tuple(ask(tf.constant(['a'] * 8))['scores'].numpy()) for _ in range(3)}) == 3
