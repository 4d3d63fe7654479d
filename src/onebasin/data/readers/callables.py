"""Data of a callable, `package.module:callable`."""

from __future__ import annotations

from onebasin.checkpoints.messages import one_line
from onebasin.checkpoints.sources.callables import find_callable, importable_folder
from onebasin.data.data import Data
from onebasin.data.read_options import ReadOptions
from onebasin.data.readers.objects import data_of
from onebasin.errors import OneBasinError


def read_callable(spec: str, options: ReadOptions) -> Data:
    """Return the data of a callable, or of another object with an import path.

    Args:
        spec: `package.module:callable`; the working folder is importable.
        options: only `normalize` has an effect, on arrays.

    Raises:
        OneBasinError: the callable cannot be imported, fails, or returns something else.
    """
    options.refuse("a callable", "image_size", "label_column", "tokenizer", "context")
    value = find_callable(spec)
    if callable(value):
        try:
            with importable_folder():
                value = value()
        except OneBasinError:
            raise
        # The code of users may raise anything.
        except Exception as error:
            raise OneBasinError(
                f"data: calling {spec} failed ({one_line(error)}); correct the callable, which "
                "takes no arguments"
            ) from error
    return data_of(spec, value, options.normalization)
