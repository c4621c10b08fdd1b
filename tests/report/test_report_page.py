"""`switch_zoo report` on a small model: figures as of NumPy on the same routing, and the page works in a browser."""

import json
import re
import shutil
import subprocess

import keras_harness
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from switch_zoo import cli
from switch_zoo.errors import UserError
from switch_zoo.keras.model import SwitchTransformer
from switch_zoo.launcher import metrics_file
from switch_zoo.report import findings, page, pieces, routed, svg, texts, training_record

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
E = 4


@pytest.fixture(scope='module')
def config():
  return keras_harness.configure('switch_base_8', ['num_encoder_layers = 4', 'num_experts = 4', 'vocab_size = 384'])


@pytest.fixture(scope='module')
def model(config):
  tf.random.set_seed(1)
  return SwitchTransformer(config)


@pytest.fixture(scope='module')
def pairs():
  encode = lambda batch: [[byte + 3 for byte in text.encode()] for text in batch]
  rows = [
    'The quick brown fox, 12 jumps.',
    '<script>alert("x")</script> & more text',
    'größe 99%',
    'aaaa bbbb cccc dddd',
  ]
  ids = encode(rows)
  return [
    texts.TextPair(number % 2, [*row[: len(row) // 2], 1], [*row[len(row) // 2 :], 1]) for number, row in enumerate(ids)
  ]


def test_choices_are_the_largest_products_with_the_router(model, pairs):
  """A loop over the tokens of one layer, from the layer's input."""
  inputs = {}
  layers = dict(routed.sparse_layers(model))
  scope, layer = next(iter(layers.items()))
  call = layer.call
  layer.call = lambda x, real, training=False: inputs.setdefault(scope, x.numpy()) is None or call(x, real, training)
  try:
    tokens = routed.route(model, pairs, batch_size=99)
  finally:
    layer.call = call
  kernel = layer.switch_gating.kernel.numpy()
  expected = []
  for row, pair in zip(inputs[scope], pairs, strict=True):
    expected += [int(np.argmax(vector @ kernel)) for vector in row[: len(pair.inputs)]]
  assert tokens['encoder'].layers[scope].experts[:, 0].tolist() == expected
  assert tokens['encoder'].ids.tolist() == [token for pair in pairs for token in pair.inputs]
  assert list(tokens['encoder'].layers) == [name for name in layers if name.startswith('encoder')]


def test_the_batch_size_changes_nothing(model, pairs):
  one, all_together = (routed.route(model, pairs, batch_size=size) for size in (1, 4))
  for stack in routed.STACKS:
    assert one[stack].sequence.tolist() == all_together[stack].sequence.tolist()
    for scope, layer in one[stack].layers.items():
      assert layer.experts.tolist() == all_together[stack].layers[scope].experts.tolist()


def test_bytes_have_texts_and_kinds():
  names = pieces.Pieces('bytes')
  assert [names.text(ord(c) + 3) for c in 'a ,'] + [names.text(1)] == ['a', '▁', ',', '</s>']
  assert [names.kind(token) for token in (0, 1, 300, ord('7') + 3)] == ['special', 'special', 'sentinel', 'number']


def recorded(folder):
  for step in range(1, 9):
    load = [0.7, 0.2, 0.1 - 0.01 * step, 0.01 * step]
    values = {'loss': 3.0 / step, 'learning_rate': 0.1, 'encoder/block_000/layer_003/MoE1D/load': load}
    metrics_file.append(str(folder), step, {**values, 'encoder/block_000/layer_003/MoE1D/dropped': 0.25})
  metrics_file.append(str(folder), 8, {'validation': {'cb/accuracy': 50.0}, 'score': 50.0, 'seconds': 1.0})


def test_a_record_has_scalars_layers_and_validations(tmp_path):
  recorded(tmp_path)
  record = training_record.read(str(tmp_path))
  assert record.scalars['loss'].values[:2] == [3.0, 1.5] and set(record.scalars) == {'loss', 'learning_rate'}
  assert record.validations['cb/accuracy'].steps == [8]
  load = record.layers['encoder/block_000/layer_003/MoE1D']['load']
  assert training_record.settled_load(load) == pytest.approx([0.7, 0.2, 0.035, 0.065])


@pytest.fixture(scope='module')
def written(config, model, pairs, tmp_path_factory):
  """The page of a report, and its findings."""
  folder = tmp_path_factory.mktemp('report')
  recorded(folder)
  names, tokens = pieces.Pieces('bytes'), routed.route(model, pairs)
  stacks = {s: findings._of_stack(tokens[s], names, ['a.txt', 'b.txt'], config) for s in routed.STACKS}
  document = {'texts': len(pairs), 'domains': ['a.txt', 'b.txt'], 'stacks': stacks, 'checkpoints': []}
  training = findings.of_training(training_record.read(str(folder)), config)
  path = folder / 'index.html'
  path.write_text(page.html_page('small: report', config, training, document), encoding='utf-8')
  return path, document, tokens


def test_the_load_on_the_page_is_that_of_the_routing(written):
  path, document, tokens = written
  scope = next(iter(tokens['encoder'].layers))
  expert = tokens['encoder'].layers[scope].experts[:, 0][tokens['encoder'].ids > 2]
  shares = [float(np.mean(expert == number)) for number in range(E)]
  assert document['stacks']['encoder']['layers'][scope]['load'] == pytest.approx(shares)
  shown = re.findall(r'layer encoder 0\.3  H [\d.]+, expert (\d): ([\d.]+)', path.read_text(encoding='utf-8'))
  assert [float(share) for _, share in shown] == pytest.approx(shares, abs=1e-4)


def test_the_page_is_whole_and_text_in_it_is_text(written):
  text = written[0].read_text(encoding='utf-8')
  assert '<script>alert' not in text and '&lt;script&gt;' in text.replace('</span><span>', '')
  assert not re.search(r'(src|href)="(?!#|data:)', text) and len(text) < 10_000_000


def browse(path, *flags, script=''):
  """What a browser makes of the page, after a script ran in it; and what it writes on its console."""
  copy = path.with_name('copy.html')
  copy.write_text(path.read_text(encoding='utf-8') + f'<script>{script}</script>', encoding='utf-8')
  command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', *flags, '--dump-dom']
  done = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, timeout=120)
  return done.stdout, [line for line in done.stderr.splitlines() if 'CONSOLE' in line]


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason='needs chromium')
@pytest.mark.parametrize('width', [1280, 500])
def test_a_browser_shows_it_without_errors_and_hovering_works(written, width):
  path, _, tokens = written
  script = """
    const span = document.querySelector('.text span');
    span.dispatchEvent(new MouseEvent('mouseenter'));
    document.title = JSON.stringify({
      hover: document.querySelector('.hover').textContent, colour: span.style.background,
      wide: document.documentElement.scrollWidth > window.innerWidth, charts: document.querySelectorAll('svg').length});
  """
  text, console = browse(path, f'--window-size={width},900', script=script)
  assert console == []
  seen = json.loads(re.search(r'<title>(.*?)</title>', text)[1].replace('&amp;', '&'))
  experts = [layer.experts[0, 0] for layer in tokens['encoder'].layers.values()]
  assert seen['hover'].startswith('T ') and [int(e) for e in re.findall(r': (\d) \(', seen['hover'])] == experts
  assert seen['colour'].startswith('rgba(') and not seen['wide'] and seen['charts'] >= 8


def test_a_line_that_is_not_a_number_leaves_a_gap():
  assert svg.lines({'a': ([1, 2], [None, None])}, 'step') == ''
  assert 'nan' not in svg.lines({'a': ([1, 2, 3], [1.0, float('nan'), 2.0])}, 'step')


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['missing'], 'missing is not a folder'),
    (['.', '--compare', '.'], 'give --data too'),
    (['.', '--out', 'full'], '--out=full has other files, such as a.txt'),
  ],
)
def test_a_mistake_is_one_paragraph(arguments, words, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'a.txt').write_text('a')
  result = CliRunner().invoke(cli.app, ['report', *arguments])
  assert isinstance(result.exception, UserError) and words in str(result.exception)


