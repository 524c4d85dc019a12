"""Keys of the Run screen that bring in more: all that is known of a token, the run's figures, another run's mean under this one's."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType

from interp_tui.runs import session
from interp_tui.runs.follow import mean_trace
from interp_tui.runs.token_at import TokenAt
from interp_tui.text.sanitise import clean
from interp_tui.views.base import RunView
from interp_tui.views.sampling import SamplingView
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

from .steering import SteeringScreen


class RunKeys(SteeringScreen):
    """One run and its view, once there is one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "token", "All that is known of the token under the cursor", id="run.token", show=False),
        Binding("F", "figures", "Its figures, one at a time", id="run.figures", key_display="F", show=False),
        Binding("o", "overlay", "Lay another run's mean under this one's", id="run.overlay", show=False),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self._view: RunView | None = None
        self._overlaid = -1

    def _touch(self) -> None:
        """Draw everything again soon."""
        raise NotImplementedError

    # -- the token drawer

    def action_token(self) -> None:
        """Open the drawer on the token under the cursor."""
        tokens = self._view.token_at() if self._view is not None else ()
        if not tokens or not tokens[-1]:
            self.notify("There is no token under the cursor.", markup=False)
            return
        self.do(partial(_model_of, self.folder), partial(self._open_token, tokens))

    def _open_token(self, tokens: tuple[str, ...], model: tuple[str, str]) -> None:
        from .token import TokenScreen

        token = TokenAt(tokens, *model)
        others = [run.folder for run in self.workbench.listed]
        runs = [self.folder, *(folder for folder in others if folder.path != self.folder.path)]
        self.app.push_screen(TokenScreen(token, runs), partial(self._token_answered, token))

    def _token_answered(self, token: TokenAt, answer: tuple[str, RunFolder | None] | None) -> None:
        from .token import values_for

        if answer is None:
            return
        kind, folder = answer
        if folder is None:
            self.workbench.new_run(kind, values=values_for(kind, token))
        elif folder.path != self.folder.path:
            self.workbench.open_run(folder, over=True)

    # -- its figures

    def action_figures(self) -> None:
        """Show the run's curves, grids and pictures, each on the whole screen."""
        from .figures import FiguresScreen

        self.app.push_screen(FiguresScreen(self.folder))

    # -- another run under this one

    def action_overlay(self) -> None:
        """Lay the next other sampling run's mean trace under the plot; after the last one, none."""
        view = self._view
        others = [run for run in self.workbench.listed if run.status.kind in SamplingView.KINDS and run.folder.path != self.folder.path]
        if not isinstance(view, SamplingView) or not others:
            self.notify("There is no other sampling run to lay under this one.", markup=False)
            return
        self._overlaid += 1
        if self._overlaid >= len(others):
            self._overlaid, view.overlay = -1, None
            self._touch()
            return
        chosen = others[self._overlaid]
        self.do(partial(mean_trace, chosen.folder, 200), partial(self._overlay_read, view, clean(chosen.status.name, limit=30)))

    def _overlay_read(self, view: SamplingView, name: str, points: list[tuple[float, float]]) -> None:
        view.overlay = (name, points)
        self._touch()


def _model_of(folder: RunFolder) -> tuple[str, str]:
    """The model's source and revision; empty where the manifest does not say."""
    try:
        model = session.tables(folder).get("model")
    except UserError:
        return "", ""
    return (str(model.get("source") or ""), str(model.get("revision") or "")) if isinstance(model, dict) else ("", "")
