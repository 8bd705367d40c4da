"""Runs LangGraph's own tests of a store (those of its in-memory one, from its source distribution on PyPI) against StarlingStore.

    pip install langgraph-checkpoint pytest pytest-asyncio pytest-mock
    STARLING_BINARY=… python -m tests.langgraph_own

What is about embeddings is left out, since this store has none; and what is about no store.
"""

from __future__ import annotations

import glob
import itertools
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from typing import Any

LEFT_OUT = "vector or embed or non_ascii or get_text_at_path or dedupe_ops"


class Plugin:
    """Puts our store in the place of the in-memory one, a new agent's each time: so each is empty."""

    def __init__(self) -> None:
        import starling.sync
        from starling.langgraph import StarlingStore
        from tests.support import Server

        self.server = Server()
        self.client = starling.sync.connect(self.server.url, agent="tests")
        numbers = itertools.count()
        client = self.client

        class Store(StarlingStore):
            def __init__(self) -> None:
                super().__init__(client, agent=f"store-{next(numbers)}")

        self.store = Store

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            item.module.InMemoryStore = self.store

    def pytest_unconfigure(self) -> None:
        self.client.close()
        self.server.stop()


def main() -> int:
    import pytest

    wanted = f"langgraph-checkpoint=={version('langgraph-checkpoint')}"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", wanted, "-d", folder], check=True)
        with tarfile.open(glob.glob(f"{folder}/*.tar.gz")[0]) as archive:
            archive.extractall(folder, filter="data")
        tests = glob.glob(f"{folder}/*/tests/test_store.py")[0]
        plugin = Plugin()
        # Theirs is a package of this name, too.
        for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[name]
        root = os.path.dirname(os.path.dirname(tests))
        os.chdir(root)
        sys.path.insert(0, root)
        return int(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-k", f"not ({LEFT_OUT})", tests], plugins=[plugin]))


if __name__ == "__main__":
    sys.exit(main())
