"""Copies standard input to standard error, leaving out TensorFlow's log lines of some severities.

A program of its own (`python stderr_filter.py IW`, the letters of the severities), so that what a process wrote last
still reaches the screen when that process crashes.
"""

import re
import signal
import sys
from collections.abc import Iterable, Iterator

# I0000 00:00:1795656784.240348    8370 port.cc:153] oneDNN custom operations are on.
_HEADER = rb'[%s]\d{4} [\d:.]+ +\d+ [^ :]+:\d+\]'
_ANNOUNCEMENT = rb'WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR'
_LINES = re.compile(rb'[^\n]*\n|[^\n]+')


def passed_on(chunks: Iterable[bytes], severities: bytes) -> Iterator[bytes]:
  """The parts of a stream that are not log lines of the severities, each as soon as that is certain.

  Text without an end of line, such as a progress bar, is passed on at once unless it may become a log line.

  Args:
    chunks: of the stream, cut anywhere
    severities: letters of those left out, of b'IWE'
  """
  log_line = re.compile(_HEADER % severities + b'|' + _ANNOUNCEMENT)
  held, within_line = b'', False
  for chunk in chunks:
    pieces = _LINES.findall(held + chunk)
    held = b''
    for piece in pieces:
      complete = piece.endswith(b'\n')
      if not within_line and not complete and piece[0] in severities + b'W':
        held = piece
      elif within_line or not log_line.match(piece):
        yield piece
        within_line = not complete
  if held and not log_line.match(held):
    yield held


def main(severities: str) -> None:
  """Filters until the other end is closed; signals that end the observed process must not end this one first."""
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  source = open(0, 'rb', buffering=0)  # noqa: SIM115 - the process's own standard input
  for text in passed_on(iter(lambda: source.read(1 << 16), b''), severities.encode()):
    sys.stderr.buffer.write(text)
    sys.stderr.buffer.flush()


if __name__ == '__main__':
  main(sys.argv[1])
