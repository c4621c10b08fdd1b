"""`export --to onnx`, and what `generate`, `score` and `serve` make of it, in processes without TensorFlow."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import onnx_harness as harness
import pytest
import tensorflow as tf

import switch_zoo
from switch_zoo import cli
from switch_zoo.errors import UserError
from switch_zoo.keras import SwitchTransformer, export
from switch_zoo.onnx_runner.text_model import OnnxTextModel
from switch_zoo.tasks import pydoc_topics, vocabularies

SMALL = ['d_model = 16', 'd_ff = 32', 'd_kv = 4', 'num_heads = 3', 'num_encoder_layers = 2', 'num_decoder_layers = 2']
TEXTS = ['Sets a breakpoint.', '', 'naïve 😀 <extra_id_3>', 'x' * 10_000]
COMMAND = 'from switch_zoo import cli; cli.main()'
# Runs a command where TensorFlow cannot be imported, nor what is needed to export.
WITHOUT_TENSORFLOW = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in ('tensorflow', 'tensorflow_text', 'tf_keras', 'onnx', 'torch'):
      raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Blocker())
from switch_zoo import cli
cli.main()
"""


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """A small model with its vocabulary next to it."""
  folder = tmp_path_factory.mktemp('source')
  vocabularies.train(list(pydoc_topics.documents())[:200], folder / 'vocabulary.model', num_pieces=412)
  tf.keras.utils.set_random_seed(0)
  model = SwitchTransformer(switch_zoo.load_config('tiny_switch_8', [*SMALL, 'vocab_size = 512']))
  for name, weight in model.named_weights.items():  # answers are not one token again and again
    weight.assign(weight if name.endswith('scale') else weight * 2)
  model.save_weights(folder / 'model.weights.h5')
  (folder / 'model.gin').write_text('\n'.join(["include 'models/tiny_switch_8.gin'", *SMALL, 'vocab_size = 512', '']))
  return str(folder)


@pytest.fixture(scope='module')
def exported(source, tmp_path_factory):
  """What the command wrote."""
  folder = str(tmp_path_factory.mktemp('exports') / 'small')
  done = subprocess.run(
    [sys.executable, '-c', COMMAND, 'export', source, folder, '--to', 'onnx', '--max-new-tokens', '5'],
    capture_output=True, text=True, check=False)  # fmt: skip
  assert done.returncode == 0, done.stderr
  return folder


@pytest.fixture(scope='module')
def opened(source):
  return export.open_model(source, None, None, export.ExportSettings('float32', max_new_tokens=5))


def run(capsys, monkeypatch, *words):
  """A command in this process: exit code, stdout, stderr."""
  monkeypatch.setattr(sys, 'argv', ['switch_zoo', *map(str, words)])
  code = cli.run()
  captured = capsys.readouterr()
  return code, captured.out, ' '.join(captured.err.split())


