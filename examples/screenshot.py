"""Take a picture of a run's screen, without a terminal.

python examples/screenshot.py RUN_FOLDER picture.svg [--size 132x38] [--keys s,enter]
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from interp_tui.app import InterpApp
from interp_tui.screens.run import RunScreen


async def take(run: Path, picture: Path, width: int, height: int, keys: list[str]) -> None:
    app = InterpApp(run.parent, run)
    async with app.run_test(size=(width, height)) as pilot:
        for key in ["", *keys]:
            if key:
                await pilot.press(key)
            for _ in range(20):
                await pilot.pause(0.1)
            assert isinstance(app.screen, RunScreen)
            await app.screen.settle()
        picture.write_text(app.export_screenshot(title="interp-tui"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", default="132x38")
    parser.add_argument("--keys", default="", help="keys to press first, with commas between")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    asyncio.run(take(options.run.absolute(), options.picture, width, height, [key for key in options.keys.split(",") if key]))


if __name__ == "__main__":
    main()
