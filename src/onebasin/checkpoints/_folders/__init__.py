"""Comparison of Hugging Face folders: configuration, labels, tokenizer and preprocessor."""

from onebasin.checkpoints._folders.comparison import (
    check_same_configuration,
    check_same_folder,
    model_folder,
)

__all__ = ["check_same_configuration", "check_same_folder", "model_folder"]
