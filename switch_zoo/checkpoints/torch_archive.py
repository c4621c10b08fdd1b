"""The zip archive that a `.bin` file is: where each member's bytes are, and their checksums.

`torch.save` stores its members as they are, so one is a region of the file. A member that is compressed, that occurs
twice or that overlaps another is refused before anything is read: sizes can then be trusted, because the file has them.
Format: PKWARE's APPNOTE.TXT; torch/serialization.py (PyTorch 1.6 and later).
"""

import collections
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from switch_zoo.checkpoints import file_checks
from switch_zoo.errors import UserError

PICKLE = 'data.pkl'
# Of a member's local header: its size without the name, its signature, and where in it two lengths are.
LOCAL_HEADER, SIGNATURE, LENGTHS = 30, b'PK\3\4', 26
# Of a pickle: two hundred thousand tensors take half of it.
MAX_PICKLE = 64 << 20
CHUNK = 4 << 20


class ArchiveMember(NamedTuple):
  """The bytes of a member in the file. crc: their CRC-32; None in an archive without checksums"""

  offset: int
  size: int
  crc: int | None


class TorchArchive:
  """The members of an archive by their names, without the folder that all of them are in."""

  def __init__(self, path: str):
    self.path = path
    file_checks.check_weights(path)
    if not zipfile.is_zipfile(path):
      raise UserError(
        f'{path} is not an archive: it is cut off, or was written before PyTorch 1.6 as one pickle. Load and save it '
        'with a current PyTorch, best as safetensors.'
      )
    infos = self._read_directory()
    pickles = [info.filename for info in infos if info.filename.rpartition('/')[2] == PICKLE]
    if len(pickles) != 1:
      raise UserError(f'{path} has no {PICKLE}: it was not written by torch.save. Save it as safetensors.')
    prefix = pickles[0].removesuffix(PICKLE)
    self.members = {name.removeprefix(prefix): member for name, member in self._members(infos)}

  def read(self, name: str, limit: int) -> bytes:
    """A small member, checked; `limit`: the most bytes it may have."""
    member = self.members[name]
    if member.size > limit:
      raise UserError(f'{self.path}: {name} has {member.size:,} bytes, more than {limit:,}. Save it as safetensors.')
    with open(self.path, 'rb') as file:
      file.seek(member.offset)
      content = file.read(member.size)
    self.check(name, zlib.crc32(content))
    return content

  def check(self, name: str, crc: int) -> None:
    """Refuses a member whose bytes have another checksum than the archive says."""
    expected = self.members[name].crc
    if expected not in (None, crc):
      raise UserError(
        f'{self.path} is damaged: {name} has the checksum {crc:08x}, but the archive says {expected:08x}. Copy it '
        'again.'
      )

  def check_all_of(self, name: str) -> None:
    """Reads a member through, to check it."""
    member = self.members[name]
    crc, rest = 0, member.size
    with open(self.path, 'rb') as file:
      file.seek(member.offset)
      while rest:
        chunk = file.read(min(CHUNK, rest))
        if not chunk:
          raise EOFError(f'{self.path} ends {rest:,} bytes before the end of a tensor.')
        crc, rest = zlib.crc32(chunk, crc), rest - len(chunk)
    self.check(name, crc)

  def _read_directory(self) -> list[zipfile.ZipInfo]:
    try:
      with zipfile.ZipFile(self.path) as archive:
        infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
      raise UserError(f'{self.path} is a damaged archive: {error}. Copy it again.') from error
    name, count = collections.Counter(info.filename for info in infos).most_common(1)[0] if infos else ('', 0)
    if count > 1:
      raise UserError(
        f'{self.path} has {count} members called {name}, of which each reader may take another. It was not written by '
        'torch.save; ask its author for safetensors.'
      )
    return sorted(infos, key=lambda info: info.header_offset)

  def _members(self, infos: list[zipfile.ZipInfo]) -> Iterator[tuple[str, ArchiveMember]]:
    # torch.serialization.set_crc32_options(False) leaves all of them 0.
    has_checksums = any(info.CRC for info in infos)
    with open(self.path, 'rb') as file:
      file_size = file.seek(0, 2)
      ends = [*(info.header_offset for info in infos[1:]), file_size]
      for info, end in zip(infos, ends, strict=True):
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
          raise UserError(f'{self.path} is compressed, which torch.save does not do. Save it again as safetensors.')
        file.seek(max(0, info.header_offset))
        header = file.read(LOCAL_HEADER)
        if len(header) < LOCAL_HEADER or not header.startswith(SIGNATURE):
          raise UserError(f'{self.path} is a damaged archive: {info.filename} is not where it says. Copy it again.')
        start = info.header_offset + LOCAL_HEADER + sum(struct.unpack_from('<2H', header, LENGTHS))
        if start + info.file_size > end:
          raise UserError(f'{self.path} is a damaged archive: {info.filename} overlaps what follows it. Copy it again.')
        yield info.filename, ArchiveMember(start, info.file_size, info.CRC if has_checksums else None)
