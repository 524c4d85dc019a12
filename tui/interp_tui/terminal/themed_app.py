"""An app in the themes of this workbench and of its user, with what the user's config.toml says."""

from __future__ import annotations

from collections.abc import Sequence

from textual import work
from textual.app import App
from textual.filter import LineFilter, Monochrome

from ..text.asciify import AsciiFilter
from ..text.sanitise import clean
from . import config, themes
from .surviving_app import SurvivingApp

OWN_FILES = 30.0
"""Seconds that a notice of what is wrong in the user's own files stays: there is a file, a line and a name to read."""


class ThemedApp(SurvivingApp):
    """Draws with ASCII only where the theme asks for it; a theme that cannot be read leaves its last good form."""

    def __init__(self) -> None:
        super().__init__()
        self._themes, self._theme_problems = themes.load_themes()
        for theme in self._themes.values():
            self.register_theme(theme.to_textual())
        self.config = config.load()
        self.theme = themes.first_theme(self._themes, self.config.theme)
        if self._themes:  # Textual's own lack the colours that chains and heatmaps are drawn in
            for name in set(self.available_themes) - set(self._themes):
                self.unregister_theme(name)
        self._ascii_filter = AsciiFilter()

    @property
    def ascii_mode(self) -> bool:
        """Whether the theme draws with ASCII only."""
        theme = self._themes.get(self.theme)
        return theme is not None and theme.ascii

    def glyph(self, state: str) -> str:
        """The sign of a run's state."""
        return themes.glyph(state, self.ascii_mode)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.FALLBACKS

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        if not self.ascii_mode:
            return filters
        # Textual's filter for NO_COLOR turns the terminal's own colours into black on black; this theme has no others
        return [*(f for f in filters if not isinstance(f, Monochrome)), self._ascii_filter]

    def watch_theme(self, name: str) -> None:
        self.set_class(self.ascii_mode, "-ascii")

    def follow_own_files(self) -> None:
        """Say what in the user's files cannot be used, and keep the theme that is chosen from now on."""
        for problem in (*self._theme_problems, *self.config.problems):
            self.say_of_own_file(clean(problem))
        self.theme_changed_signal.subscribe(self, lambda theme: self._remember(theme.name))

    @work(thread=True, group="theme")
    def _remember(self, name: str) -> None:
        config.remember_theme(name)

    def reload_themes(self) -> None:
        """Read the themes again, and draw in the one that is chosen as it is now."""
        self._themes, problems = themes.load_themes(self._themes)
        for theme in self._themes.values():
            self.register_theme(theme.to_textual())
        for problem in problems:
            self.say_of_own_file(clean(problem))
        self.mutate_reactive(App.theme)

    def say_of_own_file(self, problem: str) -> None:
        """A notice of what is wrong in one of the user's files."""
        self.notify(problem, severity="warning", markup=False, timeout=OWN_FILES)