def without_tensorflow(*words):
  """A command in a process that cannot import it: stdout."""
  done = subprocess.run([sys.executable, '-c', WITHOUT_TENSORFLOW, *words], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_generate_and_score_say_what_keras_says_without_tensorflow(exported, opened):
  options = [word for text in TEXTS for word in ('--text', text)]
  rows = json.loads(without_tensorflow('generate', exported, *options, '--json'))
  expected = opened.answer(tf.constant(TEXTS))
  assert [row['output'] for row in rows] == [output.decode() for output in expected['outputs'].numpy()]
  np.testing.assert_allclose([row['score'] for row in rows], expected['scores'], rtol=1e-4)
  targets = [word for text in TEXTS for word in ('--target', text)]
  rows = json.loads(without_tensorflow('score', exported, *options, *targets, '--json', '--threads', '1'))
  expected = opened.score(tf.constant(TEXTS), tf.constant(TEXTS))['scores']
  np.testing.assert_allclose([row['score'] for row in rows], expected, rtol=1e-4)


@pytest.mark.parametrize(
  ('options', 'settings'),
  [
    (['--beam-size', '3'], {'beam': harness.generation.Beam(3)}),
    (
      ['--beam-size', '3', '--beam-rule', 'transformers', '--num-return-sequences', '2', '--repetition-penalty', '1.4'],
      {
        'beam': harness.generation.TransformersBeam(3),
        'num_return_sequences': 2,
        'processors': harness.generation.LogitsProcessors(1.4),
      },
    ),
    (
      ['--no-repeat-ngram-size', '1', '--min-new-tokens', '4', '--forced-bos-token-id', '9'],
      {'processors': harness.generation.LogitsProcessors(1.0, 1, 4, 9)},
    ),
  ],
)
def test_options_mean_what_they_mean_for_weights(options, settings, exported, source, capsys, monkeypatch):
  model = export.open_model(source, None, None, export.ExportSettings('float32', max_new_tokens=5, **settings))
  expected = model.answer(tf.constant(TEXTS))
  words = [word for text in TEXTS for word in ('--text', text)]
  code, out, err = run(capsys, monkeypatch, 'generate', exported, *words, *options, '--json')
  assert code == 0, err
  answers = [answer for row in json.loads(out) for answer in row.get('answers', [row])]
  assert [answer['output'] for answer in answers] == [o.decode() for o in np.ravel(expected['outputs'])]
  np.testing.assert_allclose([answer['score'] for answer in answers], np.ravel(expected['scores']), rtol=1e-3)


def test_an_export_answers_as_it_was_exported_and_a_seed_repeats(source, exported, tmp_path):
  from switch_zoo.onnx_export import folder

  settings = export.ExportSettings('auto', 8, sampling=harness.generation.Sampling(1.0, 50, 0.9), seed=3)
  folder.write(folder.open_source(source, None, None, settings), str(tmp_path / 'sampling'))
  texts = [b'a'] * 8
  answers = []
  for seed in (3, 3, 4):
    model = OnnxTextModel(str(tmp_path / 'sampling' / '1'))
    assert model.settings.sampling == (1.0, 50, 0.9) and model.settings.seed == 3
    model.settings = model.settings._replace(seed=seed)
    answers.append(model.answer(texts)['scores'].tolist())
  assert answers[0] == answers[1] != answers[2]
  assert len(set(answers[0])) > 1, 'each text of a batch has its own draw'


def test_empty_batches_and_bytes_that_are_not_utf8(exported):
  model = OnnxTextModel(f'{exported}/1')
  assert model.answer([]) == {'outputs': [], 'scores': pytest.approx(np.zeros([0]))}
  assert model.score([], [])['scores'].shape == (0,)
  assert len(model.answer([b'\xff\xfe broken'])['outputs']) == 1
  with pytest.raises(UserError, match='2 inputs and 1 targets: give one target for each input'):
    model.score([b'a', b'b'], [b'c'])


def test_an_answer_does_not_depend_on_its_batch(exported):
  model, texts = OnnxTextModel(f'{exported}/1'), [text.encode() for text in TEXTS]
  together = model.answer(texts)
  alone = [model.answer([text]) for text in texts]
  assert together['outputs'] == [answer['outputs'][0] for answer in alone]
  np.testing.assert_allclose(together['scores'], [answer['scores'][0] for answer in alone], rtol=1e-4)


def test_the_program_of_the_readme_needs_none_of_our_packages(exported, opened):
  readme = pathlib.Path(exported, 'README.md').read_text()
  (program,) = re.findall(r'```python\n(.*?)```', readme, re.DOTALL)
  program += '\nimport sys; print([n for n in ("switch_zoo", "tensorflow", "onnx", "torch") if n in sys.modules])\n'
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False, cwd=exported)
  assert done.returncode == 0, done.stderr
  (expected,) = opened.answer(tf.constant(['a question']))['outputs'].numpy()
  assert done.stdout.splitlines() == [expected.decode(), '[]']
  assert 'taking the most likely token each time' in readme and 'at most 5 tokens' in readme


