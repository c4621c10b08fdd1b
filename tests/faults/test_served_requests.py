"""The short form of `served_requests`, around a model without TensorFlow."""

import served_requests


def test_every_request_is_answered_as_it_must_be_and_memory_stays_flat():
  counts, wrong, _ = served_requests.run(1600, seed=17)
  assert not wrong, '\n'.join(wrong[:20])
  assert counts['right'] > 1000 and counts['malformed'] > 200 and counts['not HTTP'] and counts['cut off']
