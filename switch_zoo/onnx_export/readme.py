"""The README of an ONNX export."""

from collections.abc import Mapping

from switch_zoo.onnx_runner.folder import ExportFacts

_TEXT = """# {name}

`{model}`, {parameters:,} parameters, {dtype}, exported by `switch_zoo export --to onnx` for ONNX Runtime. It answers by
{method}; an answer has at most {max_new_tokens} tokens, and an input of more than {max_input_tokens} is truncated.
{loss}
With switch_zoo, without TensorFlow:

```bash
switch_zoo generate {name} --text 'a question'
switch_zoo score {name} --text 'a question' --target 'an answer'
switch_zoo serve {name} --port 8501
```

In Python, with `onnxruntime`, {packages} alone, in this folder; greedily, one text:

```python
{program}```

`encoder.onnx` takes `ids` int64 [batch, inputs], in which 0 is padding. It returns `mask`, and `cross_keys_N` and
`cross_values_N` for each layer of the decoder. `decoder.onnx` takes these, `ids` int64 [batch, tokens], the `position`
of the first, and caches `keys_N` and `values_N` float32 [batch, heads, capacity, width]. It returns `logits` [batch,
tokens, vocabulary], `log_normalizer` (a logit less this is a log-probability), and the caches with the new tokens.

Every text ends with the id 1, and the decoder reads a 0 first. The weights of both graphs are in `weights.bin`, which
is mapped into memory. `vocabulary.json` has what a sentencepiece model does not: added tokens such as `<extra_id_0>`.
"""
_PROGRAM = """import numpy as np, onnxruntime, sentencepiece
vocabulary = sentencepiece.SentencePieceProcessor(model_file='1/vocabulary.model')
encoder, decoder = (onnxruntime.InferenceSession(f'1/{part}.onnx') for part in ('encoder', 'decoder'))
run = lambda graph, feed: dict(zip([x.name for x in graph.get_outputs()], graph.run(None, feed)))
feed = run(encoder, {'ids': np.array([vocabulary.encode('a question') + [1]])})
caches = [x for x in decoder.get_inputs() if 'capacity' in x.shape]
feed |= {x.name: np.zeros([1, x.shape[1], LONGEST, x.shape[3]], np.float32) for x in caches}
answer = [0]
while len(answer) <= LONGEST and answer[-1] != END:
  new = run(decoder, feed | {'ids': np.array([answer[-1:]]), 'position': np.array(len(answer) - 1)})
  feed |= {name[4:]: value for name, value in new.items() if name.startswith('new_')}
  answer.append(int(new['logits'][0, -1].argmax()))
print(vocabulary.decode(answer[1:]))
"""


def text(name: str, facts: ExportFacts, method: str, is_bytes: bool, loss: Mapping[str, float] | None) -> str:
  """The README of an export.

  Args:
    name: of the folder
    facts: of the export
    method: how it answers, as part of a sentence
    is_bytes: whether bytes are its vocabulary
    loss: of `int8_loss.measure`; None: nothing was measured
  """
  program = _PROGRAM.replace('LONGEST', str(facts.settings.max_new_tokens)).replace('END', str(facts.end_id))
  packages = '`sentencepiece` and `numpy`'
  if is_bytes:
    packages = '`numpy`'
    program = program.replace(', sentencepiece\n', '\n').replace(
      "vocabulary = sentencepiece.SentencePieceProcessor(model_file='1/vocabulary.model')\n", ''
    )
    program = program.replace("vocabulary.encode('a question')", "[byte + 3 for byte in 'a question'.encode()]")
    program = program.replace(
      'vocabulary.decode(answer[1:])', "bytes(i - 3 for i in answer if 2 < i < 259).decode(errors='replace')"
    )
  settings = facts.settings
  return _TEXT.format(
    name=name,
    model=facts.model,
    parameters=facts.parameters,
    dtype=facts.dtype,
    method=method,
    max_new_tokens=settings.max_new_tokens,
    max_input_tokens=settings.max_input_tokens,
    loss=_loss(loss),
    packages=packages,
    program=program,
  )


def _loss(loss: Mapping[str, float] | None) -> str:
  if not loss:
    return ''
  return f'\n{sentence(loss)}\n'


def sentence(loss: Mapping[str, float]) -> str:
  """What int8 changes, in a sentence."""
  tokens, answers = f'{loss["same_tokens"]:.2%}', f'{loss["same_answers"]:.2%}'
  answer = (
    f'Against float32, on a sample of {loss["texts"]:.0f} texts: {tokens} of the tokens of the greedy float32 answers '
    f'are the most likely ones here too, {answers} of the answers are the same, and the score of a float32 answer '
    f'differs by {loss["score_difference"]:.4f} on average.'
  )
  if 'int8_matches' not in loss:
    return answer
  return (
    f'{answer} {loss["int8_matches"]:.2%} of the answers are the target; in float32, {loss["float32_matches"]:.2%}.'
  )
