"""Where a request ends, and who can reach a server; test_server.py has the connections."""

import select
import socket
import sys

import pytest

from switch_zoo.errors import UserError
from switch_zoo.serving import listening, server
from switch_zoo.serving.protocol import framing_problem

LENGTH, CHUNKED = b'Content-Length: 5', b'Transfer-Encoding: chunked'


def head(*lines):
  return b'\r\n'.join([b'POST / HTTP/1.1', b'Host: x', *lines, b'', b''])


@pytest.mark.parametrize(
  'data',
  [
    b'',
    head(),
    head(LENGTH),
    head(CHUNKED),
    head(LENGTH) + b'Content-Length: 6\r\n\r\n',  # in the body
    head(LENGTH, CHUNKED)[:-2],  # not complete
    head(b'X-Content-Length: 5', LENGTH),
    head(b'X: Content-Length: 5', LENGTH),
  ],
)
def test_one_length_or_none(data):
  assert framing_problem(data) is None


@pytest.mark.parametrize(
  ('data', 'problem'),
  [
    (head(LENGTH, CHUNKED), 'both'),
    (head(LENGTH, CHUNKED).replace(b'\r\n', b'\n'), 'both'),
    (head(CHUNKED.upper(), LENGTH.lower()), 'both'),
    (head(LENGTH, LENGTH), 'more than one'),
    (head(b'Content-Length: 5,5'), 'more than one'),
  ],
)
def test_two_lengths(data, problem):
  assert problem in framing_problem(data)


@pytest.mark.parametrize(
  ('host', 'line'),
  [('127.0.0.1', ''), ('127.0.0.2', ''), ('0.0.0.0', 'every address of this machine: any machine that can reach it')],
)
def test_an_address_that_others_can_reach_is_said(host, line):
  with server.open_socket(host, 0) as bound:
    said = server.opened_to(bound)
  assert line in said and bool(said) == bool(line) and '\n' not in said


@pytest.mark.skipif(not socket.has_ipv6, reason='no IPv6 here')
@pytest.mark.parametrize(('host', 'is_open'), [('::', True), ('::1', False)])
def test_an_address_of_ipv6(host, is_open):
  try:
    bound = server.open_socket(host, 0)
  except UserError:
    pytest.skip(f'{host} cannot be used here')
  with bound:
    assert ('every address of this machine' in server.opened_to(bound)) == is_open


@pytest.mark.skipif(sys.platform != 'linux', reason='the filter is that of Linux')
def test_after_new_connections_are_stopped_the_backlog_only_gets_shorter():
  """So nothing is in it when it is empty and the socket is closed: the system would reset what is."""
  with server.open_socket('127.0.0.1', 0) as listener:
    listener.listen(16)
    address = listener.getsockname()
    early = [socket.create_connection(address, timeout=5) for _ in range(3)]
    listening.stop_new_connections(listener)
    with pytest.raises(TimeoutError):
      socket.create_connection(address, timeout=0.3)
    accepted = [listener.accept()[0] for _ in early]
    assert not select.select([listener], [], [], 0)[0]
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(address, timeout=5)
  for client, connection in zip(early, accepted, strict=True):
    with client, connection:
      connection.sendall(b'still connected')
      assert client.recv(20) == b'still connected'
