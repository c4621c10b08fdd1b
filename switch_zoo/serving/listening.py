"""Stops a listening socket from getting new connections before it is closed.

When it is closed, the system resets the connections that it has completed for their clients and that nobody has
accepted yet. There is no moment without any while new ones keep coming, so new ones are stopped first.
"""

import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER = 26  # Linux, include/uapi/asm-generic/socket.h
# Classic BPF on a TCP segment: drop it if byte 13, the flags, has SYN (2), which opens a connection.
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_DROP_SYN = [(_LOAD_BYTE, 0, 0, 13), (_JUMP_IF_SET, 0, 1, 2), (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)]


def stop_new_connections(listener: socket.socket) -> None:
  """Makes the system ignore attempts to connect: clients try again, and are refused once the socket is closed.

  Connections that are under way are completed, and can be accepted. Where the system has no such filter, its queue is
  made as short as it can be, so that hardly any are added.
  """
  if sys.platform != 'linux':
    listener.listen(0)
    return
  program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *instruction) for instruction in _DROP_SYN))
  fields = struct.pack('HP', len(_DROP_SYN), ctypes.addressof(program))
  try:
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fields)
  except OSError:  # a system that calls itself Linux and is not
    listener.listen(0)
