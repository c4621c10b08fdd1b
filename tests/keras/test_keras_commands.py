"""`switch_zoo generate` and `score` as a user meets them, and the mistakes of these and of `export`."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from switch_zoo import cli, machine, number_format
from switch_zoo.keras import export


def run(capsys, monkeypatch, *arguments):
  monkeypatch.setattr(sys, 'argv', ['switch_zoo', *map(str, arguments)])
  code = cli.run()
  captured = capsys.readouterr()
  return code, captured.out, captured.err


def test_generate_reads_a_file_and_answers_line_by_line(source, tmp_path, capsys, monkeypatch, opened):
  (tmp_path / 'in.txt').write_text('one\n\nthree\r\n', encoding='utf-8')
  code, out, _ = run(
    capsys,
    monkeypatch,
    'generate',
    source,
    '--file',
    tmp_path / 'in.txt',
    '--max-new-tokens',
    5,
    '--batch-size',
    2,
    '--dtype',
    'float32',
  )
  expected = [o.decode() for o in opened.answer(tf.constant(['one', '', 'three']))['outputs'].numpy()]
  assert (code, out.split('\n')) == (0, [*expected, ''])


def test_score_gives_a_line_for_each_pair(source, tmp_path, capsys, monkeypatch, opened):
  (tmp_path / 'pairs.tsv').write_text('one\tdebugger\ntwo\tstrings\n')
  code, out, _ = run(
    capsys, monkeypatch, 'score', source, '--file', tmp_path / 'pairs.tsv', '--json', '--dtype', 'float32'
  )
  rows = json.loads(out)
  expected = opened.score(tf.constant(['one', 'two']), tf.constant(['debugger', 'strings']))['scores']
  assert code == 0
  np.testing.assert_allclose([row['score'] for row in rows], expected, rtol=1e-4)
  assert rows[0]['input'] == 'one' and rows[1]['target'] == 'strings'


def test_several_answers_are_lines_and_json(source, beams, capsys, monkeypatch):
  expected = beams.answer(tf.constant(['one', 'two']))
  outputs = [[o.decode() for o in row] for row in expected['outputs'].numpy()]
  options = ['--beam-size', 3, '--beam-rule', 'transformers', '--num-return-sequences', 2, '--max-new-tokens', 5]
  words = ['generate', source, '--text', 'one', '--text', 'two', '--dtype', 'float32', *options]
  code, out, _ = run(capsys, monkeypatch, *words)
  lines = [line.split('\t') for line in out.splitlines()]
  assert code == 0 and [text for _, text in lines] == [output for row in outputs for output in row]
  np.testing.assert_allclose([float(score) for score, _ in lines], np.ravel(expected['scores']), atol=1e-3)
  rows = json.loads(run(capsys, monkeypatch, *words, '--json')[1])
  assert [row['input'] for row in rows] == ['one', 'two']
  assert [[answer['output'] for answer in row['answers']] for row in rows] == outputs
  for name in ('score', 'beam_score'):
    found = [[answer[name] for answer in row['answers']] for row in rows]
    np.testing.assert_allclose(found, expected[name + 's'], rtol=1e-4)
  assert list(map(json.loads, run(capsys, monkeypatch, *words, '--jsonl')[1].splitlines())) == rows


@pytest.mark.parametrize(
  ('fast', 'dtype'), [(['avx512_bf16'], 'bfloat16'), (['avx512f'], 'float32')], ids=['with_instructions', 'without']
)
def test_by_default_it_computes_in_what_the_machine_is_fast_in_and_says_so(fast, dtype, source, capsys, monkeypatch):
  monkeypatch.setattr(machine, 'fast_format', lambda: number_format.of_processor(fast))
  opened = export.open_model(source, None, None, export.ExportSettings(max_new_tokens=2))
  assert opened.model.dtype.name == dtype
  code, out, err = run(capsys, monkeypatch, 'score', source, '--text', 'a', '--target', 'b', '--json')
  assert code == 0 and len(json.loads(out)) == 1
  assert err.startswith(f'Computing in {dtype}: this processor has ') and err.count('\n') == 1


def test_a_format_that_is_slow_here_is_used_all_the_same_and_said(source, capsys, monkeypatch):
  monkeypatch.setattr(machine, 'fast_format', lambda: number_format.of_processor([]))
  words = ['score', source, '--text', 'a', '--target', 'b', '--dtype']
  assert 'float32 would be about twice as fast here' in run(capsys, monkeypatch, *words, 'bfloat16')[2]
  assert run(capsys, monkeypatch, *words, 'float32')[2] == ''


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['generate', 'SRC'], 'Give the texts with --text'),
    (['generate', 'SRC', '--file', '/no/such'], 'cannot be read'),
    (['generate', 'SRC', '--text', 'a', '--top-k', '3'], 'give --temperature too'),
    (['generate', 'SRC', '--text', 'a', '--vocab', '/no/such'], 'no vocabulary "/no/such"'),
    (['generate', 'SRC', '--text', 'a', '--max-new-tokens', '0'], '--max-new-tokens=0'),
    (['generate', '/no/such', '--text', 'a'], 'no folder "/no/such"'),
    (['score', 'SRC', '--text', 'a'], '1 --text and 0 --target'),
    (['export', 'SRC', 'NEW', '--dtype', 'float16'], 'use one of auto, float32, bfloat16'),
    (['export', 'SRC', 'NEW', '--beam-size', '2', '--temperature', '1'], 'does not draw tokens'),
    (['export', 'SRC', 'NEW', '--beam-size', '0'], 'beam size 0'),
    (['export', 'SRC', 'NEW', '--beam-size', '2', '--num-return-sequences', '3'], 'more than the beam size 2'),
    (['export', 'SRC', 'NEW', '--forced-bos-token-id', '512'], 'its ids are 0 to 511'),
    (['export', 'SRC', 'NEW', '--no-repeat-ngram-size', '-1'], 'no_repeat_ngram_size=-1'),
    (['generate', 'SRC', '--text', 'a', '--num-return-sequences', '2'], 'there is only one answer'),
    (['generate', 'SRC', '--text', 'a', '--repetition-penalty', '0'], 'repetition_penalty=0.0 must be above 0'),
    (['generate', 'SRC', '--text', 'a', '--min-new-tokens', '65'], 'more than max_new_tokens=64'),
    (['generate', 'SRC', '--text', 'a', '--beam-rule', 'hf'], '--beam-rule=hf: use one of t5, transformers'),
    (['generate', 'SRC', '--text', 'a', '--beam-rule', 'transformers'], 'give --beam-size too'),
    (['generate', 'SRC', '--text', 'a', '--early-stopping', 'yes'], 'use one of false, true, never'),
    (['generate', 'SRC', '--text', 'a', '--early-stopping', 'true'], 'give --beam-rule transformers too'),
    (['generate', 'SRC', '--text', 'a', '--json', '--jsonl'], 'either --json, one list, or --jsonl'),
  ],
)
def test_a_mistake_is_one_paragraph(arguments, message, source, tmp_path, capsys, monkeypatch):
  new = tmp_path / 'new'
  words = [{'SRC': source, 'NEW': str(new)}.get(word, word) for word in arguments]
  code, out, err = run(capsys, monkeypatch, *words)
  assert (code, out) == (2, '')
  assert message in err and err.count('\n') == 1
  assert not new.exists()