def test_int8_is_compared_on_a_sample(source, tmp_path, capsys, monkeypatch):
  texts = ['one text', 'another text', 'naïve 😀', '', 'x' * 500, *(f'text {number}' for number in range(14))]
  (tmp_path / 'sample.txt').write_text('\n'.join(texts) + '\n')
  words = ['export', source, tmp_path / 'int8', '--to', 'onnx', '--dtype', 'int8', '--max-new-tokens', 6]
  code, out, err = run(capsys, monkeypatch, *words, '--sample', tmp_path / 'sample.txt')
  assert code == 0, err
  assert 'Against float32, on a sample of 19 texts: ' in out
  assert 'are the target' not in out
  assert out.splitlines()[0] in (tmp_path / 'int8' / 'README.md').read_text()
  assert sorted(os.listdir(tmp_path / 'int8')) == ['1', 'README.md']


def test_a_sample_with_targets_gives_the_share_of_answers_that_are_right(
  source, exported, tmp_path, capsys, monkeypatch
):
  answers = OnnxTextModel(f'{exported}/1').answer([b'one', b'two', b'three', b'four'])['outputs']
  targets = [*answers[:3], 'another']
  (tmp_path / 'pairs').write_text(''.join(map('{}\t{}\n'.format, ['one', 'two', 'three', 'four'], targets)))
  words = ['export', source, tmp_path / 'int8', '--to', 'onnx', '--dtype', 'int8', '--max-new-tokens', 5]
  code, out, err = run(capsys, monkeypatch, *words, '--sample', tmp_path / 'pairs')
  assert code == 0, err
  assert 'of the answers are the target; in float32, 75.00%.' in out
  (tmp_path / 'pairs').write_text('one\ttarget\nonly a text\n')
  code, _, err = run(capsys, monkeypatch, *words[:2], tmp_path / 'new', *words[3:], '--sample', tmp_path / 'pairs')
  assert code == 2 and 'line 2' in err and not (tmp_path / 'new').exists()


def test_serve_answers_without_tensorflow(exported, opened):
  command = [sys.executable, '-c', WITHOUT_TENSORFLOW, 'serve', exported, '--port', '0', '--threads', '1']
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  try:
    line = process.stdout.readline()
    assert line.startswith('Serving small, version 1'), process.stderr.read() if process.poll() else line
    url = re.search(r'http://\S+:predict', line)[0].rstrip("'")
    ask = lambda document: json.load(urllib.request.urlopen(url, json.dumps(document).encode()))
    expected = opened.answer(tf.constant(TEXTS))
    predictions = ask({'instances': TEXTS})['predictions']
    assert [row['outputs'] for row in predictions] == [output.decode() for output in expected['outputs'].numpy()]
    np.testing.assert_allclose([row['scores'] for row in predictions], expected['scores'], rtol=1e-4)
    pairs = {'signature_name': 'score', 'instances': [{'inputs': 'a', 'targets': 'b'}]}
    scored = opened.score(tf.constant(['a']), tf.constant(['b']))['scores'].numpy()
    np.testing.assert_allclose(ask(pairs)['predictions'], scored, rtol=1e-4)
    metadata = json.load(urllib.request.urlopen(url.replace(':predict', '/metadata')))['metadata']['signature_def']
    assert set(metadata['signature_def']) == {'serving_default', 'score'}
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
  finally:
    process.kill()
    process.communicate()


def damage(folder, kind):
  """Damages a copy of an export."""
  version = pathlib.Path(folder, '1')
  if kind == 'cut off':
    os.truncate(version / 'weights.bin', 1000)
  elif kind == 'missing':
    (version / 'decoder.onnx').unlink()
  elif kind == 'foreign':
    (version / 'export.json').write_text('{"format": "another"}')
    (version / 'checksums.json').unlink()
  elif kind == 'another graph':
    (version / 'checksums.json').unlink()
    (version / 'encoder.onnx').write_bytes(b'not a graph')
  elif kind == 'vocabulary':
    (version / 'checksums.json').unlink()
    (version / 'vocabulary.json').write_text('[]')


