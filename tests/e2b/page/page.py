"""The page for people, in a real browser: sign in, create a sandbox, type into its terminal, see its files, end it.

Needs the packages `playwright` and `e2b`, and Chromium (CHROMIUM names its program). E2B_API_URL and E2B_API_KEY name a
gateway. With an argument, a screenshot is written to that file.
"""

import os
import re
import sys

from playwright.sync_api import expect, sync_playwright


def main() -> None:
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(os.environ["E2B_API_URL"])

        page.get_by_label("API key").fill("e2b_00ff")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#problem")).to_be_visible()
        # The browser reports the refused key itself.
        assert all("401" in complaint for complaint in complaints), complaints
        complaints.clear()

        page.get_by_label("API key").fill(os.environ["E2B_API_KEY"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Create").click()
        title = page.locator("#sandbox-title")
        expect(title).to_have_text(re.compile("^[a-z0-9-]+$"), timeout=30_000)
        sandbox = title.inner_text()

        terminal = page.locator("#terminal")
        rows = terminal.locator(".xterm-rows")
        expect(rows).to_contain_text("$", timeout=20_000)
        page.keyboard.type("echo for''ty-$((40 + 2)) > answer; cat answer; stty size\n")
        expect(rows).to_contain_text("forty-42", timeout=20_000)
        if len(sys.argv) > 1:
            page.screenshot(path=sys.argv[1])

        page.get_by_role("tab", name="Files").click()
        expect(page.locator("#files")).to_contain_text("answer")
        with page.expect_download() as download:
            page.locator("#files").get_by_role("button", name="answer", exact=True).click()
        assert download.value.path().read_bytes() == b"forty-42\n"
        page.locator("#upload").set_input_files(
            [{"name": "<b>up.txt", "mimeType": "text/plain", "buffer": b"sent by the browser"}]
        )
        expect(page.locator("#files")).to_contain_text("<b>up.txt")

        page.get_by_role("tab", name="Logs").click()
        expect(page.locator("#logs")).not_to_be_empty()

        row = page.locator("#list tr", has_text=sandbox)
        row.get_by_role("button", name="Pause").click()
        expect(row).to_contain_text("paused", timeout=20_000)
        row.get_by_role("button", name="Resume").click()
        expect(row).to_contain_text("running", timeout=20_000)
        row.get_by_role("button", name="Kill").click()
        expect(page.locator("#list tr", has_text=sandbox)).to_have_count(0, timeout=20_000)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        browser.close()
    # A pause and a kill reset the stream of the terminal.
    unexpected = [complaint for complaint in complaints if "ERR_CONNECTION_RESET" not in complaint]
    assert not unexpected, unexpected
    print("the page works")


main()