@pytest.mark.parametrize(
  ('name', 'content', 'words'),
  [
    ('a.txt', b'', 'a.txt has no text'),
    ('a.txt', b'a\n\xff\n', 'a.txt, line 2 is not UTF-8'),
    ('a.jsonl', b'{"question": "a"}\n', 'neither a field "inputs" nor "text"; its fields are question'),
    ('a.jsonl', b'{"text": "a"}\n{\n', 'a.jsonl, line 2'),
  ],
)
def test_bad_texts_are_named(name, content, words, tmp_path):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(UserError, match=re.escape(words)):
    texts.read([texts.TextFile(str(path))], lambda batch: [[5] for _ in batch], 10, 8)


def test_tasks_are_domains_and_a_mistyped_one_is_named():
  from switch_zoo.report import task_texts

  (source,) = task_texts.of_names(['zoo_superglue_cb'])
  assert source.name == 'zoo_superglue_cb'
  assert len(task_texts.of_names(['zoo_superglue'])) == 8
  with pytest.raises(UserError, match=r'no task of this name\. Did you mean zoo_superglue_cb'):
    task_texts.of_names(['zoo_superglue_bc'])


def test_pairs_and_halves(tmp_path):
  rows, lines = tmp_path / 'a.jsonl', tmp_path / 'b.txt'
  rows.write_text('{"inputs": "ab", "targets": "c"}\n' * 5)
  lines.write_text('abcde\n\nxy\n')
  encode = lambda batch: [[ord(c) for c in text] for text in batch]
  read = texts.read([texts.TextFile(str(rows)), texts.TextFile(str(lines))], encode, 4, 3)
  assert [pair.domain for pair in read] == [0, 0, 1, 1]
  assert read[0] == (0, [97, 98, 1], [99, 1]) and read[2] == (1, [97, 98, 1], [100, 101, 1])
  assert texts.shifted([7, 8, 1]) == [0, 7, 8]
