# SPDX-License-Identifier: Apache-2.0
"""Whether results will find a place, asked before the work that makes them."""
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
