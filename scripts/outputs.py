# SPDX-License-Identifier: Apache-2.0
"""Files that scripts make: whether they will find a place, asked before the work that makes them, and writing them whole."""
import os
import tempfile


def obstacle(folder):
    """Why no file can be made in this folder, which need not be there yet, or None. Leaves nothing behind."""
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def write_whole(path, data):
    """The file has all of `data`, text in UTF-8 or bytes, or stays as it was."""
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
    os.replace(partial, path)
