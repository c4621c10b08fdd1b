"""The README next to an export."""

from switch_zoo.keras.export_settings import ExportSettings
from switch_zoo.keras.generation import TransformersBeam
from switch_zoo.spec.config import ModelConfig

_TEXT = """# {name}

`{model}`, {parameters:,} parameters, {dtype}, exported by `switch_zoo export`. It answers by {method};
an answer has at most {max_new_tokens} tokens, and an input of more than {max_input_tokens} is truncated.

| signature | takes | returns |
| --- | --- | --- |
| `serving_default` | `inputs`: string [batch] | {returns} |
| `score` | `inputs`, `targets`: string [batch] | `scores`: float32 [batch] |

A score is the log-probability of the output or target, natural logarithm.{several}
A batch may have any size, 0 included.

In Python, with `tensorflow` and `tensorflow_text` alone:

```python
import tensorflow as tf
import tensorflow_text  # the operations of the vocabulary

model = tf.saved_model.load('1')
print(model.signatures['serving_default'](inputs=tf.constant(['a question'])))
```

From the shell (`saved_model_cli` does not load tensorflow_text; `show` does not need it):

```bash
saved_model_cli show --dir 1 --tag_set serve --signature_def serving_default
```

With TensorFlow Serving, whose build includes the operations of tensorflow_text, in the parent of this folder:

```bash
docker run --rm -p 8501:8501 -v "$PWD/{name}:/models/{name}" -e MODEL_NAME={name} tensorflow/serving
```

On a laptop, `switch_zoo serve {name} --port 8501`. Either way:

```bash
curl -d '{{"instances": ["a question"]}}' http://localhost:8501/v1/models/{name}:predict
```
"""


def text(name: str, config: ModelConfig, settings: ExportSettings, dtype: str) -> str:
  """The README of an export.

  Args:
    name: of the folder
    config: ModelConfig
    settings: ExportSettings
    dtype: of the weights
  """
  return _TEXT.format(
    name=name,
    model=config.name,
    parameters=config.num_parameters,
    dtype=dtype,
    method=method(settings),
    returns=_returns(settings),
    several=_several(settings),
    max_new_tokens=settings.max_new_tokens,
    max_input_tokens=settings.max_input_tokens,
  )


def method(settings: ExportSettings) -> str:
  """How an export answers, as part of a sentence."""
  parts = [_search(settings)]
  processors = settings.processors
  if processors.repetition_penalty != 1:
    parts.append(f'repetition penalty {processors.repetition_penalty}')
  if processors.no_repeat_ngram_size:
    parts.append(f'no sequence of {processors.no_repeat_ngram_size} tokens twice')
  if processors.min_new_tokens:
    parts.append(f'at least {processors.min_new_tokens} tokens before the end')
  if processors.forced_bos_token_id is not None:
    parts.append(f'{processors.forced_bos_token_id} as the first token')
  return ', '.join(parts)


def _search(settings: ExportSettings) -> str:
  beam, sampling = settings.beam, settings.sampling
  if isinstance(beam, TransformersBeam):
    rule = f'length penalty {beam.length_penalty} and early_stopping {beam.early_stopping}, by the rule of transformers'
    return f'beam search with {beam.size} beams, {rule}'
  if beam:
    return f'beam search with {beam.size} beams and length penalty {beam.length_penalty}'
  if sampling and sampling.temperature:
    return f'sampling at temperature {sampling.temperature}, top-k {sampling.top_k or "off"}, top-p {sampling.top_p}'
  return 'taking the most likely token each time'


def _returns(settings: ExportSettings) -> str:
  n = settings.num_return_sequences
  shape = f'[batch, {n}]' if n > 1 else '[batch]'
  names = ['`scores`', '`beam_scores`'] if n > 1 and settings.beam else ['`scores`']
  return f'`outputs`: string {shape}; {", ".join(names)}: float32 {shape}'


def _several(settings: ExportSettings) -> str:
  if settings.num_return_sequences == 1:
    return ''
  if not settings.beam:
    return f' Each input gets {settings.num_return_sequences} samples.'
  return (
    f' Each input gets {settings.num_return_sequences} answers, best first; `beam_scores` are what the beam search\n'
    'ranked them by: log-probabilities divided by the length penalty.'
  )
