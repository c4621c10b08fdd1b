"""A server in a separate process, around a model that needs no TensorFlow: upper case, slow and failing on request.

  python fake_server.py '{"read_seconds": 1}'

prints its address, serves until a signal, and prints how many texts the model got, and in how many batches.
"""

import json
import sys
import time

from switch_zoo.serving import app, server
from switch_zoo.serving.rest_json import RequestError, TextSignature


class Upper:
  """outputs = the inputs in upper case, scores = minus their length. `sleep 0.5` takes that long, `fail` fails."""

  name, version = 'upper', '1'
  signatures = {
    'serving_default': TextSignature(('inputs',), ('outputs', 'scores')),
    'score': TextSignature(('inputs', 'targets'), ('scores',)),
  }

  def __init__(self):
    self.batches = []

  def metadata(self):
    return {'serving_default': {'method_name': 'tensorflow/serving/predict'}}

  def run(self, signature, columns):
    """Upper case, as described above."""
    texts = columns['inputs']
    self.batches.append(len(texts))
    if b'fail' in texts:
      raise ArithmeticError('asked to fail')
    if b'refuse' in texts:
      raise RequestError(400, 'The model refused the request: asked to')
    time.sleep(max(float(text.removeprefix(b'sleep ') or 0) if text.startswith(b'sleep ') else 0.0 for text in texts))
    scores = [-float(len(text)) for text in columns.get('targets', texts)]
    return {'scores': scores} if signature == 'score' else {'outputs': [t.upper() for t in texts], 'scores': scores}


def main():
  model = Upper()
  bound = server.open_socket('127.0.0.1', 0)
  limits = app.ServerLimits(**json.loads(sys.argv[1]))
  code = server.run(model, bound, limits, lambda: print(server.url(bound), flush=True))
  print(json.dumps({'texts': sum(model.batches), 'batches': len(model.batches)}))
  sys.exit(code)


if __name__ == '__main__':
  main()
