"""Answers texts with a SavedModel. A separate program, which needs TensorFlow and TensorFlow Text and nothing of ours.

    python -I ask.py EXPORT_DIR < texts.json > answers.json

Reads a JSON list of texts; writes {"answers": [...], "seconds_to_load": s, "seconds_to_answer": s, "foreign": [...]},
where `foreign` lists the training packages that this process imported, which must be none.
"""

import json
import sys
import time

import tensorflow as tf
import tensorflow_text  # noqa: F401 - the model's tokenizer is one of its operations

TRAINING_PACKAGES = ('switch_zoo', 'mesh_tensorflow', 't5', 'seqio')


def main() -> None:
  """Loads the model named on the command line and answers the texts on stdin."""
  texts = json.load(sys.stdin)
  began = time.monotonic()
  model = tf.saved_model.load(sys.argv[1])
  signature = model.signatures['serving_default']
  loaded = time.monotonic()
  answers = [text.decode() for text in signature(inputs=tf.constant(texts))['outputs'].numpy()]
  answered = time.monotonic()
  json.dump(
    {
      'answers': answers,
      'seconds_to_load': round(loaded - began, 2),
      'seconds_to_answer': round(answered - loaded, 2),
      'foreign': [name for name in TRAINING_PACKAGES if name in sys.modules],
    },
    sys.stdout,
  )


if __name__ == '__main__':
  main()
