"""The README next to an export."""

from switch_zoo.keras.export_settings import ExportSettings
from switch_zoo.spec.config import ModelConfig

_TEXT = """# {name}

`{model}`, {parameters:,} parameters, {dtype}, exported by `switch_zoo export`. It answers by {method};
an answer has at most {max_new_tokens} tokens, and an input of more than {max_input_tokens} is truncated.

| signature | takes | returns |
| --- | --- | --- |
| `serving_default` | `inputs`: string [batch] | `outputs`: string [batch]; `scores`: float32 [batch] |
| `score` | `inputs`, `targets`: string [batch] | `scores`: float32 [batch] |

A score is the log-probability of the output or target, natural logarithm. A batch may have any size, 0 included.

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
    method=_method(settings),
    max_new_tokens=settings.max_new_tokens,
    max_input_tokens=settings.max_input_tokens,
  )


def _method(settings: ExportSettings) -> str:
  if settings.beam:
    return f'beam search with {settings.beam.size} beams and length penalty {settings.beam.length_penalty}'
  if settings.sampling and settings.sampling.temperature:
    s = settings.sampling
    return f'sampling at temperature {s.temperature}, top-k {s.top_k or "off"}, top-p {s.top_p}'
  return 'taking the most likely token each time'
