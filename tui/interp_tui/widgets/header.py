"""The line at the top of every screen: which program, which machine, which runs, what time."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from interp_tui.terminal.guard import Guarded


class HeaderLine(Guarded, Widget):
    """`interp-tui · host · devices · ./runs            12:41`; the app says what stands in it."""

    DEFAULT_CSS = "HeaderLine { dock: top; height: 1; padding: 0 1; background: $surface; color: $muted; }"

    facts: reactive[tuple[str, ...]] = reactive(())
    clock: reactive[str] = reactive("")

    def render(self) -> Content:
        dot = " - " if self.app.has_class("-ascii") else " · "
        name = ("interp-tui", "bold $accent")
        facts = list(self.facts)
        room = self.size.width - len(self.clock) - len("interp-tui") - 2
        while len(facts) > 1 and sum(len(dot) + len(fact) for fact in facts) > room:
            facts.pop(1)  # devices go before the host and the runs' place
        left = Content.assemble(name, *(dot + fact for fact in facts))
        pad = max(1, self.size.width - left.cell_length - len(self.clock))
        return Content.assemble(left, " " * pad, self.clock)
