"""Take a picture of a run's screen, without a terminal.

python examples/screenshot.py RUN_FOLDER picture.svg [--size 132x38]
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from interp_tui.app import InterpApp


async def take(run: Path, picture: Path, width: int, height: int) -> None:
    app = InterpApp(run.parent, run)
    async with app.run_test(size=(width, height)) as pilot:
        for _ in range(20):
            await pilot.pause(0.1)
        picture.write_text(app.export_screenshot(title="interp-tui"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", default="132x38")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    asyncio.run(take(options.run.absolute(), options.picture, width, height))


if __name__ == "__main__":
    main()
