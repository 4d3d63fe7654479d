from tests.cli.conftest import a, b

__all__ = ["a", "b"]