@pytest.mark.parametrize(
  ('kind', 'message'),
  [
    ('cut off', r'weights.bin has 1,000 bytes, and had [\d,]+ when it was exported'),
    ('missing', 'decoder.onnx is missing'),
    ('foreign', 'export.json is not that of an ONNX export of this version'),
    ('another graph', 'encoder.onnx cannot be loaded by onnxruntime'),
    ('vocabulary', 'vocabulary.json is not what an ONNX export has there'),
  ],
)
def test_a_damaged_export_is_refused(kind, message, exported, tmp_path, capsys, monkeypatch):
  import shutil

  shutil.copytree(exported, tmp_path / 'copy')
  damage(tmp_path / 'copy', kind)
  for words in (['generate', tmp_path / 'copy', '--text', 'a'], ['serve', tmp_path / 'copy', '--port', '0']):
    code, _, err = run(capsys, monkeypatch, *words)
    assert code == 2 and re.search(message, err), err


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['generate', 'EXPORT', '--text', 'a', '--dtype', 'float32'], '--dtype is for a folder of weights'),
    (['score', 'EXPORT', '--text', 'a', '--target', 'b', '--vocab', 'bytes'], '--vocab is for a folder of weights'),
    (['generate', 'EXPORT', '--text', 'a', '--num-return-sequences', '2'], 'there is only one answer'),
    (['generate', 'EXPORT', '--text', 'a', '--forced-bos-token-id', '512'], 'its ids are 0 to 511'),
    (['generate', 'EXPORT', '--text', 'a', '--max-new-tokens', '0'], '--max-new-tokens=0 must be at least 1'),
    (['generate', 'SOURCE', '--text', 'a', '--threads', '1'], '--threads is for an ONNX export'),
    (['export', 'SOURCE', 'NEW', '--to', 'tflite'], '--to=tflite: use one of saved_model, onnx'),
    (['export', 'SOURCE', 'NEW', '--dtype', 'int8'], '--dtype=int8 is for ONNX Runtime: give --to onnx too'),
    (['export', 'SOURCE', 'NEW', '--to', 'onnx', '--dtype', 'bfloat16'], 'has one of float32, int8'),
    (['export', 'SOURCE', 'NEW', '--to', 'onnx', '--expert-capacity', '4'], 'have room for all tokens'),
    (['export', 'SOURCE', 'NEW', '--sample', 'file'], '--sample is for a comparison of int8 with float32'),
    (['convert', 'EXPORT', 'NEW', '--to', 'hf'], 'is an export'),
  ],
)
def test_mistakes(words, message, exported, source, tmp_path, capsys, monkeypatch):
  places = {'EXPORT': exported, 'SOURCE': source, 'NEW': tmp_path / 'new'}
  code, _, err = run(capsys, monkeypatch, *(places.get(word, word) for word in words))
  assert code == 2 and message in err, err
  assert not (tmp_path / 'new').exists()


def test_a_full_disk_leaves_nothing(source, tmp_path, capsys, monkeypatch):
  from switch_zoo.onnx_export import weight_file

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(weight_file.WeightFile, 'add', full)
  code, _, err = run(capsys, monkeypatch, 'export', source, tmp_path / 'new', '--to', 'onnx')
  assert code == 2 and 'Nothing was written' in err
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  ('package', 'words', 'message'),
  [
    ('onnx', ['export', 'SOURCE', 'NEW', '--to', 'onnx'], '--to onnx needs the package onnx, which cannot be imported'),
    ('onnxruntime', ['generate', 'EXPORT', '--text', 'a'], 'An ONNX export is run by onnxruntime, which cannot be'),
  ],
)
def test_a_package_that_is_missing(package, words, message, exported, source, tmp_path):
  places = {'EXPORT': exported, 'SOURCE': source, 'NEW': str(tmp_path / 'new')}
  program = f'import sys; sys.modules[{package!r}] = None\n{COMMAND}'
  words = [places.get(word, word) for word in words]
  done = subprocess.run([sys.executable, '-c', program, *words], capture_output=True, text=True, check=False)
  assert done.returncode == 2 and message in ' '.join(done.stderr.split()), done.stderr
