"""Drives the to-do list in a headless Chromium: two tabs, one edit seen in the other, one tab offline and back, a reload while offline.

    pip install playwright websockets; CHROMIUM=/usr/bin/chromium python clients/javascript/test/browser.py [screenshot.png]
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
SERVER = os.environ.get("STARLING_BINARY", str(ROOT / ".build/debug/starling"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def add(page: Page, text: str) -> None:
    page.get_by_label("What is to be done?").fill(text)
    page.get_by_role("button", name="Add").click()


def main() -> None:
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=ROOT / "clients/javascript"))
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_port}"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [SERVER, "serve", "--port", "0", "--data", f"{folder}/data.db", "--allow-origin", origin]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert server.stdout
            url = next(line for line in server.stdout if "ready" in line).split("ready: ")[1].split()[0]
            browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"])
            # Two contexts are two people: they share nothing but the server.
            first, second = (browser.new_context(viewport={"width": 640, "height": 480}).new_page() for _ in range(2))
            errors: list[str] = []
            for page in (first, second):
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.goto(f"{origin}/examples/todo.html?server={url}")
                expect(page.get_by_role("status")).to_have_text("live")
            play(first, second)
            if len(sys.argv) > 1:
                first.screenshot(path=sys.argv[1])
            assert not errors, errors
            browser.close()
        finally:
            server.kill()
            server.wait()
    print("the to-do list works in two tabs, offline and back, and over a reload")


def play(first: Page, second: Page) -> None:
    add(first, "buy milk")
    expect(second.get_by_text("buy milk")).to_be_visible()
    second.get_by_role("checkbox", name="buy milk").check()
    expect(first.get_by_role("checkbox", name="buy milk")).to_be_checked()

    second.get_by_role("button", name="Go offline").click()
    expect(second.get_by_role("status")).to_have_text("offline")
    add(second, "written offline")
    expect(second.get_by_text("1 change waits for the server")).to_be_visible()
    add(first, "written meanwhile")
    expect(second.get_by_text("written meanwhile")).to_be_hidden()
    expect(first.get_by_text("written offline")).to_be_hidden()

    # The outbox outlasts the page: after a reload it connects, and sends what waited.
    second.reload()
    expect(first.get_by_text("written offline")).to_be_visible()
    expect(second.get_by_text("written meanwhile")).to_be_visible()
    expect(second.get_by_text("not sent yet")).to_have_count(0)

    second.get_by_role("button", name="Go offline").click()
    second.get_by_role("button", name="Remove buy milk").click()
    second.get_by_role("button", name="Go online").click()
    expect(first.get_by_text("buy milk")).to_have_count(0)
    expect(second.get_by_text("not sent yet")).to_have_count(0)
    for page in (first, second):
        expect(page.get_by_role("listitem")).to_have_count(2)


main()
